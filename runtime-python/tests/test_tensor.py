"""Tensors without numpy: what a pack gets that has neither numpy nor torch."""

from __future__ import annotations

import struct
import sys

import pytest

from peers import connected
from pyisolate import PyisolateError, Tensor
from pyisolate.rpc.values import Decoder, Encoder
from pyisolate.tensor.arrays import make_tensor
from pyisolate.tensor.dtype import DTYPES
from pyisolate.tensor.inline import InlineTensors


def test_bytes_that_do_not_fit_the_shape_and_unknown_dtypes_are_refused():
    for dtype, shape, size in [
        ("float32", [2], 4),
        ("float31", [1], 4),
        ("uint8", [-1], 1),
        ("uint8", [True], 1),
        ("uint8", [1] * 33, 1),
    ]:
        with pytest.raises(PyisolateError) as raised:
            Tensor(dtype, shape, bytes(size))
        assert raised.value.code == "TENSOR_INVALID"


def test_numbers_of_every_dtype_come_out_as_python_numbers():
    for dtype, kind in DTYPES.items():
        if kind.format:
            expected = [True, False] if dtype == "bool" else [1, 0]
            assert Tensor(dtype, [2], struct.pack(f"<2{kind.format}", *expected)).tolist() == expected
        assert Tensor(dtype, [0], b"").tolist() == []
        assert len(Tensor(dtype, [3], bytes(3 * kind.item_bytes))) == 3
    assert Tensor("float8_e5m2", [2], b"\x3c\xff").tolist() == [0x3C, 0xFF]
    assert Tensor("datetime64[ns]", [1], struct.pack("<q", -5)).tolist() == [-5]
    assert Tensor("bfloat16", [2], b"\x80\x3f\x00\xc0").tolist() == [1.0, -2.0]
    assert Tensor("complex64", [], struct.pack("<2f", 1, -2)).tolist() == 1 - 2j
    assert Tensor("complex128", [1], struct.pack("<2d", 0.5, 2)).tolist() == [0.5 + 2j]
    assert Tensor("uint8", [2, 0, 3], b"").tolist() == [[], []]
    assert Tensor("uint8", [2, 1, 3], bytes(range(6))).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


def test_strides_show_the_memory_in_another_order():
    data = struct.pack("<6h", *range(6))
    assert Tensor("int16", [3, 2], data, strides=[1, 3]).tolist() == [[0, 3], [1, 4], [2, 5]]
    flipped = Tensor("int16", [2, 3], data, strides=[-3, -1], offset=10)
    assert flipped.tolist() == [[5, 4, 3], [2, 1, 0]] and bytes(flipped.data) == struct.pack("<6h", 5, 4, 3, 2, 1, 0)
    assert Tensor("int16", [2, 2, 2], data, strides=[0, 1, 0], offset=2).tolist() == [[[1, 1], [2, 2]]] * 2
    assert flipped.nbytes == 12 and flipped.strides == (-3, -1)
    with pytest.raises(PyisolateError):
        Tensor("int16", [2, 3], data, strides=[-3, -1], offset=8)


def test_after_its_release_reading_is_an_error_and_views_made_before_stay():
    data = bytearray(b"abc")
    with Tensor("uint8", [3], data) as tensor:
        before = tensor.data
    for read in (
        lambda: tensor.data,
        tensor.tolist,
        lambda: tensor.__array_interface__,
        tensor.__dlpack__,
        lambda: tensor.__buffer__(0),
    ):
        with pytest.raises(PyisolateError) as raised:
            read()
        assert raised.value.code == "TENSOR_RELEASED"
    assert bytes(before) == b"abc" and repr(tensor) == "Tensor(uint8, [3])"
    tensor.release()


def test_it_shares_the_memory_that_it_was_given():
    data = bytearray(8)
    tensor = Tensor("float32", [2], data)
    tensor.data[:4] = struct.pack("<f", 1.5)
    assert tensor.tolist() == [1.5, 0.0]
    assert struct.unpack("<f", data[:4]) == (1.5,)


if sys.version_info >= (3, 12):  # since then the buffer protocol is open to Python classes

    def test_it_has_the_buffer_protocol():
        view = memoryview(Tensor("uint16", [1, 2], b"\1\0\2\0"))
        assert view.tolist() == [[1, 2]]


def test_received_tensors_are_writable_and_each_has_its_own_bytes():
    extension = InlineTensors(make=make_tensor)
    encoder = Encoder(extension)
    tree = encoder.value([Tensor("uint8", [3], b"abc"), Tensor("int16", [2, 1], b"defg")])
    received = [memoryview(bytearray(each)) for each in encoder.attachments]
    first, second = Decoder(received, extension).value(tree)
    first.data[0] = 0
    assert (bytes(first.data), bytes(second.data), second.shape) == (b"\0bc", b"defg", (2, 1))


def test_tensors_travel_between_peers():
    data = bytes(range(256)) * 40_000
    options = {"extension": InlineTensors(make=make_tensor)}
    with connected({}, {"echo": lambda value: value}, left=options, right=options) as (host, _):
        back = host.call("echo", {"image": Tensor("uint8", [256, 40_000], data)})["image"]
    assert (back.shape, bytes(back.data)) == ((256, 40_000), data)
