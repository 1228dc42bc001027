"""Session: the RPC state machine. Every state change of the wire happens in this file.

No sockets, clocks or waiting: the caller feeds frames in (it is the sink of a FrameReader) and takes messages out.
Threads: one thread at a time feeds; what opens an id needs the caller's lock; `close_call` and `release` may come from
any thread, `release` and what `hold` gives from finalizers too.
"""

from __future__ import annotations

from collections import deque

from ..errors import PyisolateError
from .bodies import CHECKS, decode_error, read_attach, read_hello
from .frame import Header, area_bytes, encode_head, round_up, violation
from .holdings import LEASE, SEGMENT, Holdings
from .kinds import (
    ATTACH,
    ATTACHMENT_BYTES,
    ATTACHMENT_STEP_BYTES,
    CALL,
    CANCEL,
    ERROR,
    EVENT,
    HELLO,
    HELLO_BYTES,
    KINDS,
    LAST,
    MAX_ID,
    MORE,
    PING,
    PONG,
    RELEASE,
    REPLY,
    RESULT,
    STOP,
    VERSIONS,
    Limits,
)
from .streams import Credits
from .values import Decoder, is_count, read_object, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .values import OnEnd, ValueExtension

#: Kinds that come once, or need a feature.
_RARE = frozenset({HELLO, STOP, *(kind.number for kind in KINDS if kind.feature is not None)})
#: Kinds that belong to one call: the frames of a chunked message of the same call must not be interrupted by them.
_OF_A_CALL = frozenset({CALL, RESULT, ERROR, EVENT, CANCEL})


class Message:
    """One complete message of the peer.

    Attributes:
        name: Method of a call, name of an event; "" for the other kinds.
        value: The args of a call (a list), the value of a result, the data of an event, the body of an error (its args
            decoded), what an attach says (nbytes, writable, path; None: the segment is wanted back); None for cancel
            and stop.
        lengths: Bytes of each attachment.
    """

    __slots__ = ("id", "is_last", "kind", "lengths", "name", "value")

    def __init__(
        self, kind: int, id: int, flags: int = 0, name: str = "", value: Any = None, lengths: Sequence[int] = ()
    ) -> None:
        self.kind = kind
        self.id = id
        self.is_last = flags & LAST != 0
        self.name = name
        self.value = value
        self.lengths = lengths


class _Area:
    """A message whose attachment bytes are coming in."""

    __slots__ = ("body", "data", "filled", "flags", "id", "kind", "lengths", "needs_look")

    def __init__(self, header: Header, body: dict[str, Any], needs_look: bool, lengths: list[int]) -> None:
        self.kind = header.kind.number
        self.flags = header.flags & ~MORE
        self.id = header.id
        self.body = body
        self.needs_look = needs_look
        self.lengths = lengths
        self.data = _allocate(area_bytes(lengths))
        self.filled = 0

    @property
    def missing(self) -> int:
        return len(self.data) - self.filled

    def attachments(self) -> list[memoryview]:
        views = []
        at = 0
        for length in self.lengths:
            views.append(self.data[at : at + length])
            at = round_up(at + length, ATTACHMENT_STEP_BYTES)
        return views


#: Beyond this, memory is taken page by page as bytes come: what is only announced costs nothing.
_LAZY_BYTES = 1 << 20


def _allocate(count: int) -> memoryview:
    if count < _LAZY_BYTES:
        return memoryview(bytearray(count))
    from mmap import mmap

    return memoryview(mmap(-1, count))


class Session:
    """Both directions of one connection.

    Attributes:
        outbound: Frames to send as soon as possible, oldest first: our hello, then pongs and releases.
        on_owed: Called when a release was put there, from whatever thread; must wait for nothing.
        remote: The peer's limits; None until its hello came.
        features: What both sides name; empty until the peer's hello came.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        is_stoppable: bool = False,
        extension: ValueExtension | None = None,
        features: Sequence[str] = (),
    ) -> None:
        """`is_stoppable`: this side is a worker, the peer may send stop and attach."""
        self._limits = limits or Limits()
        self._is_stoppable = is_stoppable
        self._extension = extension
        self._offered = features
        self.features: frozenset[str] = frozenset()
        self.on_owed: Callable[[], object] = lambda: None
        self.remote: Limits | None = None
        self._is_ended = False
        self._holdings = Holdings()
        self._held = self._holdings.theirs
        self._own: set[int] = set()
        self._theirs: set[int] = set()
        #: Streams we send, and items of streams we receive that were not taken, by the id of the call.
        self._credits: dict[int, Credits] = {}
        self._items: dict[int, int] = {}
        self._next_id = 1
        #: The message of the frame being read, and the one that goes on in later frames.
        self._current: _Area | None = None
        self._chunked: _Area | None = None
        hello = {
            "protocol": list(VERSIONS),
            "features": list(features),
            "limits": {
                "calls": self._limits.calls,
                "messageBytes": self._limits.message_bytes,
                "items": self._limits.items,
            },
        }
        self.outbound: deque[bytes] = deque([encode_head(HELLO, 0, 0, write_text(hello), 0)])

    @property
    def can_open_call(self) -> bool:
        return self.remote is not None and len(self._own) < self.remote.calls

    def open_call(self) -> int:
        """The id of a new call of ours; `can_open_call` must hold."""
        id = self._take_id()
        self._own.add(id)
        return id

    def _take_id(self) -> int:
        id = self._next_id
        while id in self._own or id in self._holdings.ours:
            id = id % MAX_ID + 1
        self._next_id = id % MAX_ID + 1
        return id

    def open_lease(self, on_end: OnEnd) -> int:
        """A new lease, for a message that is being encoded. `on_end` is called once: when it ends, however."""
        id = self._take_id()
        self._holdings.add_ours(id, on_end)
        return id

    def end_lease(self, id: int) -> None:
        """The message of the lease is not sent after all."""
        self._holdings.end_ours(id)

    def open_segment(self, nbytes: int, writable: bool, path: str | None, on_released: OnEnd) -> tuple[int, bytes]:
        """The id of a new segment and the body of the attach frame that tells the peer.

        Raises: PyisolateError VALUE_UNSUPPORTED when the peer does not know segments.
        """
        if "segments" not in self.features:
            raise PyisolateError(
                "VALUE_UNSUPPORTED", 'the peer takes no shared memory: it lacks the feature "segments"'
            )
        body = {"nbytes": nbytes, "writable": writable}
        text = write_text(body if path is None else {**body, "path": path})
        return self.open_lease(on_released), text

    def is_attached(self, id: int) -> bool:
        """Whether a segment of ours is still the peer's."""
        return not self._is_ended and id in self._holdings.ours

    def release(self, id: int) -> None:
        """This side no longer uses a lease or segment of the peer."""
        if self._holdings.remove_theirs(id) and not self._is_ended:
            self.outbound.append(encode_head(RELEASE, 0, id, b"", 0))
            self.on_owed()

    def hold(self, id: Any) -> Callable[[], None]:
        """As `Source.hold`."""
        if not (is_count(id) and 0 < id <= MAX_ID) or self._is_theirs(id):
            raise violation(f"lease {id!r}, which is no id or is live")
        self._holdings.add_theirs(id, LEASE)
        held = [id]

        def drop() -> None:
            try:
                held.pop()
            except IndexError:  # it was called before
                return
            self.release(id)

        return drop

    def _is_theirs(self, id: int) -> bool:
        """Whether the peer has given the id to something that is live."""
        return id in self._theirs or id in self._held

    def close(self) -> None:
        """The connection has ended; nothing is sent any more. With the lock of those who open ids."""
        self._is_ended = True

    def end_holdings(self) -> None:
        """After `close`: tells the owners of our leases and segments."""
        self._holdings.end_all_ours()

    def forget_call(self, id: int) -> None:
        """A call of ours that was opened will not be sent after all."""
        self._own.discard(id)

    def close_call(self, id: int) -> None:
        """We are about to send the last message of a call of the peer."""
        self._theirs.discard(id)
        if self._credits:
            self._credits.pop(id, None)

    def open_stream(self, id: int) -> Credits:
        """We are about to send items of a call of the peer. Raises: PyisolateError VALUE_UNSUPPORTED."""
        if self.remote is None or self.remote.items == 0:
            raise PyisolateError("VALUE_UNSUPPORTED", "the caller takes no stream")
        return self._credits.setdefault(id, Credits(self.remote.items))

    def take_item(self, id: int) -> bytes | None:
        """An item of a call of ours was taken: the frame that lets the peer send another; None: the call has ended.

        With the caller's lock.
        """
        if id not in self._items:
            return None
        self._items[id] -= 1
        return encode_head(RELEASE, MORE, id, b"", 0)

    def end(self, is_inside_frame: bool) -> str:
        """The stream has ended: "closed", or "broken" in the middle of something."""
        is_broken = is_inside_frame or self._chunked is not None or self._own or self._theirs
        return "broken" if is_broken else "closed"

    def on_header(self, header: Header) -> None:
        kind = header.kind
        number = kind.number
        if self.remote is None or number in _RARE:
            self._check_rare(header)
        chunked = self._chunked
        if chunked is not None and number in _OF_A_CALL and _is_same_call(header, chunked):
            self._check_continuation(header, chunked)
            return
        if number == CALL:
            if header.id in self._theirs or header.id in self._held:
                raise violation(f"a call with the live id {header.id}")
            if len(self._theirs) >= self._limits.calls:
                raise violation(f"more than {self._limits.calls} calls in flight")
        elif header.flags & REPLY:
            if header.id not in self._own:
                raise violation(f"{kind.name} of call {header.id}, which is not live")
            if not header.flags & LAST and number == RESULT:
                self._count_item(header.id)
        if kind.attachments:
            if header.body_bytes == 0:
                raise violation(f"{kind.name} without a body")
            if header.flags & MORE:
                if chunked is not None:
                    raise violation("a second chunked message before the first is complete")
                if header.attachment_bytes != ATTACHMENT_BYTES:
                    raise violation(f"{kind.name} frame that goes on after {header.attachment_bytes} attachment bytes")

    def _check_rare(self, header: Header) -> None:
        kind = header.kind
        number = kind.number
        if (self.remote is None) is not (number == HELLO):
            raise violation(f"{kind.name} before hello" if self.remote is None else "a second hello")
        if number == HELLO and header.body_bytes > HELLO_BYTES:
            raise violation(f"hello of {header.body_bytes} bytes, expected at most {HELLO_BYTES}")
        if kind.feature is not None and kind.feature not in self.features:
            raise violation(f"{kind.name} without the feature {kind.feature}")
        if number in (STOP, ATTACH) and not self._is_stoppable:
            raise violation(f"{kind.name} to a side that is no worker")

    def _check_continuation(self, header: Header, chunked: _Area) -> None:
        if header.kind.number != chunked.kind or header.flags & ~MORE != chunked.flags or header.body_bytes:
            raise violation(f"{header.kind.name} between the frames of a message of the same call")
        _check_piece(header, chunked.missing)

    def on_body(self, header: Header, body: bytes | bytearray) -> Message | memoryview | None:
        kind = header.kind.number
        if not header.kind.has_body:
            return self._bare(header)
        if kind in _RARE:
            return self._rare_body(kind, header.id, body)
        count = header.attachment_bytes
        area = self._chunked if header.body_bytes == 0 else None
        if area is None:
            tree, needs_look = read_object(body)
            CHECKS[kind](tree)
            if kind == CALL:
                self._theirs.add(header.id)
            if not count and "attachments" not in tree and not header.flags & MORE:
                return self._complete(kind, header.flags, header.id, tree, needs_look)
            area = _Area(header, tree, needs_look, self._check_lengths(header, tree.get("attachments")))
        self._current = area
        area.filled += count
        return area.data[area.filled - count : area.filled] if count else self.on_end(header)

    def _rare_body(self, kind: int, id: int, body: bytes | bytearray) -> Message | None:
        if kind == HELLO:
            self.remote, features = read_hello(body)
            self.features = features.intersection(self._offered)
            return None
        segment = read_attach(body)
        if segment is None:
            return Message(ATTACH, id) if self._holdings.want_back(id) else None
        if self._is_theirs(id):
            raise violation(f"attach with the live id {id}")
        self._holdings.add_theirs(id, SEGMENT)
        return Message(ATTACH, id, value=segment)

    def _count_item(self, id: int) -> None:
        count = self._items.get(id, 0) + 1
        if count > self._limits.items:
            raise violation(f"more items of call {id} than this side accepts")
        self._items[id] = count

    def _bare(self, header: Header) -> Message | None:
        """A frame that is nothing but its header."""
        kind, id = header.kind.number, header.id
        if kind == PING:
            if len(self.outbound) < _MAX_OWED:
                self.outbound.append(_PONG)
        elif kind == RELEASE:
            if header.flags & MORE:
                self._receive_more(id)
            else:
                self._holdings.end_ours(id)
        elif kind == STOP or (kind == CANCEL and id in self._theirs):
            return Message(kind, id)
        return None

    def _receive_more(self, id: int) -> None:
        """The id is that of a call of the peer; it may have ended."""
        credits = self._credits.get(id)
        if id in self._theirs and not (credits is not None and credits.give()):
            raise violation(f"release with more for call {id}, of which no item is on its way")

    def _check_lengths(self, header: Header, lengths: Any) -> list[int]:
        if lengths is None:
            lengths = []
        total = area_bytes(lengths)
        if total > self._limits.message_bytes:
            raise violation(f"{total} attachment bytes in a message, expected at most {self._limits.message_bytes}")
        _check_piece(header, total)
        return lengths  # type: ignore[no-any-return]

    def on_end(self, header: Header) -> Message | None:
        area, self._current = self._current, None
        assert area is not None
        if area.missing:
            self._chunked = area
            return None
        if area is self._chunked:
            self._chunked = None
        views = area.attachments()
        return self._complete(area.kind, area.flags, area.id, area.body, area.needs_look, area.lengths, views)

    def _complete(
        self,
        kind: int,
        flags: int,
        id: int,
        body: dict[str, Any],
        needs_look: bool,
        lengths: Sequence[int] = (),
        attachments: Sequence[memoryview] = (),
    ) -> Message:
        name = ""
        if kind == CALL:
            name, value = body["method"], body["args"]
        elif kind == RESULT:
            value = body["value"]
        elif kind == EVENT:
            name, value = body["event"], body["data"]
        else:
            value = decode_error(body) if needs_look else body
        if (needs_look or lengths) and kind != ERROR:
            decoder = Decoder(attachments, self._extension, self.hold)
            value = decoder.value(value)
            decoder.finish()
        if flags & LAST:
            self._own.discard(id)
            if self._items:
                self._items.pop(id, None)
        return Message(kind, id, flags, name, value, lengths)


#: A peer that pings without reading gets no further pong while this many frames wait for it.
_MAX_OWED = 4096
_PONG = encode_head(PONG, 0, 0, b"", 0)


def _is_same_call(header: Header, chunked: _Area) -> bool:
    return header.id == chunked.id and (header.flags & REPLY) == (chunked.flags & REPLY)


def _check_piece(header: Header, missing: int) -> None:
    """The frame must bring exactly what is missing of its area, or 4 MiB of it and `more`."""
    expected = min(missing, ATTACHMENT_BYTES)
    if header.attachment_bytes != expected or bool(header.flags & MORE) is not (missing > ATTACHMENT_BYTES):
        raise violation(
            f"{header.kind.name} frame with {header.attachment_bytes} attachment bytes and flags {header.flags},"
            f" where {missing} bytes are missing"
        )
