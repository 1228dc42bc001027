"""Tensors with numpy."""

from __future__ import annotations

import ctypes
from array import array

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


@pytest.mark.parametrize("dtype", [name for name, kind in DTYPES.items() if kind.array_code])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_arrays_of_every_dtype_and_shape(dtype, shape):
    array = numpy.arange(numpy.prod(shape, dtype=int)).reshape(shape).astype("int64").astype(dtype)
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
        array[0].view(numpy.matrix),
        array[:, 1].view(numpy.recarray),
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
        numpy.zeros(2, dtype="datetime64"),
        numpy.zeros(2, dtype="datetime64[25s]"),
        numpy.zeros(1, dtype="i4,f4"),
        numpy.zeros(1, dtype="V4"),
        numpy.zeros(2, dtype=numpy.longdouble),
        numpy.longdouble(1),
        numpy.ma.masked_array([1.0, 2.0], [True, False]),
        numpy.void(b"abc"),
    ):
        with pytest.raises(PyisolateError) as raised:
            Encoder(InlineTensors()).value(value)
        assert raised.value.code == "VALUE_UNSUPPORTED"


def test_numpy_takes_a_tensor_of_ours_without_a_copy():
    data = bytearray(24)
    array = numpy.asarray(Tensor("float32", [2, 3], data))
    array[1, 2] = 1
    assert array.shape == (2, 3) and data[-4:] == b"\x00\x00\x80\x3f"
    for dtype, kind in DTYPES.items():
        if kind.array_code:
            for shape in ([], [2], [2, 3]):
                array = numpy.asarray(Tensor(dtype, shape, bytes(kind.item_bytes * numpy.prod(shape, dtype=int))))
                assert (array.dtype.name, array.shape) == (dtype, tuple(shape))
            assert numpy.asarray(Tensor(dtype, [0, 2], b"")).shape == (0, 2)
    flipped = numpy.asarray(Tensor("float32", [2, 3], data, strides=[-3, 1], offset=12))
    assert flipped[0, 2] == 1
    flipped[1, 0] = 7
    assert data[:4] == b"\x00\x00\xe0\x40"


def test_bfloat16_which_numpy_lacks_stays_a_tensor_of_ours():
    back = travel(Tensor("bfloat16", [1], b"\x80\x3f"))
    assert type(back) is Tensor and back.tolist() == [1.0]


def test_numpy_scalars_without_a_python_form_become_arrays_without_axes():
    for value in (numpy.complex64(1 - 2j), numpy.datetime64("2020-02-03"), numpy.timedelta64(5, "ms")):
        back = travel(value)
        assert back.shape == () and back.dtype == value.dtype and back[()] == value


def test_times_keep_what_is_not_a_time():
    back = travel(numpy.array(["NaT", "1969-12-31T23:59:59.999999999"], dtype="datetime64[ns]"))
    assert numpy.isnat(back[0]) and back[1] == numpy.datetime64(-1, "ns")


def test_strides_that_are_no_multiple_of_an_element_arrive_as_they_look():
    packed = numpy.zeros(3, dtype=[("a", "u1"), ("b", "<f4")])
    packed["b"] = [1, 2, 3]
    assert travel(packed["b"]).tolist() == [1, 2, 3]


class Interface:
    """Something that is no array but says that it can be seen as one."""

    def __init__(self, **interface):
        self._interface = interface

    @property
    def __array_interface__(self):
        return {"version": 3, **self._interface}


def test_other_arrays_are_taken_as_what_they_say():
    big = numpy.array([[1, 2], [3, 4]], dtype=">i4")
    for value, dtype, expected in [
        (array("h", [1, -2]), "int16", [1, -2]),
        (array("d", [0.5]), "float64", [0.5]),
        (memoryview(b"ab"), "uint8", [97, 98]),
        (memoryview(b"abcd")[::-2], "uint8", [100, 98]),
        (memoryview(big), "int32", [[1, 2], [3, 4]]),
        (memoryview(numpy.array(1j)), "complex128", 1j),
        (memoryview(numpy.zeros((2, 0, 3), "f4")), "float32", [[], []]),
        ((ctypes.c_uint16 * 2)(5, 6), "uint16", [5, 6]),
        (
            Interface(typestr="<f4", shape=(2,), data=memoryview(numpy.array([3, 1, 2], "f4")), offset=4),
            "float32",
            [1, 2],
        ),
        (Interface(typestr=">i2", shape=(2,), strides=(4,), data=memoryview(b"\0\1\0\2\0\3\0\4")), "int16", [1, 3]),
        (Interface(**big.__array_interface__), "int32", [[1, 2], [3, 4]]),
        (
            Interface(typestr="<M8[D]", shape=(), data=memoryview(bytes(8))),
            "datetime64[D]",
            numpy.datetime64(0, "D").item(),
        ),
        (
            Interface(typestr=">c8", shape=(1,), data=memoryview(numpy.array([1 + 2j], ">c8").view("u1"))),
            "complex64",
            [1 + 2j],
        ),
    ]:
        back = travel(value)
        assert (back.dtype.name, back.tolist()) == (dtype, expected)


def test_what_looks_like_an_array_and_is_none_is_refused():
    for value in (
        memoryview(b"ab").cast("c"),
        memoryview(numpy.zeros(2, dtype="i4,f4")),
        Interface(typestr="|O8", shape=(1,), data=memoryview(bytes(8))),
        Interface(typestr="<f4", shape=(1,), data=memoryview(bytes(4)), mask=[True]),
        Interface(typestr="<f4", shape=(2,), strides=(3,), data=memoryview(bytes(8))),
        Interface(typestr="<f2", shape=(1,) * 33, data=memoryview(bytes(8))),
    ):
        with pytest.raises(PyisolateError) as raised:
            Encoder(InlineTensors()).value(value)
        assert raised.value.code == "VALUE_UNSUPPORTED"
