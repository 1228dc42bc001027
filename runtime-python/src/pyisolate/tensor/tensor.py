"""Tensor: an n-dimensional array for packs without numpy and torch, and for hosts. Must not know how bytes travel.

numpy, torch and others take it without a copy: by DLPack, `__array_interface__` or (Python 3.12+) the buffer protocol.
"""

from __future__ import annotations

from struct import unpack

from ..errors import PyisolateError
from .dtype import DTYPES
from .layout import c_strides, check_layout, check_shape, copy_elements, is_c_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Union

    Bytes = Union[bytes, bytearray, memoryview]


class Memory:
    """Bytes that a tensor lies in, until it gives them up. Here ordinary memory; segments bring a subclass."""

    __slots__ = ("_view",)

    def __init__(self, view: memoryview | None) -> None:
        self._view = view

    def look(self) -> memoryview:
        """All of it, as flat bytes. Raises TENSOR_RELEASED."""
        view = self._view
        if view is None:
            raise PyisolateError(
                "TENSOR_RELEASED", "the tensor was released", next="Copy what is needed later, or release it later."
            )
        return view

    def release(self) -> None:
        """Gives it up; other views of it stay as they are."""
        self._view = None


class Tensor:
    """An array, little-endian. As a context manager it is released at the end.

    Attributes:
        dtype: As numpy and torch spell it, e.g. "float32".
        shape: Element counts, outermost first; () is a scalar.
        strides: Elements (not bytes) to the next item along each axis; may be negative, or 0 (broadcast).
        memory: What it lies in; for this package only.
        offset: Byte of element [0, …, 0] in that memory.
    """

    __slots__ = ("__weakref__", "dtype", "memory", "offset", "shape", "strides")

    def __init__(
        self, dtype: str, shape: Sequence[int], data: Bytes, strides: Sequence[int] | None = None, offset: int = 0
    ) -> None:
        """Borrows `data`: the elements in C order, exactly; or with `strides` any memory that holds them all.

        Raises: PyisolateError TENSOR_INVALID when they do not fit together.
        """
        expected = check_shape(dtype, shape)
        view = memoryview(data)
        if strides is not None:
            check_layout(dtype, shape, strides, offset, view.nbytes)
        elif view.nbytes != expected:
            raise PyisolateError(
                "TENSOR_INVALID", f"tensor of {dtype} {list(shape)} needs {expected} bytes, got {view.nbytes}"
            )
        self.dtype = dtype
        self.shape = tuple(shape)
        self.strides = c_strides(shape) if strides is None else tuple(strides)
        self.memory = Memory(view.cast("B") if view.nbytes else memoryview(b""))
        self.offset = offset

    @classmethod
    def over(
        cls, memory: Memory, dtype: str, shape: Sequence[int], strides: Sequence[int] | None = None, offset: int = 0
    ) -> Tensor:
        """For this package: nothing is checked."""
        tensor = cls.__new__(cls)
        tensor.dtype = dtype
        tensor.shape = tuple(shape)
        tensor.strides = c_strides(shape) if strides is None else tuple(strides)
        tensor.memory = memory
        tensor.offset = offset
        return tensor

    @property
    def nbytes(self) -> int:
        """Of the elements in C order."""
        return check_shape(self.dtype, self.shape)

    @property
    def data(self) -> memoryview:
        """The elements in C order, as flat bytes: borrowed if they lie so, else copied each time.

        Raises: PyisolateError TENSOR_RELEASED.
        """
        view = self.memory.look()
        if is_c_order(self.shape, self.strides):
            return view[self.offset : self.offset + self.nbytes]
        copy = memoryview(bytearray(self.nbytes))
        copy_elements(copy, view, self.offset, DTYPES[self.dtype].item_bytes, self.shape, self.strides)
        return copy

    def release(self) -> None:
        """Lets the memory be used for other tensors. Later reads raise TENSOR_RELEASED; arrays made of it keep it."""
        self.memory.release()

    def __enter__(self) -> Tensor:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def __array_interface__(self) -> dict[str, Any]:
        kind = DTYPES[self.dtype]
        if not kind.array_code:
            raise AttributeError(f"{self.dtype} has no form in the array interface")
        view = self.memory.look()
        strides = None
        if not is_c_order(self.shape, self.strides):
            strides = tuple(step * kind.item_bytes for step in self.strides)
        return {
            "version": 3,
            "typestr": kind.array_code,
            "shape": self.shape,
            "strides": strides,
            "data": view,
            "offset": self.offset,
        }

    def __buffer__(self, flags: int) -> memoryview:
        """The elements with their shape (Python 3.12+). numpy asks here first, then for the array interface."""
        code = DTYPES[self.dtype].format
        if not code or not self.nbytes or not is_c_order(self.shape, self.strides):
            raise BufferError(f"{self!r} has no form in the buffer protocol")
        view: memoryview = self.data.cast(code, self.shape)  # type: ignore[call-overload]
        return view

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """Raises: BufferError for a dtype or device that it cannot give; PyisolateError TENSOR_RELEASED."""
        from .dlpack import CPU, give

        if stream is not None or dl_device not in (None, CPU):
            raise BufferError("a tensor of pyisolate lies in the memory of the CPU")
        if copy:
            return Tensor(self.dtype, self.shape, bytearray(self.data)).__dlpack__(max_version=max_version)
        is_versioned = max_version is not None and max_version[0] >= 1
        return give(self.dtype, self.shape, self.strides, self.memory.look(), self.offset, is_versioned)

    def __dlpack_device__(self) -> tuple[int, int]:
        from .dlpack import CPU

        return CPU

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor({self.dtype}, {list(self.shape)})"

    def tolist(self) -> Any:
        """Nested lists of Python numbers, one number for a scalar; of float8 and times the integer of their bits."""
        return _nest(iter(self._elements()), self.shape)

    def _elements(self) -> Sequence[Any]:
        data = self.data
        kind = DTYPES[self.dtype]
        count = data.nbytes // kind.item_bytes
        if self.dtype == "bfloat16":  # the upper half of a float32
            halves = unpack(f"<{count}H", data)
            return unpack(f"<{count}f", b"".join((half << 16).to_bytes(4, "little") for half in halves))
        if self.dtype.startswith("complex"):
            parts = unpack(f"<{2 * count}{'f' if self.dtype == 'complex64' else 'd'}", data)
            return [complex(*pair) for pair in zip(parts[::2], parts[1::2])]
        return unpack(f"<{count}{kind.format or {1: 'B', 8: 'q'}[kind.item_bytes]}", data)


def _nest(elements: Iterator[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return next(elements)
    return [_nest(elements, shape[1:]) for _ in range(shape[0])]
