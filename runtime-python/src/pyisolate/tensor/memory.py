"""Addresses: where a view lies, and views of what lies at an address. By ctypes; imported when the first is needed.

The only file that makes a view of an address; its callers answer for what lies there.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, PYFUNCTYPE, Structure, byref, c_int, c_ssize_t, c_void_p, py_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Buffer(Structure):
    """Py_buffer: the same in every Python there is."""

    _fields_ = (
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_void_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    )


_get_buffer = PYFUNCTYPE(c_int, py_object, POINTER(_Buffer), c_int)(("PyObject_GetBuffer", ctypes.pythonapi))
_release_buffer = PYFUNCTYPE(None, POINTER(_Buffer))(("PyBuffer_Release", ctypes.pythonapi))
#: PyBUF_FULL_RO: whatever strides and format, and no wish to write.
_FULL_READ_ONLY = 0x11C


def address_of(view: memoryview) -> int:
    """Where element [0, …, 0] lies. Good for as long as the view."""
    buffer = _Buffer()
    _get_buffer(view, byref(buffer), _FULL_READ_ONLY)
    address: int = buffer.buf or 0
    _release_buffer(byref(buffer))
    return address


def memory_at(address: int, nbytes: int, owner: object, is_read_only: bool = False) -> memoryview:
    """Flat bytes there. Every view of them, of numpy and torch too, keeps `owner` alive."""
    if nbytes == 0:
        return memoryview(b"")
    memory: Any = (ctypes.c_ubyte * nbytes).from_address(address)
    memory.owner = owner
    view = memoryview(memory).cast("B")
    return view.toreadonly() if is_read_only else view


def copy_memory(target: memoryview, source: memoryview) -> None:
    """Copies all of the flat source to the start of the flat target. Other threads run meanwhile."""
    if len(target) < len(source) or target.readonly:
        raise ValueError(f"{len(source)} bytes into {len(target)} of a view")
    ctypes.memmove(address_of(target), address_of(source), len(source))


def clear_memory(target: memoryview) -> None:
    """Makes all of it zero. Other threads run meanwhile."""
    ctypes.memset(address_of(target), 0, len(target))


_PUNCH_HOLE_KEEP_SIZE = 3


def free_pages(descriptor: int, nbytes: int) -> None:
    """Gives back the pages of a memory file of so many bytes; they read as zeros from then on. Takes 0.13 s a GiB."""
    fallocate = ctypes.CDLL(None).fallocate
    fallocate.argtypes = (c_int, c_int, ctypes.c_int64, ctypes.c_int64)
    fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, 0, nbytes)
