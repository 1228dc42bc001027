"""Tensors with torch, where it is installed."""

from __future__ import annotations

import numpy
import pytest

from pyisolate import PyisolateError, Tensor
from pyisolate.rpc.values import Decoder, Encoder
from pyisolate.tensor.arrays import make_tensor, torch_maker
from pyisolate.tensor.dtype import DTYPES
from pyisolate.tensor.inline import InlineTensors
from segments import MIB, machine, wait_until

torch = pytest.importorskip("torch")

NAMES = [name for name in DTYPES if hasattr(torch, name)]


def travel(value, make):
    """The value as the other side gets it."""
    extension = InlineTensors(make)
    encoder = Encoder(extension)
    tree = encoder.value(value)
    return Decoder([memoryview(bytearray(each)) for each in encoder.attachments], extension).value(tree)


def bits(tensor):
    return tensor.contiguous().view(torch.uint8).tolist() if tensor.numel() else []


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("shape", [(1,), (0,), (2, 0, 3), (2, 3, 4)])
def test_tensors_of_every_dtype_and_shape(dtype, shape):
    tensor = torch.arange(24).to(torch.uint8)[: max(1, int(numpy.prod(shape)))].float().to(getattr(torch, dtype))
    tensor = tensor[: int(numpy.prod(shape))].reshape(shape)
    back = travel(tensor, torch_maker())
    assert back.dtype is tensor.dtype and back.shape == shape and bits(back) == bits(tensor)
    ours = travel(tensor, make_tensor)
    assert (ours.dtype, ours.shape) == (dtype, shape)
    assert bits(torch.from_dlpack(ours)) == bits(tensor)


def test_what_is_laid_out_otherwise_arrives_as_it_looks():
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    for tensor in (
        base.T if base.ndim == 2 else base.permute(2, 0, 1),
        base[:, ::2],
        base[:1].expand(5, 3, 4),
        torch.complex(base, base).conj(),
        base.clone().requires_grad_(),
        torch.nn.Parameter(base.clone()),
    ):
        assert torch.equal(travel(tensor, torch_maker()), tensor)


def test_what_torch_lacks_comes_as_numpy_or_ours_and_negative_strides_are_copied():
    assert travel(numpy.zeros(2, "datetime64[s]"), torch_maker()).dtype == "datetime64[s]"
    make = torch_maker()
    view = memoryview(bytearray(numpy.arange(6, dtype="int16").tobytes()))
    assert make("int16", [3], [-2], view, 10).tolist() == [5, 3, 1]
    assert make("int16", [2, 2], [0, 1], view, 2).tolist() == [[1, 2], [1, 2]]


def test_sparse_and_meta_tensors_are_refused():
    for tensor in (torch.zeros(2).to_sparse(), torch.zeros(2, device="meta")):
        with pytest.raises(PyisolateError) as raised:
            travel(tensor, torch_maker())
        assert raised.value.code == "VALUE_UNSUPPORTED"


def test_in_shared_memory():
    seen = {}

    def half(x):
        seen["address"] = x.data_ptr()
        result = pack.worker.empty(tuple(x.shape), "bfloat16")
        torch.mul(x, 0.5, out=result)
        seen["result"] = result.data_ptr()
        return result

    with machine() as m:
        pack = m.start({"half": half, "plain": lambda x: x * 2}, make=torch_maker())
        x = m.host.empty((MIB,), "bfloat16")
        torch.from_dlpack(x).fill_(3)
        back = pack.call("half", x)
        (own,) = [each for each in pack.worker._segments.values() if each.shared is not None]
        assert own.shared.address == seen["result"] and back.dtype == "bfloat16"
        shown = torch.from_dlpack(back)
        assert shown.dtype is torch.bfloat16 and bool((shown == 1.5).all())
        assert bool((torch.from_dlpack(pack.call("plain", x)) == 6).all())
        del shown, back
        wait_until(lambda: len(pack.worker._free) == 1)


def test_empty_takes_dtypes_and_shapes_of_torch():
    from pyisolate import empty

    x = torch.zeros((2, 3), dtype=torch.float64)
    assert empty(x.shape, x.dtype).shape == (2, 3) and empty(x.shape, x.dtype).dtype == "float64"


def test_a_tensor_of_ours_gives_torch_its_memory():
    data = bytearray(8)
    tensor = torch.from_dlpack(Tensor("float32", [2], data))
    tensor[1] = 1
    assert data[4:] == b"\0\0\x80\x3f"
