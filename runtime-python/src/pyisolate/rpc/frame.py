"""Frames: header, body and attachment bytes, cut out of a byte stream and written into one.

Must not know sessions, values or sockets. Lengths are checked before anything is allocated.
"""

from __future__ import annotations

from struct import Struct

from ..errors import PyisolateError
from .kinds import (
    ATTACHMENT_BYTES,
    ATTACHMENT_STEP_BYTES,
    BODY_BYTES,
    BODY_STEP_BYTES,
    HEADER_BYTES,
    KIND_BY_NUMBER,
    KINDS,
    Kind,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol, Union

    Bytes = Union[bytes, bytearray, memoryview]

    class FrameSink(Protocol):
        """What a FrameReader hands on, in this order for every frame. Any of the three may raise PROTOCOL_VIOLATION."""

        def on_header(self, header: Header) -> None:
            """Nothing beyond the header was read or allocated yet."""

        def on_body(self, header: Header, body: bytearray) -> Any:
            """Gives the place for the attachment bytes, of exactly that length; if the frame has none: as `on_end`."""

        def on_end(self, header: Header) -> Any:
            """The attachment bytes are in place. Gives the message that is complete now, or None."""


_HEADER = Struct("<IIBBHI")
#: flags << 8 | kind of every frame that may be → its kind
_SHAPES = {flags << 8 | kind.number: kind for kind in KINDS for flags in kind.flags}


class Header:
    __slots__ = ("attachment_bytes", "body_bytes", "flags", "id", "kind")

    def __init__(self, kind: Kind, flags: int, id: int, body_bytes: int, attachment_bytes: int) -> None:
        self.kind = kind
        self.flags = flags
        self.id = id
        self.body_bytes = body_bytes
        self.attachment_bytes = attachment_bytes


def violation(message: str) -> PyisolateError:
    """The error for bytes that docs/protocol.md forbids."""
    return PyisolateError("PROTOCOL_VIOLATION", f"peer broke the protocol: {message}")


def decode_header(data: Bytes, at: int) -> Header:
    """Reads 16 bytes at `at`. Raises PROTOCOL_VIOLATION."""
    body_bytes, attachment_bytes, number, flags, reserved, id = _HEADER.unpack_from(data, at)
    kind = _SHAPES.get(flags << 8 | number)
    if kind is None:
        known = KIND_BY_NUMBER.get(number)
        raise violation(f"{known.name} frame with flags {flags}" if known else f"unknown frame kind {number}")
    if reserved != 0:
        raise violation(f"{kind.name} frame with a reserved field that is not 0")
    if (id == 0) is kind.has_id:
        raise violation(f"{kind.name} frame with id {id}")
    if body_bytes % BODY_STEP_BYTES or body_bytes > BODY_BYTES:
        raise violation(f"body of {body_bytes} bytes, expected a multiple of 16 up to {BODY_BYTES}")
    if attachment_bytes:
        if attachment_bytes % ATTACHMENT_STEP_BYTES or attachment_bytes > ATTACHMENT_BYTES:
            raise violation(f"{attachment_bytes} attachment bytes, expected a multiple of 64 up to {ATTACHMENT_BYTES}")
        if not kind.attachments:
            raise violation(f"{kind.name} frame with attachment bytes")
    elif not kind.attachments and (body_bytes == 0) is kind.has_body:
        raise violation(f"{kind.name} frame with {body_bytes} body bytes")
    return Header(kind, flags, id, body_bytes, attachment_bytes)


def encode_head(kind: int, flags: int, id: int, body: bytes, attachment_bytes: int) -> bytes:
    """Header and padded body; the attachment bytes follow it on the wire.

    Raises: PyisolateError VALUE_UNSUPPORTED when the body is longer than a frame can hold.
    """
    body_bytes = len(body) + -len(body) % BODY_STEP_BYTES
    if body_bytes > BODY_BYTES:
        raise PyisolateError(
            "VALUE_UNSUPPORTED",
            f"the text form of a {KIND_BY_NUMBER[kind].name} needs {len(body)} bytes, the wire allows {BODY_BYTES}",
            next="Send long data as bytes or as a tensor; those travel beside the text.",
        )
    return _HEADER.pack(body_bytes, attachment_bytes, kind, flags, 0, id) + body.ljust(body_bytes)


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def area_bytes(lengths: Sequence[int]) -> int:
    """Bytes of the area that holds attachments of these lengths, each starting at a multiple of 64."""
    return sum(round_up(length, ATTACHMENT_STEP_BYTES) for length in lengths)


def area_parts(attachments: Sequence[memoryview]) -> list[Bytes]:
    """The area in pieces, gaps filled; the attachments themselves are borrowed, not copied."""
    parts: list[Bytes] = []
    for attachment in attachments:
        if attachment.nbytes:
            parts.append(attachment)
        if attachment.nbytes % ATTACHMENT_STEP_BYTES:
            parts.append(bytes(-attachment.nbytes % ATTACHMENT_STEP_BYTES))
    return parts


class FrameReader:
    """Cuts a byte stream into frames, incrementally and without I/O.

    Give bytes by writing into `space()` and saying how many with `advance`, then `read()` until it gives None.
    Large bodies and attachments are asked for straight into their place; the rest comes through one buffer.
    """

    def __init__(self, sink: FrameSink, buffer_bytes: int = 65_536) -> None:
        self._sink = sink
        self._buffer = bytearray(buffer_bytes)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._header: Header | None = None
        self._has_body = False
        #: Where the rest of a long body, or the attachment bytes, go; `_filled` bytes of it are there.
        self._target: memoryview | None = None
        self._filled = 0
        self._is_direct = False

    @property
    def is_inside_frame(self) -> bool:
        return self._header is not None or self._start < self._end

    @property
    def has_unread(self) -> bool:
        """Whether bytes were given that `read` has not looked at."""
        return self._start < self._end

    def space(self) -> memoryview:
        """Where the next bytes of the stream go; never empty. All bytes before must have been read."""
        target = self._target
        self._is_direct = target is not None
        if target is not None:
            return target[self._filled :]
        waiting = self._end - self._start
        if waiting == 0:
            self._start = self._end = 0
            return self._view
        if self._end == len(self._buffer):
            self._buffer[:waiting] = self._buffer[self._start :]
            self._start, self._end = 0, waiting
        return self._view[self._end :]

    def advance(self, count: int) -> None:
        if self._is_direct:
            self._filled += count
        else:
            self._end += count

    def receive(self, receive_into: Callable[[memoryview, bool], int], may_wait: bool) -> int:
        """Gives the bytes that `receive_into` writes, and returns what it returns: how many, none if not above 0."""
        if self._target is None and self._start == self._end:
            self._start = 0
            self._end = count = receive_into(self._view, may_wait)
            if count < 0:
                self._end = 0
            return count
        count = receive_into(self.space(), may_wait)
        if count > 0:
            self.advance(count)
        return count

    def read(self) -> Any:
        """The next complete message, None when the bytes given so far are used up. Raises PROTOCOL_VIOLATION."""
        while True:
            header = self._header
            if header is None:
                start = self._start
                if self._end - start < HEADER_BYTES:
                    return None
                header = decode_header(self._buffer, start)
                self._sink.on_header(header)
                self._start = start + HEADER_BYTES
                self._header = header
            if not self._has_body:
                body = self._take_body(header.body_bytes)
                if body is None:
                    return None
                answer = self._sink.on_body(header, body)
                if header.attachment_bytes == 0:
                    self._header = self._target = None
                    if answer is not None:
                        return answer
                    continue
                self._target, self._filled, self._has_body = answer, 0, True
            if not self._fill():
                return None
            self._header, self._target, self._has_body = None, None, False
            message = self._sink.on_end(header)
            if message is not None:
                return message

    def _take_body(self, count: int) -> bytearray | None:
        if self._target is None:
            start = self._start
            if count <= self._end - start:
                self._start = start + count
                return self._buffer[start : start + count]
            if count <= len(self._buffer):
                return None
            self._target, self._filled = memoryview(bytearray(count)), 0
        return self._target.obj if self._fill() else None  # type: ignore[return-value]

    def _fill(self) -> bool:
        """Moves what the buffer holds of the target's bytes into it; whether it is full."""
        target = self._target
        assert target is not None
        count = min(len(target) - self._filled, self._end - self._start)
        if count:
            target[self._filled : self._filled + count] = self._view[self._start : self._start + count]
            self._start += count
            self._filled += count
        return self._filled == len(target)
