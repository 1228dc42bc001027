"""The one table of element types that may travel, after docs/protocol.md. Must not know shapes or bytes."""

from __future__ import annotations


class Dtype:
    """One row of the table.

    Attributes:
        name: As numpy and torch spell it, e.g. "float32".
        item_bytes: Bytes of one element.
        format: Its letter in the struct module and the buffer protocol; "": it has none.
        array_code: Its typestr in __array_interface__; "": it has none.
        dlpack: Type code and bits in DLPack; None: it has none.
    """

    __slots__ = ("array_code", "dlpack", "format", "item_bytes", "name")

    def __init__(
        self, name: str, item_bytes: int, format: str, array_code: str, dlpack_code: int | None = None
    ) -> None:
        self.name = name
        self.item_bytes = item_bytes
        self.format = format
        self.array_code = array_code
        self.dlpack = None if dlpack_code is None else (dlpack_code, 8 * item_bytes)


#: Type codes of DLPack.
_INT, _UINT, _FLOAT, _BFLOAT, _COMPLEX, _BOOL = 0, 1, 2, 4, 5, 6
#: Units of datetime64 and timedelta64: 64-bit counts, the smallest value is "not a time".
TIME_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")

DTYPES = {
    each.name: each
    for each in (
        Dtype("bool", 1, "?", "|b1", _BOOL),
        Dtype("uint8", 1, "B", "|u1", _UINT),
        Dtype("int8", 1, "b", "|i1", _INT),
        Dtype("uint16", 2, "H", "<u2", _UINT),
        Dtype("int16", 2, "h", "<i2", _INT),
        Dtype("uint32", 4, "I", "<u4", _UINT),
        Dtype("int32", 4, "i", "<i4", _INT),
        Dtype("uint64", 8, "Q", "<u8", _UINT),
        Dtype("int64", 8, "q", "<i8", _INT),
        Dtype("float16", 2, "e", "<f2", _FLOAT),
        Dtype("bfloat16", 2, "", "", _BFLOAT),
        Dtype("float32", 4, "f", "<f4", _FLOAT),
        Dtype("float64", 8, "d", "<f8", _FLOAT),
        Dtype("complex64", 8, "", "<c8", _COMPLEX),
        Dtype("complex128", 16, "", "<c16", _COMPLEX),
        Dtype("float8_e4m3fn", 1, "", "", 10),
        Dtype("float8_e4m3fnuz", 1, "", "", 11),
        Dtype("float8_e5m2", 1, "", "", 12),
        Dtype("float8_e5m2fnuz", 1, "", "", 13),
        Dtype("float8_e8m0fnu", 1, "", "", 14),
        *(Dtype(f"datetime64[{unit}]", 8, "", f"<M8[{unit}]") for unit in TIME_UNITS),
        *(Dtype(f"timedelta64[{unit}]", 8, "", f"<m8[{unit}]") for unit in TIME_UNITS),
    )
}
