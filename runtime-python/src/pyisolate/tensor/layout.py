"""Layout: where the elements of an array lie. Shapes and strides only; must not know bytes of anybody.

Strides count elements and may be negative or 0. Nothing here can overflow: Python's integers have no end.
"""

from __future__ import annotations

from math import prod

from ..errors import PyisolateError
from .dtype import DTYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_AXES = 32
#: Largest count, stride or number of bytes: the integers that every language can hold.
_MAX_NUMBER = 2**53 - 1


def check_shape(dtype: str, shape: Sequence[Any]) -> int:
    """Bytes of such an array in C order. Raises TENSOR_INVALID for an unknown dtype or a shape that is not one."""
    kind = DTYPES.get(dtype)
    if kind is None:
        raise PyisolateError("TENSOR_INVALID", f'unknown dtype "{dtype}", expected one of {", ".join(DTYPES)}')
    nbytes = kind.item_bytes
    for count in shape:
        if type(count) is not int or not 0 <= count <= _MAX_NUMBER:
            raise _no_shape(shape)
        nbytes *= count
    if len(shape) > MAX_AXES:
        raise _no_shape(shape)
    if nbytes > _MAX_NUMBER:
        raise PyisolateError("TENSOR_INVALID", f"shape {_show(shape)} is larger than any memory")
    return nbytes


def _no_shape(shape: Sequence[Any]) -> PyisolateError:
    return PyisolateError("TENSOR_INVALID", f"shape {_show(shape)} is no list of up to {MAX_AXES} counts >= 0")


def check_layout(
    dtype: str, shape: Sequence[Any], strides: Sequence[Any] | None, offset: Any, nbytes: int
) -> tuple[int, int]:
    """Whether all elements lie inside `nbytes` bytes, element [0, …, 0] at byte `offset`; `strides` None: in C order.

    Gives the bytes from the first element to the end of the last. Raises TENSOR_INVALID.
    """
    length = check_shape(dtype, shape)
    item_bytes = DTYPES[dtype].item_bytes
    if type(offset) is not int or offset < 0 or offset % item_bytes:
        text = str(offset)[:20]
        raise PyisolateError("TENSOR_INVALID", f"offset {text} is no multiple of the {item_bytes} bytes of {dtype}")
    if strides is None:
        start, end = offset, offset + length
    else:
        if len(strides) != len(shape) or not all(type(step) is int and abs(step) <= _MAX_NUMBER for step in strides):
            raise PyisolateError("TENSOR_INVALID", f"strides {_show(strides)} do not fit the shape {_show(shape)}")
        low, high = span(shape, strides)
        start, end = offset + low * item_bytes, offset + high * item_bytes
    if start < 0 or end > nbytes:
        layout = "C order" if strides is None else f"strides {_show(strides)}"
        raise PyisolateError(
            "TENSOR_INVALID", f"tensor of {dtype} {_show(shape)} in {layout} at byte {offset} leaves {nbytes} bytes"
        )
    return start, end


def _show(numbers: Sequence[Any]) -> str:
    return f"[{', '.join(str(each)[:20] for each in numbers[: MAX_AXES + 1])}]"


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of an array in C order: the last axis is contiguous."""
    strides = []
    step = 1
    for count in reversed(shape):
        strides.append(step)
        step *= count
    return tuple(reversed(strides))


def is_c_order(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie one after another; strides of axes with one element do not matter."""
    step = 1
    for count, stride in zip(reversed(shape), reversed(strides)):
        if count != 1:
            if stride != step and 0 not in shape:
                return False
            step *= count
    return True


def span(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """First element and end of the last, in elements from element [0, …, 0]; (0, 0) when there are none."""
    if 0 in shape:
        return 0, 0
    low = high = 0
    for count, stride in zip(shape, strides):
        reach = (count - 1) * stride
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high + 1


def collapse(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """The shape with one element on each axis that repeats the same elements: what a copy needs room for."""
    return tuple(1 if stride == 0 and count > 1 else count for count, stride in zip(shape, strides))


def expand(shape: Sequence[int], collapsed: Sequence[int]) -> tuple[int, ...]:
    """Strides that show an array in C order of the `collapsed` shape in the whole `shape`."""
    return tuple(0 if one != count else step for count, one, step in zip(shape, collapsed, c_strides(collapsed)))


class CopyPlan:
    """How to copy an array into the least room.

    Attributes:
        nbytes: Of the copy.
        offset: Byte of its element [0, …, 0].
        strides: Of the copy, in elements.
        shape: Elements to be copied one by one, in C order; None: all bytes of the span as they lie.
    """

    __slots__ = ("nbytes", "offset", "shape", "strides")

    def __init__(self, nbytes: int, offset: int, strides: Sequence[int], shape: Sequence[int] | None) -> None:
        self.nbytes = nbytes
        self.offset = offset
        self.strides = strides
        self.shape = shape


def plan_copy(item_bytes: int, shape: Sequence[int], strides: Sequence[int]) -> CopyPlan:
    """An array without gaps is copied as it lies, whatever its strides; another element by element."""
    low, high = span(shape, strides)
    collapsed = collapse(shape, strides)
    count = prod(collapsed)
    if high - low <= count:
        return CopyPlan((high - low) * item_bytes, -low * item_bytes, strides, None)
    return CopyPlan(count * item_bytes, 0, expand(shape, collapsed), collapsed)


def copy_elements(
    target: memoryview, source: memoryview, offset: int, item_bytes: int, shape: Sequence[int], strides: Sequence[int]
) -> None:
    """Writes the elements in C order. Both views are flat bytes; `offset`: byte of element [0, …, 0] in the source.

    Slow where the last axis is short; arrays of numpy and torch are copied by their own library.
    """
    if 0 in shape:
        return
    low, high = span(shape, strides)
    first = offset + low * item_bytes
    axes = _merge(shape, strides)
    parts = max(1, item_bytes // 8)  # 16 bytes: no letter of the buffer protocol has them
    if parts > 1:
        axes = [(count, stride * parts) for count, stride in axes] + [(parts, 1)]
    letter: Any = {1: "B", 2: "H", 4: "I"}.get(item_bytes, "Q")
    elements = source[first : first + (high - low) * item_bytes].cast(letter)
    _copy_axes(target.cast(letter), 0, elements, -low * parts, axes)


def _merge(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(count, stride) of the axes, neighbours that go on in step made one, axes of one element left out."""
    axes: list[tuple[int, int]] = []
    for count, stride in zip(shape, strides):
        if count == 1:
            continue
        if axes and axes[-1][1] == stride * count:
            axes[-1] = (axes[-1][0] * count, stride)
        else:
            axes.append((count, stride))
    return axes or [(1, 1)]


def _copy_axes(target: memoryview, at: int, source: memoryview, start: int, axes: list[tuple[int, int]]) -> int:
    """Copies what the axes show from element `start` to `at`; gives where it ends."""
    count, stride = axes[0]
    if len(axes) > 1:
        for index in range(count):
            at = _copy_axes(target, at, source, start + index * stride, axes[1:])
        return at
    if stride == 0:
        letter: Any = source.format
        target[at : at + count] = memoryview(source[start : start + 1].tobytes() * count).cast(letter)
    else:
        stop = start + count * stride
        target[at : at + count] = source[start : (stop if stop >= 0 else None) : stride]
    return at + count
