"""The one table of element types that may travel, after docs/protocol.md. Must not know shapes or bytes."""

from __future__ import annotations

#: Name as numpy and torch spell it → bytes per element, format of struct, code of __array_interface__; "": it has none.
DTYPES = {
    "bool": (1, "?", "|b1"),
    "uint8": (1, "B", "|u1"),
    "int8": (1, "b", "|i1"),
    "uint16": (2, "H", "<u2"),
    "int16": (2, "h", "<i2"),
    "uint32": (4, "I", "<u4"),
    "int32": (4, "i", "<i4"),
    "uint64": (8, "Q", "<u8"),
    "int64": (8, "q", "<i8"),
    "float16": (2, "e", "<f2"),
    "bfloat16": (2, "", ""),
    "float32": (4, "f", "<f4"),
    "float64": (8, "d", "<f8"),
    "complex64": (8, "", "<c8"),
    "complex128": (16, "", "<c16"),
}
