"""Caller: calls of this side, by threads and by coroutines. A part of peer.py; mirrors caller.ts."""

from __future__ import annotations

import sys
from contextlib import suppress

from ..errors import PyisolateError
from .core import Core
from .kinds import CALL, CANCEL
from .outgoing import OPENED, Deadline, LoopMailbox, Outgoing, ThreadMailbox
from .streams import Item, consume
from .values import Encoder, LoopEncoder, MustWait, Transfer, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from .session import Message

    OnEvent = Callable[[str, Any], object]


class Caller(Core):
    #: Those that were opened and not answered, by id; and those that wait for the other side to have room.
    _outgoing: dict[int, Outgoing]
    _queue: deque[Outgoing]

    def call(
        self,
        method: str,
        *args: Any,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
        transfer: Transfer | None = None,
    ) -> Any:
        """Calls a method of the other side and blocks this thread. `timeout`: seconds. `on_event` must not block.

        `transfer` is filled with what was copied to send the args.
        Raises: PyisolateError CALL_TIMEOUT, VALUE_UNSUPPORTED, PEER_BROKEN, PEER_CLOSED, or with the code and text of
        what the other side raised (REMOTE_ERROR where that is none of ours).
        """
        deadline = Deadline(method, timeout)
        mailbox = ThreadMailbox()
        encoder, body = self._encode_args(args, transfer)
        outgoing = Outgoing(method, mailbox.put, on_event)
        try:
            if not self._enqueue(outgoing):
                mailbox.get(deadline)
            self._send_and_read(outgoing, body, encoder, deadline, mailbox)
            return mailbox.get(deadline)
        except BaseException:
            self._abandon(outgoing, encoder)
            raise

    def _send_and_read(
        self, outgoing: Outgoing, body: dict[str, Any], encoder: Encoder, deadline: Deadline, mailbox: ThreadMailbox
    ) -> None:
        """Sends the call and, where nobody else reads, reads the answer in this thread: waking another costs more."""
        lead = None if encoder.attachments else self._pool.take_lead()
        if lead is None:
            self._send_call(outgoing, body, encoder, deadline)
            return
        try:
            self._send_call(outgoing, body, encoder, deadline, lead.drop)
            lead.read_for(mailbox.has_news, deadline.is_far)
        finally:
            lead.drop()

    def call_stream(
        self,
        method: str,
        *args: Any,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
        transfer: Transfer | None = None,
    ) -> Generator[Any, None, Any]:
        """Calls a method that gives a stream: its items in order; what the method returns is the generator's own value.

        The call begins with the first `next`; closing the generator cancels it. The other side sends `limits.items`
        items ahead of those that were taken. `timeout`: seconds for the whole of it. Raises as `call` does.
        """
        deadline = Deadline(method, timeout)
        mailbox = ThreadMailbox()
        encoder, body = self._encode_args(args, transfer)
        outgoing = Outgoing(method, mailbox.put, on_event, takes_items=True)
        try:
            if not self._enqueue(outgoing):
                mailbox.get(deadline)
            self._send_call(outgoing, body, encoder, deadline)
            return (yield from consume(mailbox, deadline, lambda: self._take_item(outgoing)))
        except BaseException:
            self._abandon(outgoing, encoder)
            raise

    async def call_async(
        self,
        method: str,
        *args: Any,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
        transfer: Transfer | None = None,
    ) -> Any:
        """As `call`, for a coroutine on any loop; cancelling the coroutine cancels the call."""
        deadline = Deadline(method, timeout)
        mailbox = LoopMailbox()
        try:
            encoder, body = self._encode_args(args, transfer, LoopEncoder)
        except MustWait:
            encoder, body = await self.loop.run_in_thread(self._encode_args, args, transfer)
        outgoing = Outgoing(method, mailbox.put, on_event)
        try:
            if not self._enqueue(outgoing):
                await mailbox.get(deadline)
            self._send_call(outgoing, body, encoder, deadline)
            return await mailbox.get(deadline)
        except BaseException:
            self._abandon(outgoing, encoder)
            raise

    def _encode_args(
        self, args: Sequence[Any], transfer: Transfer | None, encoding: type[Encoder] = Encoder
    ) -> tuple[Encoder, dict[str, Any]]:
        encoder = encoding(self._extension, self._open_lease)
        try:
            body = self._encode(encoder, "args", list(args))
        except BaseException:
            self._end_leases(encoder)
            raise
        if transfer is not None and encoder.transfer is not None:
            transfer.bytes_copied, transfer.routes = encoder.transfer.bytes_copied, encoder.transfer.routes
        return encoder, body

    def _enqueue(self, outgoing: Outgoing) -> bool:
        """Whether the call is open at once; else OPENED is put when it is."""
        with self._lock:
            if self.ended is not None:
                raise self.ended
            if self._queue or not self._session.can_open_call:
                self._queue.append(outgoing)
                return False
            self._open(outgoing)
            return True

    def _open(self, outgoing: Outgoing) -> None:
        outgoing.id = self._session.open_call()
        self._outgoing[outgoing.id] = outgoing

    def _open_queued(self) -> None:
        with self._lock:
            while self._queue and self._session.can_open_call:
                outgoing = self._queue.popleft()
                self._open(outgoing)
                outgoing.put(OPENED)

    def _send_call(
        self,
        outgoing: Outgoing,
        body: dict[str, Any],
        encoder: Encoder,
        deadline: Deadline,
        before_waiting: Callable[[], object] | None = None,
    ) -> None:
        self._check_size(encoder)
        remaining = deadline.remaining()
        if remaining is not None:
            body["timeoutMs"] = int(remaining * 1000)
        text = write_text({"method": outgoing.method, **body})
        self._outbox.send(CALL, 0, outgoing.id, text, encoder.attachments, before_waiting)
        outgoing.is_sent = True

    def _abandon(self, outgoing: Outgoing, encoder: Encoder) -> None:
        """Its caller waits no longer. The id stays live until the other side answers, if it was asked at all."""
        outgoing.is_abandoned = True
        if not outgoing.is_sent:
            self._end_leases(encoder)
        with self._lock:
            if outgoing in self._queue:
                self._queue.remove(outgoing)
            if not outgoing.is_sent and outgoing.id:
                self._outgoing.pop(outgoing.id, None)
                self._session.forget_call(outgoing.id)
            is_running = outgoing.is_sent and self._outgoing.get(outgoing.id) is outgoing and self.ended is None
        if is_running:
            with suppress(PyisolateError):  # the connection has just ended
                self._outbox.send(CANCEL, 0, outgoing.id, b"")

    def _received_item(self, outgoing: Outgoing, value: Any) -> None:
        if outgoing.takes_items:
            outgoing.put(Item(value))
        elif not outgoing.is_abandoned:
            self._take_item(outgoing)  # nobody wants it

    def _take_item(self, outgoing: Outgoing) -> None:
        """Lets the other side send another item."""
        with self._lock:
            frame = self._session.take_item(outgoing.id) if self._outgoing.get(outgoing.id) is outgoing else None
        if frame is not None:
            self._session.outbound.append(frame)
            self._outbox.flush()

    def _notify(self, outgoing: Outgoing, message: Message) -> None:
        """What a listener raises is its own affair: it is printed and ends nothing."""
        if outgoing.on_event is None or outgoing.is_abandoned:
            return
        try:
            outgoing.on_event(message.name, message.value)
        except Exception:
            sys.excepthook(*sys.exc_info())
