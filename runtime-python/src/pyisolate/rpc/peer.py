"""Peer: calls over one connection, by threads. Symmetric: both sides call, both offer methods. Mirrors peer.ts.

Who reads, and which thread runs a call, is the pool's affair. Must not know containers or tensors.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import suppress

from ..errors import PyisolateError
from .calls import Call, current_call, is_awaitable
from .frame import FrameReader, area_bytes
from .kinds import CALL, CANCEL, ERROR, EVENT, LAST, REPLY, RESULT, Limits
from .loop import LoopThread
from .outbox import Outbox
from .outgoing import OPENED, Deadline, LoopMailbox, Outgoing, ThreadMailbox
from .pool import Pool
from .remote import error_body, remote_error
from .session import Message, Session
from .values import Encoder, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Optional

    from .transport import SocketTransport
    from .values import ValueExtension

    OnEvent = Callable[[str, Any], object]
    MakesCoroutine = Callable[[str, list[Any]], bool]
    #: Called right before an answer is sent; gives what to call if that has to wait.
    BeforeAnswer = Callable[[], Optional[Callable[[], object]]]


class Peer:
    """One side of a connection; owns the transport.

    Attributes:
        ended: Why no more calls can be made; None while they can.
        loop: Runs the coroutines that methods give.
    """

    def __init__(
        self,
        transport: SocketTransport,
        methods: Mapping[str, Callable[..., Any]] | None = None,
        *,
        extension: ValueExtension | None = None,
        limits: Limits | None = None,
        makes_coroutine: MakesCoroutine = lambda method, args: False,
        is_stoppable: bool = False,
        on_end: Callable[[PyisolateError], object] | None = None,
    ) -> None:
        """`methods`: what the other side may call, each with the call's args; a method may give an awaitable.

        `makes_coroutine`: whether calling a method with these args does nothing but make a coroutine, so that the loop
        may do it. `on_end` is called once, with why, never in the loop's thread. `is_stoppable`: this side is a worker.
        """
        self.ended: PyisolateError | None = None
        self._transport = transport
        self._methods = methods or {}
        self._makes_coroutine = makes_coroutine
        self._extension = extension
        self._on_end = on_end
        self._session = Session(limits, is_stoppable=is_stoppable, extension=extension)
        self._reader = FrameReader(self._session)
        self._outbox = Outbox(transport, self._session.outbound)
        self._pool = Pool(transport.fileno(), self._reader, self)
        self.loop = LoopThread(transport.fileno(), self._pool)
        #: Guards `ended` and the opening of calls.
        self._lock = threading.Lock()
        self._calls: dict[int, Call] = {}
        self._outgoing: dict[int, Outgoing] = {}
        self._queue: deque[Outgoing] = deque()

    def start(self) -> None:
        """Serves in threads of its own."""
        self._greet()
        self._pool.spawn()

    def serve(self) -> None:
        """Serves in this thread, and in more when they are needed, until the connection ends."""
        self._greet()
        self._pool.serve()

    def _greet(self) -> None:
        with suppress(PyisolateError):  # whoever reads finds the end
            self._outbox.flush()

    def close(self) -> None:
        """Ends the connection; calls in flight get PEER_CLOSED."""
        self._end(PyisolateError("PEER_CLOSED", "the connection was closed by this side"))

    # ---- reading, for the pool

    @property
    def has_ended(self) -> bool:
        return self.ended is not None

    def receive(self, *, may_wait: bool) -> bool:
        if self.ended is not None:
            return False
        count = self._reader.receive(self._transport.receive_into, may_wait)
        if count > 0:
            return True
        if count == 0:
            how = self._session.end(self._reader.is_inside_frame)
            where = " in the middle of something" if how == "broken" else ""
            self._end(PyisolateError("PEER_BROKEN", f"the connection ended from the other side{where}"))
        return False

    def next_call(self) -> Call | None:
        reader, session = self._reader, self._session
        try:
            while self.ended is None:
                message: Message | None = reader.read()
                if session.outbound:
                    self._outbox.flush()
                if self._queue:
                    self._open_queued()
                if message is None:
                    return None
                if message.kind == CALL:
                    call = Call(self, message.id, message.name, message.value)
                    self._calls[message.id] = call
                    return call
                self._handle(message)
        except PyisolateError as error:
            self._end(error)
        return None

    def _handle(self, message: Message) -> None:
        kind = message.kind
        if kind == CANCEL:
            call = self._calls.get(message.id)
            if call is not None:
                self._cancel(call)
        elif kind == EVENT:
            self._notify(self._outgoing[message.id], message)
        elif kind in (RESULT, ERROR):
            if message.is_last:
                outgoing = self._outgoing.pop(message.id)
                is_value = kind == RESULT
                outgoing.put((is_value, message.value if is_value else remote_error(outgoing.method, message.value)))
        else:
            self._end(PyisolateError("PEER_CLOSED", "the other side asked this worker to stop"))

    def _notify(self, outgoing: Outgoing, message: Message) -> None:
        """What a listener raises is its own affair: it is printed and ends nothing."""
        if outgoing.on_event is None or outgoing.is_abandoned:
            return
        try:
            outgoing.on_event(message.name, message.value)
        except Exception:
            sys.excepthook(*sys.exc_info())

    def _cancel(self, call: Call) -> None:
        call.is_cancelled = True
        task = call.task
        if task is not None:
            self.loop.call_soon(task.cancel)

    def _end(self, error: PyisolateError) -> None:
        with self._lock:
            if self.ended is not None:
                return
            self.ended = error
            waiting = [*self._outgoing.values(), *self._queue]
            self._queue.clear()
        self._transport.close()
        for outgoing in waiting:
            outgoing.put((False, error))
        for call in list(self._calls.values()):
            call.is_answered = True
            self._cancel(call)
        if self._on_end is not None:
            if self.loop.is_current:
                threading.Thread(target=self._on_end, args=[error], daemon=True).start()
            else:
                self._on_end(error)

    # ---- calls of the other side

    def run(self, call: Call) -> None:
        current_call.set(call)
        try:
            value = self._begin(call)
            if is_awaitable(value):
                if self._makes_coroutine(call.method, call.args):
                    self._pool.let_loop_lead()
                else:
                    self._pool.will_read_on()
                self.loop.call_soon(self._start, call, value)
                return
        except BaseException as error:
            self._fail(call, error, self._pool.will_read_on)
        else:
            self._answer(call, value, self._pool.will_read_on)
        finally:
            current_call.set(None)

    def run_in_loop(self, call: Call) -> bool:
        if not self._makes_coroutine(call.method, call.args):
            return False
        try:
            awaitable = self._begin(call)
        except BaseException as error:
            awaitable = _raise(error)
        self._start(call, awaitable)
        return True

    def _begin(self, call: Call) -> Any:
        method = self._methods.get(call.method)
        if method is None:
            offered = ", ".join(self._methods) or "none"
            raise PyisolateError("METHOD_UNKNOWN", f'no method "{call.method}"; there are: {offered}')
        return method(*call.args)

    def _start(self, call: Call, awaitable: Any) -> None:
        """In the loop. The task's first step comes before whatever is asked of the loop from here on: a cancel, too."""
        call.task = self.loop.make_task(self._finish(call, awaitable))

    async def _finish(self, call: Call, awaitable: Any) -> None:
        current_call.set(call)
        if call.is_cancelled:  # before the task was made, which no cancel could reach
            if hasattr(awaitable, "close"):
                awaitable.close()
            self._fail(call, PyisolateError("CALL_CANCELLED", "cancelled before it began"), lambda: None)
            return
        try:
            value = await awaitable
        except BaseException as error:
            self._fail(call, error, self._pool.loop_will_read_on)
        else:
            self._answer(call, value, self._pool.loop_will_read_on)

    def _answer(self, call: Call, value: Any, before: BeforeAnswer) -> None:
        try:
            body, attachments = self._encode("value", value)
            if attachments:
                self._check_size(attachments)
            text = write_text(body)
        except Exception as error:  # the result has no form on the wire
            self._fail(call, error, before)
        else:
            self._send_last(call, RESULT, text, attachments, before)

    def _fail(self, call: Call, error: BaseException, before: BeforeAnswer) -> None:
        self._send_last(call, ERROR, write_text(error_body(error, is_cancelled=call.is_cancelled)), (), before)

    def _send_last(
        self, call: Call, kind: int, body: bytes, attachments: Sequence[memoryview], before: BeforeAnswer
    ) -> None:
        before_waiting = before()
        call.is_answered = True
        self._calls.pop(call.id, None)
        self._session.close_call(call.id)
        try:
            self._outbox.send(kind, REPLY | LAST, call.id, body, attachments, before_waiting)
        except PyisolateError as error:
            if error.code != "PEER_BROKEN":  # too long a body: nothing was sent
                self._outbox.send(ERROR, REPLY | LAST, call.id, write_text(error_body(error)))

    def send_event(self, call: Call, name: str, data: Any) -> None:
        """Raises: PyisolateError VALUE_UNSUPPORTED."""
        body, attachments = self._encode("data", data)
        self._check_size(attachments)
        try:
            self._outbox.send(EVENT, REPLY, call.id, write_text({"event": name, **body}), attachments)
        except PyisolateError as error:
            if error.code != "PEER_BROKEN":
                raise

    def _encode(self, key: str, value: Any) -> tuple[dict[str, Any], list[memoryview]]:
        encoder = Encoder(self._extension)
        body = {key: encoder.value(value)}
        if encoder.attachments:
            body["attachments"] = [attachment.nbytes for attachment in encoder.attachments]
        return body, encoder.attachments

    def _check_size(self, attachments: Sequence[memoryview]) -> None:
        remote = self._session.remote
        total = area_bytes([attachment.nbytes for attachment in attachments])
        if remote is not None and total > remote.message_bytes:
            raise PyisolateError(
                "VALUE_UNSUPPORTED", f"{total} attachment bytes, the other side accepts {remote.message_bytes}"
            )

    # ---- calls of this side

    def call(self, method: str, *args: Any, timeout: float | None = None, on_event: OnEvent | None = None) -> Any:
        """Calls a method of the other side and blocks this thread. `timeout`: seconds. `on_event` must not block.

        Raises: PyisolateError CALL_TIMEOUT, VALUE_UNSUPPORTED, PEER_BROKEN, PEER_CLOSED, or with the code and text of
        what the other side raised (REMOTE_ERROR where that is none of ours).
        """
        deadline = Deadline(method, timeout)
        mailbox = ThreadMailbox()
        body, attachments = self._encode("args", list(args))
        outgoing = Outgoing(method, mailbox.put, on_event)
        try:
            if not self._enqueue(outgoing):
                mailbox.get(deadline)
            self._send_call(outgoing, body, attachments, deadline)
            return mailbox.get(deadline)
        except BaseException:
            self._abandon(outgoing)
            raise

    async def call_async(
        self, method: str, *args: Any, timeout: float | None = None, on_event: OnEvent | None = None
    ) -> Any:
        """As `call`, for a coroutine on any loop; cancelling the coroutine cancels the call."""
        deadline = Deadline(method, timeout)
        mailbox = LoopMailbox()
        body, attachments = self._encode("args", list(args))
        outgoing = Outgoing(method, mailbox.put, on_event)
        try:
            if not self._enqueue(outgoing):
                await mailbox.get(deadline)
            self._send_call(outgoing, body, attachments, deadline)
            return await mailbox.get(deadline)
        except BaseException:
            self._abandon(outgoing)
            raise

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
        self, outgoing: Outgoing, body: dict[str, Any], attachments: Sequence[memoryview], deadline: Deadline
    ) -> None:
        self._check_size(attachments)
        remaining = deadline.remaining()
        if remaining is not None:
            body["timeoutMs"] = int(remaining * 1000)
        self._outbox.send(CALL, 0, outgoing.id, write_text({"method": outgoing.method, **body}), attachments)
        outgoing.is_sent = True

    def _abandon(self, outgoing: Outgoing) -> None:
        """Its caller waits no longer. The id stays live until the other side answers, if it was asked at all."""
        outgoing.is_abandoned = True
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


async def _raise(error: BaseException) -> None:
    raise error
