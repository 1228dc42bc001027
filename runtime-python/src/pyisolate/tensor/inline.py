"""The route "inline": arrays whose bytes travel in the message itself, as attachments. Must not know sockets."""

from __future__ import annotations

from ..rpc.frame import violation
from ..rpc.values import Encoder
from .arrays import Array, array_of, make_tensor, numpy_maker, scalar_of
from .payload import TAG, read_inline, write_inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..rpc.values import Sink, Source
    from .arrays import Maker


class InlineTensors:
    """A ValueExtension.

    Attributes:
        make: Makes received arrays; None: numpy where it can be imported, else `Tensor`. Set before the first call.
    """

    tags = frozenset({TAG})

    def __init__(self, make: Maker | None = None) -> None:
        self.make = make

    def encode(self, value: Any, sink: Sink) -> Any:
        value = scalar_or_array(value)
        return encode_inline(value, sink) if isinstance(value, Array) else value

    def decode(self, tag: str, payload: Any, source: Source) -> Any:
        """An array that is writable and owns its bytes. Raises PROTOCOL_VIOLATION."""
        return decode_inline(payload, source, self.maker())

    def maker(self) -> Maker:
        if self.make is None:
            self.make = numpy_maker() or make_tensor
        return self.make


def scalar_or_array(value: Any) -> Any:
    """An Array, the JSON form of a scalar, or NotImplemented. Raises VALUE_UNSUPPORTED."""
    scalar = scalar_of(value)
    if scalar is NotImplemented:
        array = array_of(value)
        return NotImplemented if array is None else array
    return scalar if isinstance(scalar, Array) else Encoder().value(scalar)


def encode_inline(array: Array, sink: Sink) -> dict[str, Any]:
    """Every byte counts as copied: the socket copies it."""
    sink.copied(array.nbytes, "inline")
    return write_inline(array.dtype, array.shape, sink.attach(array.flat()))


def decode_inline(payload: Any, source: Source, make: Maker) -> Any:
    """Borrows the bytes of the message's own area. Raises PROTOCOL_VIOLATION."""
    dtype, shape, index, expected = read_inline(payload)
    data = source.take(index)
    if len(data) != expected:
        raise violation(f"{TAG} of {dtype} {shape} with {len(data)} bytes, expected {expected}")
    return make(dtype, shape, None, data, 0)
