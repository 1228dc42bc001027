"""Peer: calls over one connection, by threads. Symmetric: both sides call, both offer methods. Mirrors peer.ts.

Leader and followers: every thread of the pool runs `serve`. The one that holds the read lock receives; when a call
comes it lets the lock go, so that another thread can go on reading, and runs the call itself.
Must not know containers or tensors.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import suppress

from ..errors import PyisolateError
from .calls import Call, current_call
from .frame import FrameReader, area_bytes
from .kinds import CALL, CANCEL, ERROR, EVENT, LAST, REPLY, RESULT, Limits
from .loop import LoopThread
from .outbox import Outbox
from .outgoing import OPENED, Deadline, LoopMailbox, Outgoing, ThreadMailbox
from .remote import error_body, remote_error
from .session import Message, Session
from .standby import Standby
from .values import Encoder, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .transport import SocketTransport
    from .values import ValueExtension

    OnEvent = Callable[[str, Any], object]

#: Threads that may wait for work; more end when their call does.
_IDLE_THREADS = 8


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
        is_stoppable: bool = False,
        on_end: Callable[[PyisolateError], object] | None = None,
    ) -> None:
        """`methods`: what the other side may call, each with the call's args; a method may give an awaitable.

        `on_end` is called once, with why, in the thread that saw the end. `is_stoppable` makes this side a worker.
        """
        self.ended: PyisolateError | None = None
        self.loop = LoopThread()
        self._transport = transport
        self._methods = methods or {}
        self._extension = extension
        self._on_end = on_end
        self._session = Session(limits, is_stoppable=is_stoppable, extension=extension)
        self._reader = FrameReader(self._session)
        self._outbox = Outbox(transport, self._session.outbound)
        self._standby = Standby(transport.fileno())
        self._read_lock = threading.Lock()
        #: Guards the counters, `ended` and the opening of calls.
        self._lock = threading.Lock()
        self._idle = 0
        self._busy = 0
        self._backlog: deque[Call] = deque()
        self._calls: dict[int, Call] = {}
        self._outgoing: dict[int, Outgoing] = {}
        self._queue: deque[Outgoing] = deque()

    def start(self) -> None:
        """Serves in threads of its own."""
        self._spawn()

    def serve(self, *, is_extra: bool = False) -> None:
        """Serves in this thread until the connection ends; an extra thread returns earlier when there are enough."""
        while self.ended is None:
            if self._read_lock.acquire(False):
                call = self._lead()
                while call is not None:
                    self._run(call)
                    call = self._next_in_backlog()
            elif not self._wait(is_extra):
                return
        self._standby.wake()  # each thread that leaves wakes the next

    def close(self) -> None:
        """Ends the connection; calls in flight get PEER_CLOSED."""
        self._end(PyisolateError("PEER_CLOSED", "the connection was closed by this side"))

    # ---- reading

    def _lead(self) -> Call | None:
        """With the read lock: reads until there is a call to run; None at the end of the connection. Frees the lock."""
        try:
            while True:
                message = self._receive()
                if message is None:
                    return None
                if message.kind != CALL:
                    self._handle(message)
                    continue
                call = Call(self, message.id, message.name, message.value)
                self._calls[call.id] = call
                has_follower = self._idle > 0 or self._spawn()
                with self._lock:
                    if has_follower or self._busy == 0:
                        self._busy += 1
                        break
                    self._backlog.append(call)  # no thread to be had: whoever is free next runs it
            has_more = self._reader.has_unread
        finally:
            self._read_lock.release()
        if has_more:
            self._standby.wake()
        else:
            self._standby.arm()
        return call

    def _next_in_backlog(self) -> Call | None:
        with self._lock:
            if self._backlog:
                return self._backlog.popleft()
            self._busy -= 1
            return None

    def _wait(self, is_extra: bool) -> bool:
        """Waits until there may be something to read; False: there are enough threads that do."""
        with self._lock:
            if is_extra and self._idle >= _IDLE_THREADS:
                return False
            self._idle += 1
        self._standby.wait()
        with self._lock:
            self._idle -= 1
        return True

    def _spawn(self) -> bool:
        try:
            threading.Thread(target=self.serve, kwargs={"is_extra": True}, name="pyisolate-pool", daemon=True).start()
        except RuntimeError:  # the limit of processes and threads is reached
            return False
        return True

    def _receive(self) -> Message | None:
        """The next message that matters; None when the connection has ended."""
        reader, session = self._reader, self._session
        try:
            while self.ended is None:
                message: Message | None = reader.read()
                if session.outbound:
                    self._outbox.flush()
                if self._queue:
                    self._open_queued()
                if message is not None:
                    return message
                count = self._transport.receive_into(reader.space())
                if count == 0:
                    how = session.end(reader.is_inside_frame)
                    where = " in the middle of something" if how == "broken" else ""
                    raise PyisolateError("PEER_BROKEN", f"the connection ended from the other side{where}")
                reader.advance(count)
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
            self._on_end(error)

    # ---- calls of the other side

    def _run(self, call: Call) -> None:
        """Runs a method in this thread, which leads again when it has answered: it then need not be woken."""
        current_call.set(call)
        try:
            method = self._methods.get(call.method)
            if method is None:
                offered = ", ".join(self._methods) or "none"
                raise PyisolateError("METHOD_UNKNOWN", f'no method "{call.method}"; there are: {offered}')
            value = method(*call.args)
            if hasattr(type(value), "__await__"):
                self.loop.start(self._finish(call, value))
                self._standby.disarm()
                return
        except BaseException as error:
            self._fail(call, error, is_reader=True)
        else:
            self._answer(call, value, is_reader=True)
        finally:
            current_call.set(None)

    async def _finish(self, call: Call, awaitable: Any) -> None:
        from asyncio import current_task

        call.task = current_task()  # from here on a cancel reaches the task; one that came before is seen here
        if call.is_cancelled:
            if hasattr(awaitable, "close"):
                awaitable.close()
            self._fail(call, PyisolateError("CALL_CANCELLED", "cancelled before it began"))
            return
        try:
            value = await awaitable
        except BaseException as error:
            self._fail(call, error)
        else:
            self._answer(call, value)

    def _answer(self, call: Call, value: Any, is_reader: bool = False) -> None:
        try:
            body, attachments = self._encode("value", value)
            self._check_size(attachments)
            text = write_text(body)
        except Exception as error:  # the result has no form on the wire
            self._fail(call, error, is_reader)
        else:
            self._send_last(call, RESULT, text, attachments, is_reader)

    def _fail(self, call: Call, error: BaseException, is_reader: bool = False) -> None:
        self._send_last(call, ERROR, write_text(error_body(error, is_cancelled=call.is_cancelled)), (), is_reader)

    def _send_last(
        self, call: Call, kind: int, body: bytes, attachments: Sequence[memoryview], is_reader: bool
    ) -> None:
        """`is_reader`: this thread reads on as soon as the answer has left, so no other is woken by what it brings."""
        before_waiting = None
        if is_reader:
            self._standby.disarm()
            before_waiting = self._standby.arm
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
        if attachments:
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
