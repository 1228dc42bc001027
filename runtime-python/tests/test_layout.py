"""Strides, spans and bounds; copies without numpy."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyisolate import PyisolateError
from pyisolate.tensor.dtype import DTYPES
from pyisolate.tensor.layout import (
    c_strides,
    check_layout,
    check_shape,
    collapse,
    copy_elements,
    expand,
    is_c_order,
    span,
)

HUGE = 2**53 - 1


@st.composite
def layouts(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    return shape, [draw(st.integers(-6, 6)) for _ in shape]


def places(shape, strides):
    """Of every element, in C order, in elements from the first."""
    return [sum(map(lambda i, s: i * s, index, strides)) for index in itertools.product(*map(range, shape))]


@given(layouts(), st.integers(0, 40), st.integers(0, 160))
def test_bounds_hold_exactly_when_every_element_lies_inside(layout, element, nbytes):
    shape, strides = layout
    offset = element * 2
    lies_inside = all(offset + 2 * at >= 0 and offset + 2 * at + 2 <= nbytes for at in places(shape, strides))
    lies_inside = lies_inside and offset <= (nbytes if 0 in shape else offset)
    try:
        check_layout("int16", shape, strides, offset, nbytes)
    except PyisolateError as error:
        assert error.code == "TENSOR_INVALID" and not lies_inside
    else:
        assert lies_inside


@given(layouts())
def test_span_is_that_of_the_elements(layout):
    shape, strides = layout
    at = places(shape, strides)
    assert span(shape, strides) == ((min(at), max(at) + 1) if at else (0, 0))


@given(layouts(), st.sampled_from(["uint8", "int16", "float32", "float64", "complex128"]))
def test_a_copy_has_the_elements_in_c_order(layout, dtype):
    shape, strides = layout
    size = DTYPES[dtype].item_bytes
    low, high = span(shape, strides)
    source = bytes((7 * at + 3) % 256 for at in range((high - low) * size + 5))
    offset = 5 - low * size
    target = bytearray(len(places(shape, strides)) * size)
    copy_elements(memoryview(target), memoryview(source), offset, size, shape, strides)
    at = [offset + each * size for each in places(shape, strides)]
    assert bytes(target) == b"".join(source[each : each + size] for each in at)


@given(layouts())
def test_c_order_is_seen_and_copies_keep_repeated_axes_collapsed(layout):
    shape, strides = layout
    assert is_c_order(shape, c_strides(shape))
    is_one_after_another = places(shape, strides) == list(range(len(places(shape, strides))))
    assert is_c_order(shape, strides) is is_one_after_another
    small = collapse(shape, strides)
    assert all(one in (1, count) for one, count in zip(small, shape))
    if all(shape):
        shown = places(shape, expand(shape, small))
        assert sorted(set(shown)) == list(range(len(places(small, small))))  # no room is wasted
        pairs = dict(zip(shown, places(shape, strides)))
        assert [pairs[each] for each in shown] == places(shape, strides)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ([HUGE], [HUGE], 0),
        ([2, 2], [HUGE, HUGE], 0),
        ([2], [-HUGE], 0),
        ([2], [2**64], 0),
        ([2**53], [0], 0),
        ([2**27, 2**27], [0, 0], 0),
        ([2], [1.0], 0),
        ([2], [True], 0),
        ([True], [1], 0),
        ([2], [], 0),
        ([1] * 33, [0] * 33, 0),
        ([-1], [1], 0),
        ([1], [1], 2**63),
        ([1], [1], -4),
        ([1], [1], 2),
        ([1], [1], 4.0),
        ([1], [1], "0"),
        ([2], ["1"], 0),
        ([2], [None], 0),
        ([5], [1], 4084),
    ],
)
def test_numbers_beyond_all_bounds_are_refused(shape, strides, offset):
    with pytest.raises(PyisolateError) as raised:
        check_layout("float32", shape, strides, offset, 4096)
    assert raised.value.code == "TENSOR_INVALID" and len(raised.value.message) < 2000


def test_what_fits_to_the_last_byte_is_taken():
    check_layout("float32", [1024], [1], 0, 4096)
    check_layout("float32", [2, 3], [-3, 1], 12, 24)
    check_layout("float32", [2**40], [0], 4092, 4096)
    check_layout("float32", [0, HUGE], [HUGE, -HUGE], 4096, 4096)
    assert check_shape("complex128", []) == 16
