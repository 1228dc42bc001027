"""The route "inline": arrays whose bytes travel in the message itself, as attachments. Must not know sockets.

numpy and torch are only used where they are: values to send are recognised by modules that the pack has imported,
received arrays become what the pack works with.
"""

from __future__ import annotations

import sys

from ..errors import PyisolateError
from ..rpc.frame import violation
from ..rpc.values import Encoder
from .dtype import DTYPES
from .tensor import Tensor, tensor_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: dtype, shape, bytes in C order → an array that shares them
    Maker = Callable[[str, list[int], memoryview], Any]

TAG = "$tensor"
_KEYS = {"dtype", "shape", "attachment"}
_SCALARS = (bool, int, float, str)


class InlineTensors:
    """A ValueExtension.

    Attributes:
        make: Makes received arrays; None: numpy where it can be imported, else `Tensor`. Set before the first call.
    """

    tags = frozenset({TAG})

    def __init__(self, make: Maker | None = None) -> None:
        self.make = make

    def encode(self, value: Any, attach: Callable[[memoryview], int]) -> Any:
        if isinstance(value, Tensor):
            return _tagged(value.dtype, value.shape, value.data, attach)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            if isinstance(value, numpy.ndarray):
                return _encode_numpy(numpy, value, attach)
            if isinstance(value, numpy.generic):
                return _encode_scalar(value)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return _encode_torch(torch, value, attach)
        return NotImplemented

    def decode(self, tag: str, payload: Any, take: Callable[[Any], memoryview]) -> Any:
        """An array that is writable and owns its bytes. Raises PROTOCOL_VIOLATION."""
        if type(payload) is not dict or payload.keys() != _KEYS:
            raise violation(f"{TAG} of another shape")
        dtype, shape = payload["dtype"], payload["shape"]
        if type(dtype) is not str or type(shape) is not list:
            raise violation(f"{TAG} of another shape")
        data = take(payload["attachment"])
        try:
            expected = tensor_bytes(dtype, shape)
        except PyisolateError as error:
            raise violation(error.message) from None
        if expected != len(data):
            raise violation(f"{TAG} of {dtype} {shape} with {len(data)} bytes, expected {expected}")
        if self.make is None:
            self.make = numpy_maker() or Tensor
        return self.make(dtype, shape, data)


def numpy_maker() -> Maker | None:
    """Arrays of numpy, `Tensor` for bfloat16, which numpy lacks; None when numpy cannot be imported."""
    try:
        import numpy
    except ImportError:
        return None

    def make(dtype: str, shape: list[int], data: memoryview) -> Any:
        if dtype == "bfloat16":
            return Tensor(dtype, shape, data)
        return numpy.frombuffer(data, dtype=DTYPES[dtype][2]).reshape(shape)

    return make


def torch_maker() -> Maker:
    """Tensors of torch. Raises ImportError."""
    import torch

    def make(dtype: str, shape: list[int], data: memoryview) -> Any:
        kind = getattr(torch, dtype)
        return torch.frombuffer(data, dtype=kind).reshape(shape) if len(data) else torch.empty(shape, dtype=kind)

    return make


def _tagged(dtype: str, shape: Any, data: memoryview, attach: Callable[[memoryview], int]) -> Any:
    return {TAG: {"dtype": dtype, "shape": list(shape), "attachment": attach(data)}}


def _encode_numpy(numpy: Any, array: Any, attach: Callable[[memoryview], int]) -> Any:
    """Copies only what is not in C order or not little-endian."""
    dtype = array.dtype.name
    if dtype not in DTYPES or array.dtype.hasobject:
        raise _unsupported_dtype(f"numpy array of {array.dtype}")
    ordered = numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = memoryview(ordered.reshape(-1).view("u1")) if array.size else memoryview(b"")
    return _tagged(dtype, array.shape, data, attach)


def _encode_torch(torch: Any, tensor: Any, attach: Callable[[memoryview], int]) -> Any:
    """Copies only what is not on the CPU or not contiguous."""
    dtype = str(tensor.dtype).replace("torch.", "")
    if dtype not in DTYPES or tensor.layout is not torch.strided:
        raise _unsupported_dtype(f"torch tensor of {tensor.dtype}, {tensor.layout}")
    ordered = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return _tagged(dtype, tensor.shape, _bytes_of(ordered), attach)


def _bytes_of(tensor: Any) -> memoryview:
    """The tensor's own memory; keeps the tensor alive. torch has no buffer protocol, and numpy may not be there."""
    import ctypes

    count = tensor.numel() * tensor.element_size()
    if count == 0:
        return memoryview(b"")
    memory = (ctypes.c_ubyte * count).from_address(tensor.data_ptr())
    memory.owner = tensor
    return memoryview(memory).cast("B")


def _encode_scalar(value: Any) -> Any:
    """A numpy scalar as the Python scalar of its value."""
    scalar = value.item()
    if not isinstance(scalar, _SCALARS):
        raise _unsupported_dtype(f"numpy scalar of {value.dtype}")
    return Encoder().value(scalar)


def _unsupported_dtype(what: str) -> PyisolateError:
    return PyisolateError(
        "VALUE_UNSUPPORTED", f"a {what} has no form on the wire", next=f"Convert it to one of {', '.join(DTYPES)}."
    )
