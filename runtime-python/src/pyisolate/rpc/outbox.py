"""Outbox: messages of many threads onto one transport, frame by frame. Must not know what they mean.

A chunked message lets other frames pass between its own, but none of the same call, and no second chunked one.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread

from ..errors import PyisolateError
from .frame import area_bytes, area_parts, encode_head
from .kinds import ATTACHMENT_BYTES, MORE, REPLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator, Sequence

    from .frame import Bytes
    from .transport import SocketTransport


class Outbox:
    def __init__(self, transport: SocketTransport, owed: deque[bytes]) -> None:
        """`owed`: frames that anybody may add at any time; they leave with `flush`, or with whatever is sent next."""
        self._transport = transport
        self._owed = owed
        #: Held while one frame is written. Whoever wants it waits in `_turn`, so that nobody is passed by twice.
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        #: Held while a chunked message is sent, and whose call that is.
        self._chunk_lock = threading.Lock()
        self._chunked: tuple[int, int] | None = None

    def send(
        self,
        kind: int,
        flags: int,
        id: int,
        body: bytes,
        attachments: Sequence[memoryview] = (),
        before_waiting: Callable[[], object] | None = None,
    ) -> None:
        """Waits until all of it is handed to the system; attachments are borrowed until then.

        `before_waiting` is called unless that can be done at once.
        Raises: PyisolateError VALUE_UNSUPPORTED for a body that is too long (nothing was sent); PEER_BROKEN.
        """
        total = area_bytes([attachment.nbytes for attachment in attachments]) if attachments else 0
        key = (flags & REPLY, id)
        is_chunked = total > ATTACHMENT_BYTES
        head = encode_head(kind, flags | MORE if is_chunked else flags, id, body, min(total, ATTACHMENT_BYTES))
        if total or self._turn.locked() or not self._lock.acquire(False):
            is_sent = False
        else:  # the usual case: nobody else is sending
            try:
                is_sent = self._chunked != key and self._send_now(head, before_waiting)
            finally:
                self._lock.release()
        if not is_sent:
            if before_waiting is not None:
                before_waiting()
            if is_chunked:
                self._send_chunked(key, head, kind, flags, area_parts(attachments), total)
            else:
                self._send_whole(key, [head, *area_parts(attachments)])
        if self._owed:
            self.flush()

    def _send_now(self, frame: bytes, before_waiting: Callable[[], object] | None) -> bool:
        rest = self._transport.send_now(frame)
        if rest is not None:
            if before_waiting is not None:
                before_waiting()
            self._transport.send([rest])
        return True

    def flush(self) -> None:
        """Sends what is owed, unless another thread is sending: that one does it then. Waits for and raises nothing.

        May be called by a finalizer, between any two steps of a thread that sends: whoever lets the lock go looks at
        `owed` once more.
        """
        while self._owed and self._lock.acquire(False):
            is_ours = True
            try:
                rest = self._transport.send_now(self._take_owed())
                if rest is not None:
                    is_ours = False
                    start_in_thread(self._finish, rest)
            except PyisolateError:
                return  # whoever reads finds the end
            finally:
                if is_ours:
                    self._lock.release()

    def _finish(self, rest: memoryview) -> None:
        """With the lock, which it lets go: sends the rest of an owed frame, waiting for the other side to take it."""
        try:
            self._transport.send([rest])
        except PyisolateError:
            return
        finally:
            self._lock.release()
        self.flush()

    def _take_owed(self) -> bytes:
        frames = []
        while self._owed:
            frames.append(self._owed.popleft())
        return b"".join(frames)

    def _acquire(self) -> None:
        with self._turn:
            self._lock.acquire()

    def _send_whole(self, key: tuple[int, int], parts: Sequence[Bytes]) -> None:
        while True:
            self._acquire()
            try:
                if self._chunked != key:
                    self._transport.send(parts)
                    return
            finally:
                self._lock.release()
            with self._chunk_lock:
                pass  # until the message of the same call has left

    def _send_chunked(
        self, key: tuple[int, int], head: bytes, kind: int, flags: int, parts: Sequence[Bytes], total: int
    ) -> None:
        missing = total
        with self._chunk_lock:
            self._chunked = key
            try:
                for piece in _cut(parts, ATTACHMENT_BYTES):
                    if missing < total:
                        more = MORE if missing > ATTACHMENT_BYTES else 0
                        head = encode_head(kind, flags | more, key[1], b"", min(missing, ATTACHMENT_BYTES))
                    missing -= ATTACHMENT_BYTES
                    self._acquire()
                    try:
                        self._transport.send([head, *piece])
                    finally:
                        self._lock.release()
                    if self._owed:
                        self.flush()
            finally:
                self._chunked = None


def start_in_thread(function: Callable[..., object], *arguments: object) -> None:
    """In a thread of its own, in this one where none is to be had. Unlike threading.Thread it takes no lock."""
    try:
        start_new_thread(function, arguments)
    except RuntimeError:
        function(*arguments)


def _cut(parts: Sequence[Bytes], step: int) -> Iterator[list[memoryview]]:
    """The parts as pieces of `step` bytes and a last one of what remains."""
    piece: list[memoryview] = []
    room = step
    for part in parts:
        rest = memoryview(part)
        while len(rest):
            piece.append(rest[:room])
            rest = rest[room:]
            room -= len(piece[-1])
            if room == 0:
                yield piece
                piece, room = [], step
    if piece:
        yield piece
