"""Tensor: an n-dimensional array for packs without numpy and torch. Must not know how its bytes travelled."""

from __future__ import annotations

from math import prod
from struct import unpack

from ..errors import PyisolateError
from .dtype import DTYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Union

    Bytes = Union[bytes, bytearray, memoryview]

MAX_AXES = 32


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of an array in C order. Raises TENSOR_INVALID for an unknown dtype or a shape that is not one."""
    if dtype not in DTYPES:
        raise PyisolateError("TENSOR_INVALID", f'unknown dtype "{dtype}", expected one of {", ".join(DTYPES)}')
    if len(shape) > MAX_AXES or not all(type(count) is int and count >= 0 for count in shape):
        raise PyisolateError("TENSOR_INVALID", f"shape {list(shape)} is no list of up to {MAX_AXES} counts >= 0")
    return prod(shape) * DTYPES[dtype][0]


class Tensor:
    """An array in C order, little-endian. numpy takes it without a copy (`numpy.asarray`), except bfloat16.

    Attributes:
        dtype: As numpy and torch spell it, e.g. "float32".
        shape: Element counts, outermost first; () is a scalar.
        data: The bytes, as a flat memoryview of bytes; writable when they are. Borrowed, not copied.
    """

    __slots__ = ("__weakref__", "data", "dtype", "shape")

    def __init__(self, dtype: str, shape: Sequence[int], data: Bytes) -> None:
        """Raises: PyisolateError TENSOR_INVALID when dtype, shape and data do not fit together."""
        expected = tensor_bytes(dtype, shape)
        view = memoryview(data)
        if view.nbytes != expected:
            raise PyisolateError(
                "TENSOR_INVALID", f"tensor of {dtype} {list(shape)} needs {expected} bytes, got {view.nbytes}"
            )
        self.dtype = dtype
        self.shape = tuple(shape)
        self.data = view.cast("B") if view.nbytes else memoryview(b"")

    @property
    def __array_interface__(self) -> dict[str, Any]:
        code = DTYPES[self.dtype][2]
        if not code:
            raise AttributeError(f"{self.dtype} has no form in the array interface")
        return {"version": 3, "typestr": code, "shape": self.shape, "data": self.data}

    def __buffer__(self, flags: int) -> memoryview:
        """The elements with their shape (Python 3.12+). numpy asks here first, then for the array interface."""
        code = DTYPES[self.dtype][1]
        if not code or not self.data.nbytes:
            raise BufferError(f"{self!r} has no form in the buffer protocol")
        view: memoryview = self.data.cast(code, self.shape)  # type: ignore[call-overload]
        return view

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor({self.dtype}, {list(self.shape)})"

    def tolist(self) -> Any:
        """Nested lists of Python numbers; one number for a scalar."""
        elements = iter(self._elements())
        return _nest(elements, self.shape)

    def _elements(self) -> Sequence[Any]:
        count = prod(self.shape)
        if self.dtype == "bfloat16":  # the upper half of a float32
            halves = unpack(f"<{count}H", self.data)
            return unpack(f"<{count}f", b"".join((half << 16).to_bytes(4, "little") for half in halves))
        if self.dtype.startswith("complex"):
            parts = unpack(f"<{2 * count}{'f' if self.dtype == 'complex64' else 'd'}", self.data)
            return [complex(*pair) for pair in zip(parts[::2], parts[1::2])]
        return unpack(f"<{count}{DTYPES[self.dtype][1]}", self.data)


def _nest(elements: Iterator[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return next(elements)
    return [_nest(elements, shape[1:]) for _ in range(shape[0])]
