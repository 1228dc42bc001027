"""Arrays of every kind as dtype, shape, strides and memory, and back: numpy, torch, `Tensor`, the buffer protocol,
`__array_interface__`, DLPack. numpy and torch are used where the pack has imported them, never required.

Must not know segments or how bytes travel.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod

from ..errors import PyisolateError
from .dtype import DTYPES
from .layout import MAX_AXES, CopyPlan, c_strides, copy_elements, is_c_order, plan_copy, span
from .tensor import Memory, Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Optional

    #: dtype, shape, strides (None: C order), memory (flat bytes), byte of element [0, …, 0] → an array that shares it
    Maker = Callable[[str, Sequence[int], Optional[Sequence[int]], memoryview, int], Any]


class Array(ABC):
    """An array to be sent, whatever its kind. Borrows the memory; lives as long as one message is encoded.

    Attributes:
        strides: In elements.
        nbytes: Of its elements in C order.
        is_as_sent: False: elements must be converted or lie where strides cannot say, so that they must be copied.
    """

    __slots__ = ("dtype", "is_as_sent", "nbytes", "shape", "strides")

    def __init__(self, dtype: str, shape: Sequence[int], strides: Sequence[int] | None) -> None:
        if len(shape) > MAX_AXES:
            raise _unsupported(f"array of {len(shape)} axes", f"Reshape it to at most {MAX_AXES}.")
        self.dtype = dtype
        self.shape = tuple(shape)
        self.is_as_sent = strides is not None
        self.strides = c_strides(shape) if strides is None else tuple(strides)
        nbytes = DTYPES[dtype].item_bytes
        for count in shape:
            nbytes *= count
        self.nbytes = nbytes

    def addresses(self) -> tuple[int, int, int]:
        """Of element [0, …, 0], of the first byte, of the end. Only if `is_as_sent`."""
        address = self._address()
        low, high = span(self.shape, self.strides)
        item_bytes = DTYPES[self.dtype].item_bytes
        return address, address + low * item_bytes, address + high * item_bytes

    def flat(self) -> memoryview:
        """The elements in C order as flat bytes; copied only if they do not lie so."""
        if self.is_as_sent and is_c_order(self.shape, self.strides):
            return self._borrow()
        target = memoryview(bytearray(self.nbytes))
        self.copy_into(target, self.shape)
        return target

    def plan_copy(self) -> CopyPlan:
        if not self.is_as_sent:
            return CopyPlan(self.nbytes, 0, self.strides, self.shape)
        return plan_copy(DTYPES[self.dtype].item_bytes, self.shape, self.strides)

    def span_bytes(self) -> memoryview:
        """All bytes from the first element to the end of the last, as they lie. Only if `is_as_sent`."""
        from .memory import memory_at

        _, start, end = self.addresses()
        return memory_at(start, end - start, self, is_read_only=True)

    @abstractmethod
    def copy_into(self, target: memoryview, shape: Sequence[int]) -> None:
        """Writes the first `shape` elements of each axis in C order; the flat target has exactly their bytes."""

    @abstractmethod
    def _address(self) -> int:
        """Of element [0, …, 0]."""

    @abstractmethod
    def _borrow(self) -> memoryview:
        """Its bytes where they lie. Only if they lie in C order."""


def array_of(value: Any) -> Array | None:
    """None: it is no array. Raises VALUE_UNSUPPORTED for an array that has no form on the wire."""
    if isinstance(value, Tensor):
        return _PlainArray(value.dtype, value.shape, value.strides, value.memory.look(), value.offset)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _NumpyArray(numpy, value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _TorchArray(torch, value)
    if isinstance(value, (str, int, float, bytes, bytearray, list, tuple, dict)):
        return None
    try:
        view = memoryview(value)
    except (TypeError, BufferError):
        return _protocol_array(value)
    return _buffer_array(value, view)


def scalar_of(value: Any) -> Any:
    """A numpy scalar as the Python scalar of its value, or as an array without axes; NotImplemented: it is none."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return NotImplemented
    kind = value.dtype.kind
    if kind in "biuU" or (kind == "f" and value.dtype.itemsize <= 8):
        return value.item()
    return _NumpyArray(numpy, numpy.asarray(value))


class _NumpyArray(Array):
    __slots__ = ("_array", "_numpy")

    def __init__(self, numpy: Any, array: Any) -> None:
        dtype = array.dtype.name
        masked = sys.modules.get("numpy.ma")
        if masked is not None and isinstance(array, masked.MaskedArray):
            raise _unsupported("masked array of numpy", "Fill it, and send its mask as an array of its own.")
        if dtype not in DTYPES:
            raise _unsupported_dtype(f"numpy array of {array.dtype}")
        self._numpy = numpy
        self._array = array = numpy.asarray(array)  # a matrix would keep its two axes whatever is asked of it
        item_bytes = array.dtype.itemsize
        strides = None
        if array.dtype.isnative and not any(step % item_bytes for step in array.strides):
            strides = [step // item_bytes for step in array.strides]
        super().__init__(dtype, array.shape, strides)

    def copy_into(self, target: memoryview, shape: Sequence[int]) -> None:
        array = self._array[tuple(map(slice, shape))]
        self._numpy.ndarray(shape, array.dtype.newbyteorder("="), target)[...] = array

    def _address(self) -> int:
        address: int = self._array.__array_interface__["data"][0]
        return address

    def _borrow(self) -> memoryview:
        return memoryview(self._array.reshape(-1).view("u1")) if self.nbytes else memoryview(b"")


class _TorchArray(Array):
    __slots__ = ("_tensor", "_torch")

    def __init__(self, torch: Any, tensor: Any) -> None:
        dtype = str(tensor.dtype).replace("torch.", "")
        if dtype not in DTYPES or tensor.layout is not torch.strided or tensor.device.type == "meta":
            raise _unsupported_dtype(f"torch tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device}")
        self._torch = torch
        self._tensor = tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        super().__init__(dtype, tensor.shape, tensor.stride())

    def copy_into(self, target: memoryview, shape: Sequence[int]) -> None:
        if not self.nbytes:
            return
        tensor = self._tensor[tuple(map(slice, shape))]
        self._torch.frombuffer(target, dtype=tensor.dtype).reshape(tuple(shape)).copy_(tensor)

    def _address(self) -> int:
        address: int = self._tensor.data_ptr()
        return address

    def _borrow(self) -> memoryview:
        from .memory import memory_at

        return memory_at(self._tensor.data_ptr(), self.nbytes, self._tensor)


class _PlainArray(Array):
    """In flat bytes, element [0, …, 0] at `offset`. `swapped_bytes`: of each number in the other byte order."""

    __slots__ = ("_offset", "_swapped_bytes", "_view")

    def __init__(
        self,
        dtype: str,
        shape: Sequence[int],
        strides: Sequence[int],
        view: memoryview,
        offset: int,
        swapped_bytes: int = 1,
    ) -> None:
        super().__init__(dtype, shape, strides)
        self.is_as_sent = swapped_bytes == 1
        self._view = view
        self._offset = offset
        self._swapped_bytes = swapped_bytes

    def copy_into(self, target: memoryview, shape: Sequence[int]) -> None:
        item_bytes = DTYPES[self.dtype].item_bytes
        numpy = sys.modules.get("numpy")
        if tuple(shape) == self.shape and is_c_order(shape, self.strides):
            from .memory import copy_memory

            copy_memory(target, self._borrow())
        elif numpy is not None:
            words = f"V{item_bytes}"
            steps = [step * item_bytes for step in self.strides]
            numpy.ndarray(shape, words, target)[...] = numpy.ndarray(shape, words, self._view, self._offset, steps)
        else:
            copy_elements(target, self._view, self._offset, item_bytes, shape, self.strides)
        _swap(target, self._swapped_bytes)

    def _address(self) -> int:
        from .memory import address_of

        return address_of(self._view) + self._offset

    def _borrow(self) -> memoryview:
        return self._view[self._offset : self._offset + self.nbytes]


def _swap(data: memoryview, word_bytes: int) -> None:
    """Reverses the bytes of each word, in place."""
    if word_bytes > 1:
        original = bytes(data)
        for at in range(word_bytes):
            data[at::word_bytes] = original[word_bytes - 1 - at :: word_bytes]


def _buffer_array(value: Any, view: memoryview) -> Array:
    """An object with the buffer protocol. Its format says kind and byte order, its item size the bytes."""
    order, letters = (view.format[0], view.format[1:]) if view.format[:1] in tuple("@=<>!") else ("@", view.format)
    kind = {"?": "b", **dict.fromkeys("bhilqn", "i"), **dict.fromkeys("BHILQN", "u")}.get(letters)
    kind = kind or {**dict.fromkeys("efd", "f"), "Zf": "c", "Zd": "c", "F": "c", "D": "c"}.get(letters)
    if kind is None or view.suboffsets:
        raise _unsupported_dtype(f"{_kind_of(value)} of the format {view.format!r}")
    from .memory import address_of

    address = address_of(view)
    return _memory_array(value, kind, order in ">!", view.itemsize, view.shape, view.strides, address, view)


#: Kind of an element, by the letter that __array_interface__ has for it.
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex", "M": "datetime64", "m": "timedelta64"}


def _memory_array(
    value: Any,
    kind: str,
    is_big_endian: bool,
    item_bytes: int,
    shape: Sequence[int] | None,
    strides: Sequence[int] | None,
    address: int,
    owner: object,
    unit: str = "",
    is_read_only: bool = False,
) -> Array:
    """`strides` in bytes; None: C order. `owner` keeps alive what lies at the address. `unit`: of a time, as "[ns]"."""
    from .memory import memory_at

    name = _KINDS.get(kind, "") + (unit or ("" if kind == "b" else str(8 * item_bytes)))
    if name not in DTYPES or DTYPES[name].item_bytes != item_bytes:
        raise _unsupported_dtype(f"{_kind_of(value)} of {name or kind}")
    shape = tuple(shape or ())
    steps = [step * item_bytes for step in c_strides(shape)] if strides is None else list(strides)
    if any(step % item_bytes for step in steps):
        raise _unsupported(f"{_kind_of(value)} with strides of {steps} bytes", "Copy it to an array in C order.")
    counts = [step // item_bytes for step in steps]
    low, high = span(shape, counts)
    view = memory_at(address + low * item_bytes, (high - low) * item_bytes, owner, is_read_only)
    word_bytes = item_bytes // 2 if kind == "c" else item_bytes
    return _PlainArray(name, shape, counts, view, -low * item_bytes, word_bytes if is_big_endian else 1)


def _protocol_array(value: Any) -> Array | None:
    """An object with `__array_interface__` or `__dlpack__`; looked for at its class, as packs have mocks."""
    if hasattr(type(value), "__array_interface__"):
        return _interface_array(value, value.__array_interface__)
    if hasattr(type(value), "__dlpack__") and hasattr(type(value), "__dlpack_device__"):
        from .dlpack import take

        return _PlainArray(*take(value))
    return None


def _interface_array(value: Any, interface: dict[str, Any]) -> Array:
    typestr = interface["typestr"]
    if interface.get("mask") is not None:
        raise _unsupported(f"masked {_kind_of(value)}", "Fill it, and send its mask as an array of its own.")
    count, bracket, unit = typestr[2:].partition("[")
    data = interface.get("data")
    if isinstance(data, tuple):
        address, is_read_only, owner = data[0], bool(data[1]), value
    else:
        from .memory import address_of

        owner = memoryview(value if data is None else data)
        address, is_read_only = address_of(owner) + interface.get("offset", 0), owner.readonly
    return _memory_array(
        value, typestr[1], typestr[0] == ">", int(count), interface["shape"], interface.get("strides"),
        address, owner, bracket + unit, is_read_only,
    )  # fmt: skip


def _kind_of(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _unsupported_dtype(what: str) -> PyisolateError:
    return _unsupported(what, f"Convert it to one of {', '.join(DTYPES)}.")


def _unsupported(what: str, next: str) -> PyisolateError:
    return PyisolateError("VALUE_UNSUPPORTED", f"a {what} has no form on the wire", next=next)


# ---- arrays made of memory


def make_tensor(
    dtype: str, shape: Sequence[int], strides: Sequence[int] | None, memory: memoryview, offset: int
) -> Tensor:
    return Tensor.over(Memory(memory), dtype, shape, strides, offset)


def numpy_maker() -> Maker | None:
    """Arrays of numpy, `Tensor` for what numpy lacks; None when numpy cannot be imported."""
    try:
        import numpy
    except ImportError:
        return None
    dtypes = {name: numpy.dtype(kind.array_code) for name, kind in DTYPES.items() if kind.array_code}

    def make(dtype: str, shape: Sequence[int], strides: Sequence[int] | None, memory: memoryview, offset: int) -> Any:
        kind = dtypes.get(dtype)
        if kind is None:
            return make_tensor(dtype, shape, strides, memory, offset)
        if strides is None:
            return numpy.ndarray(shape, kind, memory, offset)
        item_bytes = kind.itemsize
        return numpy.ndarray(shape, kind, memory, offset, [step * item_bytes for step in strides])

    return make


def torch_maker() -> Maker:
    """Tensors of torch; for what torch lacks as `numpy_maker`. Raises ImportError."""
    import torch

    def make(dtype: str, shape: Sequence[int], strides: Sequence[int] | None, memory: memoryview, offset: int) -> Any:
        kind = getattr(torch, dtype, None)
        if kind is None:
            return (numpy_maker() or make_tensor)(dtype, shape, strides, memory, offset)
        if 0 in shape:
            return torch.empty(tuple(shape), dtype=kind)
        steps = c_strides(shape) if strides is None else strides
        low, high = span(shape, steps)
        if low < 0:  # torch has no negative strides
            mirrored = _PlainArray(dtype, shape, steps, memory, offset)
            copy = memoryview(bytearray(mirrored.nbytes))
            mirrored.copy_into(copy, shape)
            return make(dtype, shape, None, copy, 0)
        flat = torch.frombuffer(memory, dtype=kind, count=high, offset=offset)
        return flat.as_strided(tuple(shape), tuple(steps))

    return make
