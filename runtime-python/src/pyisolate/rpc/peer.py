"""Peer: calls over one connection, by threads. Symmetric: both sides call, both offer methods. Mirrors peer.ts.

Composes: transport → frames → session → Callee and Caller → outbox → transport. Who reads, and which thread runs a
call, is the pool's affair. Must not know containers or tensors.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress

from ..errors import PyisolateError
from .callee import Callee
from .caller import Caller
from .calls import Call
from .frame import FrameReader
from .kinds import ATTACH, CALL, CANCEL, ERROR, EVENT, RESULT, Limits
from .loop import LoopThread
from .outbox import Outbox
from .outgoing import WAIT_S
from .pool import Pool
from .remote import remote_error
from .session import Message, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .callee import MakesCoroutine, Methods
    from .transport import SocketTransport
    from .values import OnEnd, ValueExtension


class Peer(Callee, Caller):
    """One side of a connection; owns the transport.

    Attributes:
        ended: Why no more calls can be made; None while they can.
        loop: Runs the coroutines that methods give.
    """

    def __init__(
        self,
        transport: SocketTransport,
        methods: Methods | None = None,
        *,
        extension: ValueExtension | None = None,
        features: Sequence[str] = (),
        limits: Limits | None = None,
        makes_coroutine: MakesCoroutine = lambda method, args: False,
        is_stoppable: bool = False,
        on_end: Callable[[PyisolateError], object] | None = None,
    ) -> None:
        """`methods`: what the other side may call, each with the call's args; a method may give an awaitable, or a
        generator (sync or async): then its items go as a stream.

        `features`: what this side can do beyond the version, e.g. "segments"; used when the other side names it, too.
        `makes_coroutine`: whether calling a method with these args does nothing but make a coroutine, so that the loop
        may do it. `on_end` is called once, with why, never in the loop's thread. `is_stoppable`: this side is a worker.
        """
        self.ended = None
        self._transport = transport
        self._methods = methods or {}
        self._makes_coroutine = makes_coroutine
        self._extension = extension
        self._on_end = on_end
        self._session = Session(limits, is_stoppable=is_stoppable, extension=extension, features=features)
        self._reader = FrameReader(self._session)
        self._outbox = Outbox(transport, self._session.outbound)
        self._session.on_owed = self._outbox.flush
        self._pool = Pool(transport.fileno(), self._reader, self)
        self.loop = LoopThread(transport.fileno(), self._pool)
        self._lock = threading.Lock()
        self._calls = {}
        self._outgoing = {}
        self._queue = deque()

    def start(self) -> None:
        """Serves in threads of its own, and in those that call."""
        self._outbox.flush()
        self._transport.limit_waiting(WAIT_S)
        self._pool.stand_by()

    def serve(self) -> None:
        """Serves in this thread, and in more when they are needed, until the connection ends."""
        self._outbox.flush()
        self._pool.serve()

    def close(self) -> None:
        """Ends the connection; calls in flight get PEER_CLOSED."""
        self._end(PyisolateError("PEER_CLOSED", "the connection was closed by this side"))

    # ---- shared memory

    def has_feature(self, name: str) -> bool:
        """Whether both sides name the feature; False before the other side's hello."""
        return name in self._session.features

    def attach(self, nbytes: int, writable: bool, path: str | None = None, *, on_released: OnEnd) -> int:
        """Gives the other side, a worker, a segment of `nbytes` (a multiple of 4096), and its id, which is returned.

        `on_released` is called once, in any thread: when the worker has released it, or when the connection ends.
        Raises: PyisolateError with what ended the connection, or VALUE_UNSUPPORTED when the feature "segments" is not
        on; then it is not called.
        """
        with self._lock:
            if self.ended is not None:
                raise self.ended
            id, body = self._session.open_segment(nbytes, writable, path, on_released)
        with suppress(PyisolateError):  # the connection ends: `on_released` is called
            self._outbox.send(ATTACH, 0, id, body)
        return id

    def give_back(self, id: int) -> None:
        """Asks the worker to release a segment; nothing happens when it has."""
        if self._session.is_attached(id):
            with suppress(PyisolateError):
                self._outbox.send(ATTACH, 0, id, b'{"nbytes":0,"writable":false}')

    def release(self, id: int) -> None:
        """Worker only: nothing here uses the segment of this id any more. From any thread, from finalizers too."""
        self._session.release(id)

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
        except Exception as error:
            self._end(PyisolateError("PEER_BROKEN", f"reading from the peer failed: {error!r}", cause=error))
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
                self._received_item(self._outgoing[message.id], message.value)
        elif kind == ATTACH:
            self._attached(message)
        else:
            self._end(PyisolateError("PEER_CLOSED", "the other side asked this worker to stop"))

    def _attached(self, message: Message) -> None:
        extension: Any = self._extension
        if message.value is None:
            extension.on_give_back(message.id)
        else:
            extension.on_attach(message.id, *message.value)

    def _end(self, error: PyisolateError) -> None:
        with self._lock:
            if self.ended is not None:
                return
            self.ended = error
            self._session.close()
            waiting = [*self._outgoing.values(), *self._queue]
            self._queue.clear()
        self._transport.close()
        for outgoing in waiting:
            outgoing.put((False, error))
        self._session.end_holdings()
        for call in list(self._calls.values()):
            call.is_answered = True
            self._cancel(call)
        if self._on_end is not None:
            if self.loop.is_current:
                threading.Thread(target=self._on_end, args=[error], daemon=True).start()
            else:
                self._on_end(error)
