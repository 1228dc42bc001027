"""DLPack: arrays given to other libraries and taken from them, and that memory lives as long as it must."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy
import pytest

from pyisolate import PyisolateError, Tensor
from pyisolate.tensor.dlpack import CPU, take
from pyisolate.tensor.dtype import DTYPES
from pyisolate.tensor.layout import c_strides


class Bytes(bytearray):
    """A bytearray whose end can be seen."""


class NumpyOfVersion1:
    """Gives what numpy gives, but only the versioned form."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def is_gone(reference) -> bool:
    gc.collect()
    return reference() is None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "complex128", "bool"])
def test_numpy_sees_the_same_memory(dtype):
    size = DTYPES[dtype].item_bytes
    memory = Bytes(6 * size)
    reference = weakref.ref(memory)
    array = numpy.from_dlpack(Tensor(dtype, [3, 2], memory, strides=[-2, 1], offset=4 * size))
    assert array.dtype.name == dtype and array.shape == (3, 2) and array.strides == (-2 * size, size)
    memory[:size] = numpy.array(1, dtype).tobytes()
    assert array[2, 0] == 1
    del memory
    assert not is_gone(reference)
    del array
    assert is_gone(reference)


@pytest.mark.parametrize("options", [{}, {"max_version": (1, 1)}])
def test_a_capsule_that_nobody_takes_frees_what_it_holds(options):
    memory = Bytes(8)
    reference = weakref.ref(memory)
    capsule = Tensor("float32", [2], memory).__dlpack__(**options)
    assert ("versioned" in repr(capsule)) is bool(options)
    del memory
    assert not is_gone(reference)
    del capsule
    assert is_gone(reference)


def test_what_has_no_form_there_is_a_buffer_error():
    for tensor, options in [
        (Tensor("datetime64[s]", [1], bytearray(8)), {}),
        (Tensor("uint8", [1], b"a"), {}),  # read-only, which the old form cannot say
        (Tensor("uint8", [1], bytearray(1)), {"dl_device": (2, 0)}),
        (Tensor("uint8", [1], bytearray(1)), {"stream": 1}),
    ]:
        with pytest.raises(BufferError):
            tensor.__dlpack__(**options)
    assert Tensor("uint8", [1], b"a").__dlpack__(max_version=(1, 0)) is not None
    assert Tensor("uint8", [1], b"a").__dlpack__(copy=True) is not None
    assert Tensor("uint8", [1], b"a").__dlpack_device__() == CPU


def test_what_is_taken_is_shared_and_freed_once():
    array = numpy.arange(12, dtype="int32").reshape(3, 4).copy()
    count = sys.getrefcount(array)
    dtype, shape, strides, view, offset = take(array[::-1, ::2])
    tensor = Tensor(dtype, shape, view, strides, offset)
    assert (dtype, shape, strides) == ("int32", (3, 2), (-4, 2))
    assert tensor.tolist() == array[::-1, ::2].tolist()
    array[2, 0] = 99
    assert tensor.tolist()[0][0] == 99 and sys.getrefcount(array) > count
    del tensor, view
    gc.collect()
    assert sys.getrefcount(array) == count


def test_ours_are_taken_as_they_are_given():
    for dtype, kind in DTYPES.items():
        if kind.dlpack:
            got = take(Tensor(dtype, [2], bytes(2 * kind.item_bytes)))  # read-only: by the versioned form
            assert got[:3] == (dtype, (2,), (1,)) and got[3].readonly
    assert take(Tensor("float32", [], bytearray(4)))[1:3] == ((), ())
    assert take(Tensor("float32", [2, 0], b""))[1:3] == ((2, 0), c_strides([2, 0]))


def test_what_lies_elsewhere_or_is_no_capsule_is_refused():
    class Elsewhere(NumpyOfVersion1):
        def __dlpack_device__(self):
            return (2, 0)

    class NoCapsule(NumpyOfVersion1):
        def __dlpack__(self, **options):
            return 1

    for value in (Elsewhere(numpy.zeros(1)), NoCapsule(numpy.zeros(1))):
        with pytest.raises(PyisolateError) as raised:
            take(value)
        assert raised.value.code == "VALUE_UNSUPPORTED"
