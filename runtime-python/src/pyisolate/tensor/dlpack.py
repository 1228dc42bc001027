"""DLPack by ctypes: arrays given to other libraries and taken from them without a copy. CPU only.

Imported when the first such array is asked for. Must not know segments.
Source: dlpack.h 1.0 and the Python side of that specification.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, PYFUNCTYPE, Structure, c_char_p, c_int, c_int32, c_int64, c_void_p, py_object

from ..errors import PyisolateError
from .dtype import DTYPES
from .layout import c_strides, span
from .memory import address_of, memory_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CPU = (1, 0)
_READ_ONLY = 1
_VERSION = (1, 0)
_NAMES = {code: name for name, kind in DTYPES.items() if (code := kind.dlpack) is not None}


class _Tensor(Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(Structure):
    """The form before version 1. `context`: the object itself, which has a reference for the consumer."""

    _fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p))


class _Versioned(Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


#: Form and names of a capsule, unused and used, by whether it is versioned.
_FORMS: dict[bool, tuple[Any, bytes, bytes]] = {
    False: (_Managed, b"dltensor", b"used_dltensor"),
    True: (_Versioned, b"dltensor_versioned", b"used_dltensor_versioned"),
}

_api = ctypes.pythonapi
_Deleter = CFUNCTYPE(None, c_void_p)
_Destructor = PYFUNCTYPE(None, c_void_p)
_increment = PYFUNCTYPE(None, py_object)(("Py_IncRef", _api))
_decrement = PYFUNCTYPE(None, c_void_p)(("Py_DecRef", _api))
_new_capsule = PYFUNCTYPE(py_object, c_void_p, c_char_p, _Destructor)(("PyCapsule_New", _api))
_pointer_of = PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", _api))
_has_name = PYFUNCTYPE(c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", _api))
_set_name = PYFUNCTYPE(c_int, py_object, c_char_p)(("PyCapsule_SetName", _api))


def _drop_unused(capsule: int) -> None:
    """Of a capsule that nobody took."""
    for form, name, _ in _FORMS.values():
        if _has_name(capsule, name):
            _decrement(form.from_address(_pointer_of(capsule, name)).context)


#: What the consumer calls when it needs the array no more.
_delete = _Deleter(lambda address: _decrement(_Managed.from_address(address).context))
_delete_versioned = _Deleter(lambda address: _decrement(_Versioned.from_address(address).context))
_drop_capsule = _Destructor(_drop_unused)

for _callback in (_delete, _delete_versioned, _drop_capsule):
    _increment(_callback)  # consumers may call them while the interpreter shuts down, when this module is gone


def give(
    dtype: str, shape: Sequence[int], strides: Sequence[int], view: memoryview, offset: int, is_versioned: bool
) -> Any:
    """A capsule over the view. Raises BufferError for what the form cannot say."""
    kind = DTYPES[dtype].dlpack
    if kind is None:
        raise BufferError(f"{dtype} has no form in DLPack")
    if view.readonly and not is_versioned:
        raise BufferError("a read-only array has no form in DLPack before version 1")
    form, name, _ = _FORMS[is_versioned]
    managed = form()
    managed.owner = view
    managed.context = id(managed)
    managed.deleter = ctypes.cast(_delete_versioned if is_versioned else _delete, c_void_p)
    if is_versioned:
        managed.major, managed.minor = _VERSION
        managed.flags = _READ_ONLY if view.readonly else 0
    tensor = managed.tensor
    tensor.data = address_of(view) + offset
    tensor.device_type, tensor.device_id = CPU
    tensor.ndim = len(shape)
    tensor.code, tensor.bits = kind
    tensor.lanes = 1
    tensor.shape = managed.shape = (c_int64 * len(shape))(*shape)
    tensor.strides = managed.strides = (c_int64 * len(shape))(*strides)
    capsule = _new_capsule(ctypes.addressof(managed), name, _drop_capsule)
    _increment(managed)
    return capsule


class _Taken:
    """What was taken from another library, until nothing here uses it."""

    def __init__(self, managed: Any) -> None:
        self._managed = managed

    def __del__(self) -> None:
        if self._managed.deleter:
            _Deleter(self._managed.deleter)(ctypes.addressof(self._managed))


def take(value: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], memoryview, int]:
    """Dtype, shape, strides, memory and byte offset of an object with `__dlpack__`. Raises VALUE_UNSUPPORTED."""
    device_type, _ = value.__dlpack_device__()
    if device_type != CPU[0]:
        raise _unsupported(value, f"lies on device {value.__dlpack_device__()}, expected the CPU")
    try:
        capsule = value.__dlpack__(max_version=_VERSION)
    except TypeError:  # it is older than versions
        capsule = value.__dlpack__()
    is_versioned = bool(_has_name(id(capsule), _FORMS[True][1]))
    form, name, used_name = _FORMS[is_versioned]
    if not _has_name(id(capsule), name):
        raise _unsupported(value, "gave no capsule of DLPack")
    managed = form.from_address(_pointer_of(id(capsule), name))
    if is_versioned and managed.major != _VERSION[0]:
        raise _unsupported(value, f"has version {managed.major} of DLPack, expected {_VERSION[0]}")
    _set_name(capsule, used_name)
    owner = _Taken(managed)
    tensor = managed.tensor
    dtype = _NAMES.get((tensor.code, tensor.bits))
    if dtype is None or tensor.lanes != 1:
        raise _unsupported(value, f"has the DLPack type {tensor.code} of {tensor.bits} bits x {tensor.lanes}")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else c_strides(shape)
    item_bytes = DTYPES[dtype].item_bytes
    low, high = span(shape, strides)
    start = (tensor.data or 0) + tensor.byte_offset + low * item_bytes
    is_read_only = is_versioned and bool(managed.flags & _READ_ONLY)
    return dtype, shape, strides, memory_at(start, (high - low) * item_bytes, owner, is_read_only), -low * item_bytes


def _unsupported(value: Any, why: str) -> PyisolateError:
    kind = type(value)
    return PyisolateError("VALUE_UNSUPPORTED", f"a {kind.__module__}.{kind.__qualname__} {why}")
