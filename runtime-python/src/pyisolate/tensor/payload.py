"""The text form of a tensor, `$tensor` of docs/protocol.md, written and read. Must not know memory."""

from __future__ import annotations

from ..errors import PyisolateError
from ..rpc.frame import violation
from .layout import check_layout, check_shape, is_c_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

TAG = "$tensor"
#: Up to here the bytes travel in the message; a segment would cost more than it saves.
INLINE_BYTES = 64 * 1024

_INLINE_KEYS = {"dtype", "shape", "attachment"}
_SEGMENT_KEYS = {"dtype", "shape", "segment", "offset", "lease"}
_STRIDED_KEYS = {*_SEGMENT_KEYS, "strides"}


class Place:
    """A tensor in a segment, as its sender says; nothing is checked against a segment yet.

    Attributes:
        segment: Number of the segment on this connection.
        offset: Bytes from its start to element [0, …, 0].
        strides: In elements; None: C order.
        lease: Id of the sender's lease, of any type.
    """

    __slots__ = ("dtype", "lease", "offset", "segment", "shape", "strides")

    def __init__(
        self, dtype: str, shape: Sequence[int], strides: Sequence[int] | None, segment: int, offset: int, lease: Any
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.strides = strides
        self.segment = segment
        self.offset = offset
        self.lease = lease

    def check(self, nbytes: int) -> tuple[int, int]:
        """Where in a segment of so many bytes it lies, from its first byte to its end. Raises PROTOCOL_VIOLATION."""
        try:
            return check_layout(self.dtype, self.shape, self.strides, self.offset, nbytes)
        except PyisolateError as error:
            raise violation(error.message) from None


def write_inline(dtype: str, shape: Sequence[int], attachment: int) -> dict[str, Any]:
    return {TAG: {"dtype": dtype, "shape": list(shape), "attachment": attachment}}


def write_place(place: Place) -> dict[str, Any]:
    payload: dict[str, Any] = {"dtype": place.dtype, "shape": list(place.shape)}
    if place.strides is not None and not is_c_order(place.shape, place.strides):
        payload["strides"] = list(place.strides)
    payload.update(segment=place.segment, offset=place.offset, lease=place.lease)
    return {TAG: payload}


def is_place(payload: Any) -> bool:
    """Whether it is a tensor in a segment, for `read_place`; else it may be one for `read_inline`."""
    return type(payload) is dict and "segment" in payload


def read_inline(payload: Any) -> tuple[str, list[int], Any, int]:
    """Dtype, shape, index of the attachment (of any type) and the bytes it must have. Raises PROTOCOL_VIOLATION."""
    if type(payload) is not dict or payload.keys() != _INLINE_KEYS:
        raise violation(f"{TAG} of another shape")
    dtype, shape = payload["dtype"], payload["shape"]
    if type(dtype) is not str or type(shape) is not list:
        raise violation(f"{TAG} of another shape")
    try:
        return dtype, shape, payload["attachment"], check_shape(dtype, shape)
    except PyisolateError as error:
        raise violation(error.message) from None


def read_place(payload: dict[str, Any]) -> Place:
    """For `Place.check`, which sees to what the numbers say. Raises PROTOCOL_VIOLATION."""
    keys = payload.keys()
    if keys != _SEGMENT_KEYS and keys != _STRIDED_KEYS:
        raise violation(f"{TAG} of another shape")
    dtype, shape, segment = payload["dtype"], payload["shape"], payload["segment"]
    strides = payload.get("strides")
    has_strides = type(strides) is list or "strides" not in payload
    if not (type(dtype) is str and type(shape) is list and type(segment) is int and has_strides):
        raise violation(f"{TAG} of another shape")
    return Place(dtype, shape, strides, segment, payload["offset"], payload["lease"])
