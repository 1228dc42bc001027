"""Session: the RPC state machine. Every state change of the wire happens in this file.

No sockets, clocks or waiting: the caller feeds frames in (it is the sink of a FrameReader) and takes messages out.
Threads: one thread at a time feeds; `open_call` needs the caller's lock; `close_call` may come from any thread.
"""

from __future__ import annotations

from collections import deque

from ..errors import PyisolateError
from .frame import Header, area_bytes, encode_head, round_up, violation
from .kinds import (
    ATTACHMENT_BYTES,
    ATTACHMENT_STEP_BYTES,
    CALL,
    CANCEL,
    CAUSES,
    ERROR,
    EVENT,
    HELLO,
    HELLO_BYTES,
    KINDS,
    LAST,
    MAX_CALLS,
    MAX_ID,
    MAX_INTEGER,
    MAX_VERSION,
    MORE,
    PING,
    PONG,
    REPLY,
    RESULT,
    STOP,
    VERSIONS,
    Limits,
)
from .values import Decoder, is_count, read_object, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .values import ValueExtension

_EVENTS = frozenset({"progress", "log", "preview"})
_CALL_KEYS = frozenset({"method", "args", "timeoutMs", "attachments"})
_RESULT_KEYS = frozenset({"value", "attachments"})
_EVENT_KEYS = frozenset({"event", "data", "attachments"})
_ERROR_KEYS = frozenset({"type", "message", "args", "traceback", "code", "cause"})
_INFINITY = float("inf")
#: Kinds that come once, or need a feature.
_RARE = frozenset({HELLO, STOP, *(kind.number for kind in KINDS if kind.feature is not None)})
#: Kinds that belong to one call: the frames of a chunked message of the same call must not be interrupted by them.
_OF_A_CALL = frozenset({CALL, RESULT, ERROR, EVENT, CANCEL})


class Message:
    """One complete message of the peer.

    Attributes:
        name: Method of a call, name of an event; "" for the other kinds.
        value: The args of a call (a list), the value of a result, the data of an event, the body of an error (its args
            decoded); None for cancel and stop.
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
        self.data = memoryview(bytearray(area_bytes(lengths)))
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


class Session:
    """Both directions of one connection.

    Attributes:
        outbound: Frames to send as soon as possible, oldest first: our hello, then pongs.
        remote: The peer's limits; None until its hello came.
    """

    def __init__(
        self, limits: Limits | None = None, *, is_stoppable: bool = False, extension: ValueExtension | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._is_stoppable = is_stoppable
        self._extension = extension
        self.remote: Limits | None = None
        self._own: set[int] = set()
        self._theirs: set[int] = set()
        self._next_id = 1
        #: The message of the frame being read, and the one that goes on in later frames.
        self._current: _Area | None = None
        self._chunked: _Area | None = None
        hello = {
            "protocol": list(VERSIONS),
            "features": [],
            "limits": {"calls": self._limits.calls, "messageBytes": self._limits.message_bytes},
        }
        self.outbound: deque[bytes] = deque([encode_head(HELLO, 0, 0, write_text(hello), 0)])

    @property
    def can_open_call(self) -> bool:
        return self.remote is not None and len(self._own) < self.remote.calls

    def open_call(self) -> int:
        """The id of a new call of ours; `can_open_call` must hold."""
        id = self._next_id
        while id in self._own:
            id = id % MAX_ID + 1
        self._next_id = id % MAX_ID + 1
        self._own.add(id)
        return id

    def forget_call(self, id: int) -> None:
        """A call of ours that was opened will not be sent after all."""
        self._own.discard(id)

    def close_call(self, id: int) -> None:
        """We are about to send the last message of a call of the peer."""
        self._theirs.discard(id)

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
            if header.id in self._theirs:
                raise violation(f"a call with the live id {header.id}")
            if len(self._theirs) >= self._limits.calls:
                raise violation(f"more than {self._limits.calls} calls in flight")
        elif header.flags & REPLY and header.id not in self._own:
            raise violation(f"{kind.name} of call {header.id}, which is not live")
        if kind.attachments:
            if header.body_bytes == 0:
                raise violation(f"{kind.name} without a body")
            if chunked is not None and header.flags & MORE:
                raise violation("a second chunked message before the first is complete")

    def _check_rare(self, header: Header) -> None:
        kind = header.kind
        number = kind.number
        if (self.remote is None) is not (number == HELLO):
            raise violation(f"{kind.name} before hello" if self.remote is None else "a second hello")
        if number == HELLO and header.body_bytes > HELLO_BYTES:
            raise violation(f"hello of {header.body_bytes} bytes, expected at most {HELLO_BYTES}")
        if kind.feature is not None:
            raise violation(f"{kind.name} without the feature {kind.feature}")
        if number == STOP and not self._is_stoppable:
            raise violation("stop to a side that is no worker")

    def _check_continuation(self, header: Header, chunked: _Area) -> None:
        if header.kind.number != chunked.kind or header.flags & ~MORE != chunked.flags or header.body_bytes:
            raise violation(f"{header.kind.name} between the frames of a message of the same call")
        _check_piece(header, chunked.missing)

    def on_body(self, header: Header, body: bytes | bytearray) -> Message | memoryview | None:
        kind = header.kind.number
        if not header.kind.has_body:
            return self._bare(kind, header.id)
        if kind == HELLO:
            self.remote = _read_hello(body)
            return None
        count = header.attachment_bytes
        area = self._chunked if header.body_bytes == 0 else None
        if area is None:
            tree, needs_look = read_object(body)
            _CHECKS[kind](tree)
            if kind == CALL:
                self._theirs.add(header.id)
            if not count and "attachments" not in tree and not header.flags & MORE:
                return self._complete(kind, header.flags, header.id, tree, needs_look)
            area = _Area(header, tree, needs_look, self._check_lengths(header, tree.get("attachments")))
        self._current = area
        area.filled += count
        return area.data[area.filled - count : area.filled] if count else self.on_end(header)

    def _bare(self, kind: int, id: int) -> Message | None:
        """A frame that is nothing but its header."""
        if kind == PING:
            if len(self.outbound) < _MAX_OWED_PONGS:
                self.outbound.append(_PONG)
        elif kind == STOP or (kind == CANCEL and id in self._theirs):
            return Message(kind, id)
        return None

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
            value = _decode_error(body) if needs_look else body
        if (needs_look or lengths) and kind != ERROR:
            decoder = Decoder(attachments, self._extension)
            value = decoder.value(value)
            decoder.finish()
        if flags & LAST:
            self._own.discard(id)
        return Message(kind, id, flags, name, value, lengths)


#: A peer that pings without reading is answered this often when it reads again.
_MAX_OWED_PONGS = 64
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


def _read_hello(body: bytes | bytearray) -> Limits:
    tree, _ = read_object(body)
    protocol, features, limits = tree.get("protocol"), tree.get("features"), tree.get("limits")
    if not (
        type(protocol) is list
        and len(protocol) == 2
        and all(is_count(version) and version <= MAX_VERSION for version in protocol)
        and protocol[0] <= protocol[1]
        and type(features) is list
        and all(type(feature) is str for feature in features)
        and type(limits) is dict
    ):
        raise violation("a hello of another shape")
    calls, message_bytes = limits.get("calls"), limits.get("messageBytes")
    if not (is_count(calls) and 1 <= calls <= MAX_CALLS and is_count(message_bytes) and message_bytes <= MAX_INTEGER):
        raise violation("a hello with other limits than the wire has")
    low, high = VERSIONS
    if protocol[0] > high or protocol[1] < low:
        raise PyisolateError(
            "PROTOCOL_MISMATCH",
            f"the peer speaks protocol {protocol[0]} to {protocol[1]}, this side {low} to {high}",
            next="Rebuild the pack's image with this version of pyisolate.",
        )
    return Limits(calls, message_bytes)


def _check_call_body(body: dict[str, Any]) -> None:
    timeout_ms = body.get("timeoutMs", 0)
    is_time = (type(timeout_ms) is int or type(timeout_ms) is float) and 0 <= timeout_ms < _INFINITY
    if not (is_time and type(body.get("method")) is str and type(body.get("args")) is list):
        raise violation("a call of another shape")
    if len(body) != 2 + ("timeoutMs" in body):
        if not body.keys() <= _CALL_KEYS:
            raise violation("a call of another shape")
        _check_lengths_shape(body)


def _check_result_body(body: dict[str, Any]) -> None:
    if not (body.keys() <= _RESULT_KEYS and "value" in body):
        raise violation("a result of another shape")
    if "attachments" in body:
        _check_lengths_shape(body)


def _check_event_body(body: dict[str, Any]) -> None:
    event = body.get("event")
    if not (body.keys() <= _EVENT_KEYS and "data" in body and type(event) is str and event in _EVENTS):
        raise violation("an event of another shape")
    if "attachments" in body:
        _check_lengths_shape(body)


def _check_lengths_shape(body: dict[str, Any]) -> None:
    lengths = body["attachments"]
    if not (type(lengths) is list and all(map(is_count, lengths))):
        raise violation("attachments that are not a list of lengths")


def _check_error_body(body: dict[str, Any], depth: int = 0) -> None:
    texts = (body.get("type"), body.get("message"), body.get("traceback"), body.get("code", ""))
    if not (body.keys() <= _ERROR_KEYS and type(body.get("args")) is list and all(type(text) is str for text in texts)):
        raise violation("an error of another shape")
    if "cause" in body:
        if type(body["cause"]) is not dict or depth == CAUSES - 1:
            raise violation(f"the cause of an error is no error, or there are more than {CAUSES}")
        _check_error_body(body["cause"], depth + 1)


def _decode_error(body: dict[str, Any]) -> dict[str, Any]:
    decoded = {**body, "args": Decoder().value(body["args"])}
    if "cause" in body:
        decoded["cause"] = _decode_error(body["cause"])
    return decoded


_CHECKS = {CALL: _check_call_body, RESULT: _check_result_body, EVENT: _check_event_body, ERROR: _check_error_body}
