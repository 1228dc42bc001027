"""Private pages, by both ways of asking the kernel."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyisolate.tensor.pages import PAGE_BYTES, Pagemap
from pyisolate.tensor.segment import PRIVATE, SHARED, Mapping

PAGES = 600


@pytest.fixture(scope="module")
def mapping():
    descriptor = os.memfd_create("pyisolate-test")
    os.ftruncate(descriptor, PAGES * PAGE_BYTES)
    yield Mapping(descriptor, PAGES * PAGE_BYTES, PRIVATE), Mapping(descriptor, PAGES * PAGE_BYTES, SHARED)
    os.close(descriptor)


@pytest.mark.parametrize("can_scan", [True, False])
@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, PAGES - 1), max_size=300), st.integers(0, PAGES - 1), st.integers(0, PAGES))
def test_exactly_the_pages_that_were_written_are_private_until_they_are_forgotten(
    mapping, can_scan, written, first, count
):
    private, shared = mapping
    pagemap = Pagemap()
    pagemap._can_scan = pagemap._can_scan and can_scan
    view = private.view(0, private.nbytes)
    bytes(view[:: PAGE_BYTES * 3])  # some are read
    for page in written:
        view[page * PAGE_BYTES + 7] = 1
    end = min(PAGES, first + count)
    start, stop = private.address + first * PAGE_BYTES + 5 * bool(count), private.address + end * PAGE_BYTES - 9
    if stop > start:
        ranges = pagemap.private_ranges(start, stop)
        pages = {page for low, high in ranges for page in range(low // PAGE_BYTES, high // PAGE_BYTES)}
        assert pages == {private.address // PAGE_BYTES + page for page in written if first <= page < end}
    private.forget_private(pagemap.private_ranges(private.address, private.address + private.nbytes))
    assert bytes(view) == bytes(shared.view(0, shared.nbytes))
    assert pagemap.private_ranges(private.address, private.address + private.nbytes) == []


def test_where_the_kernel_does_not_say_every_page_is_private():
    for pagemap in (Pagemap("/proc/self/none"), Pagemap(os.devnull)):
        assert pagemap.private_ranges(5 * PAGE_BYTES + 1, 7 * PAGE_BYTES + 1) == [(5 * PAGE_BYTES, 8 * PAGE_BYTES)]
