"""Pages that this process has made its own by writing into a private mapping. Must not know segments.

Source: Documentation/admin-guide/mm/pagemap.rst of Linux.
"""

from __future__ import annotations

import fcntl
import os
from struct import Struct

from .memory import address_of

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: PAGEMAP_SCAN, from Linux 6.7 on: skips what was never touched.
_SCAN = 0xC0606610
#: Size of this, flags, start, end, where the walk ended, address and length of the answer, most pages, then masks of
#: categories: inverted, all of, any of, to be told.
_SCAN_ARGUMENTS = Struct("12Q")
_IS_FILE, _IS_PRESENT, _IS_SWAPPED = 4, 8, 16
_REGION = Struct("3Q")
_REGIONS = 128

_ENTRY_BYTES = 8
#: The highest byte of an entry of the pagemap → 1 if the page is private: present (bit 63) or swapped (62), and neither
#: of a file nor shared (61).
_IS_PRIVATE = bytes(high & 0xC0 != 0 and high & 0x20 == 0 for high in range(256))


class Pagemap:
    """The kernel's own account of them. Where it cannot be read every page counts as private."""

    def __init__(self, path: str = "/proc/self/pagemap") -> None:
        try:
            self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = None
        self._can_scan = True
        #: Arguments, regions and the address of the regions, for one scan at a time each.
        self._scratch: list[tuple[bytearray, bytearray, int]] = []

    def private_ranges(self, start: int, end: int) -> list[tuple[int, int]]:
        """Of the pages that hold these addresses: (address, end) of runs of private ones."""
        first = start // PAGE_BYTES * PAGE_BYTES
        last = -(-end // PAGE_BYTES) * PAGE_BYTES
        if self._descriptor is None:
            return [(first, last)]
        if self._can_scan:
            try:
                return self._scan(self._descriptor, first, last)
            except OSError:
                self._can_scan = False
        try:
            return self._read(self._descriptor, first, last)
        except OSError:
            return [(first, last)]

    def _scan(self, descriptor: int, start: int, end: int) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        try:
            scratch = self._scratch.pop()
        except IndexError:
            regions = bytearray(_REGIONS * _REGION.size)
            scratch = bytearray(_SCAN_ARGUMENTS.size), regions, address_of(memoryview(regions))
        arguments, regions, address = scratch
        while start < end:
            _SCAN_ARGUMENTS.pack_into(
                arguments, 0, _SCAN_ARGUMENTS.size, 0, start, end, 0, address, _REGIONS, 0,
                _IS_FILE, _IS_FILE, _IS_PRESENT | _IS_SWAPPED, _IS_PRESENT,
            )  # fmt: skip
            count = fcntl.ioctl(descriptor, _SCAN, arguments, True)
            for at in range(count):
                low, high, _ = _REGION.unpack_from(regions, at * _REGION.size)
                ranges.append((low, high))
            start = _SCAN_ARGUMENTS.unpack_from(arguments)[4]
        self._scratch.append(scratch)
        return ranges

    def _read(self, descriptor: int, start: int, end: int) -> list[tuple[int, int]]:
        first, count = start // PAGE_BYTES, (end - start) // PAGE_BYTES
        entries = os.pread(descriptor, count * _ENTRY_BYTES, first * _ENTRY_BYTES)
        if len(entries) != count * _ENTRY_BYTES:
            return [(start, end)]
        marks = entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES].translate(_IS_PRIVATE)
        ranges = []
        at = marks.find(1)
        while at >= 0:
            stop = marks.find(0, at)
            stop = count if stop < 0 else stop
            ranges.append((start + at * PAGE_BYTES, start + stop * PAGE_BYTES))
            at = marks.find(1, stop)
        return ranges
