"""Tensors with numpy."""

from __future__ import annotations

import numpy
import pytest

from pyisolate import PyisolateError, Tensor
from pyisolate.rpc.values import Decoder, Encoder
from pyisolate.tensor.dtype import DTYPES
from pyisolate.tensor.inline import InlineTensors


def travel(value):
    """The value as the other side gets it, and how many attachments it took."""
    extension = InlineTensors()
    encoder = Encoder(extension)
    tree = encoder.value(value)
    decoder = Decoder([memoryview(bytearray(each)) for each in encoder.attachments], extension)
    received = decoder.value(tree)
    decoder.finish()
    return received


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each != "bfloat16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_arrays_of_every_dtype_and_shape(dtype, shape):
    array = numpy.arange(numpy.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = travel(array)
    assert back.dtype == array.dtype and back.shape == shape
    assert (back == array).all() and back.flags.writeable and back.flags.c_contiguous


def test_what_is_not_in_c_order_or_not_little_endian_arrives_as_it_looks():
    array = numpy.arange(24, dtype="float32").reshape(2, 3, 4)
    for view in (
        array[1:],
        array[:, ::-1],
        array.T,
        array[..., 1:3],
        array.astype(">f4"),
        numpy.broadcast_to(array[:1], (5, 3, 4)),
    ):
        back = travel(view)
        assert (back == view).all() and back.dtype == numpy.dtype("<f4")


def test_an_array_in_c_order_is_borrowed_not_copied():
    array = numpy.zeros((2, 3), dtype="uint8")
    encoder = Encoder(InlineTensors())
    encoder.value(array)
    array[0, 0] = 7
    assert encoder.attachments[0][0] == 7


def test_changing_what_was_received_does_not_change_what_was_sent():
    array = numpy.zeros(3)
    travel(array)[0] = 1
    assert array.tolist() == [0, 0, 0]


def test_numpy_scalars_become_python_scalars():
    for value, expected in [
        (numpy.float32(0.5), 0.5), (numpy.float64(2), 2.0), (numpy.int64(-3), -3), (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.bool_(True), True), (numpy.str_("a"), "a"),
    ]:  # fmt: skip
        back = travel(value)
        assert back == expected and type(back) is type(expected)


def test_what_has_no_dtype_on_the_wire_is_refused():
    for value in (
        numpy.array(["a"]),
        numpy.array([object()]),
        numpy.zeros(2, dtype="datetime64[s]"),
        numpy.zeros(1, dtype="i4,f4"),
        numpy.datetime64("2020"),
    ):
        with pytest.raises(PyisolateError) as raised:
            Encoder(InlineTensors()).value(value)
        assert raised.value.code == "VALUE_UNSUPPORTED"


def test_numpy_takes_a_tensor_of_ours_without_a_copy():
    data = bytearray(24)
    array = numpy.asarray(Tensor("float32", [2, 3], data))
    array[1, 2] = 1
    assert array.shape == (2, 3) and data[-4:] == b"\x00\x00\x80\x3f"
    for dtype in DTYPES:
        if dtype != "bfloat16":
            for shape in ([], [2], [2, 3]):
                array = numpy.asarray(Tensor(dtype, shape, bytes(DTYPES[dtype][0] * numpy.prod(shape, dtype=int))))
                assert (array.dtype.name, array.shape) == (dtype, tuple(shape))
            assert numpy.asarray(Tensor(dtype, [0, 2], b"")).shape == (0, 2)


def test_bfloat16_which_numpy_lacks_stays_a_tensor_of_ours():
    back = travel(Tensor("bfloat16", [1], b"\x80\x3f"))
    assert type(back) is Tensor and back.tolist() == [1.0]
