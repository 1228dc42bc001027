"""Segment: one piece of shared memory, made by the host; and mappings of segments in either process.

To a pack: the host writes, the pack maps it privately. From a pack: that pack writes, nobody else ever does.
Route "descriptor": a sealed memfd, which the receiver can neither cut nor grow. Route "path": a file in a directory
that is mounted into the container; such a file can be cut by whoever may write it, so the host reads and writes it by
system calls and never maps it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from bisect import bisect_right

from ..errors import PyisolateError
from .memory import address_of, clear_memory, copy_memory, free_pages, memory_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from .arrays import Array
    from .layout import CopyPlan
    from .lease import Holding

    class SegmentUser(Protocol):
        """One pack's connection, as segments know it."""

        @property
        def trust_memory(self) -> bool:
            """Whether the host's code may look at what it writes, where it lies."""

        def give_back(self, number: int) -> None:
            """Asks for a segment back, by its number there; may wait for nothing."""


_F_ADD_SEALS = 1033
_SEAL, _SHRINK, _GROW, _FUTURE_WRITE = 1, 2, 4, 16
_MAP_NORESERVE = 0x4000

SHARED = (mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
READ_ONLY = (mmap.MAP_SHARED, mmap.PROT_READ)
#: Promises no memory for pages that may be written: few ever are.
PRIVATE = (mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE)

#: Between two files bytes go through a buffer of this size.
_PIECE_BYTES = 4 * 1024 * 1024

#: From Python 3.13 on a mapping needs no descriptor of its own.
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Mapping:
    """A segment in this process's memory, for as long as anything refers to it: views keep it."""

    __slots__ = ("_map", "address", "nbytes")

    def __init__(self, descriptor: int, nbytes: int, kind: tuple[int, int]) -> None:
        """`kind`: SHARED, READ_ONLY or PRIVATE. Raises OSError, or ValueError when the file is shorter."""
        flags, protection = kind
        self._map = mmap.mmap(descriptor, nbytes, flags=flags, prot=protection, **_NO_DESCRIPTOR)
        self.address = address_of(memoryview(self._map))
        self.nbytes = nbytes

    def lend(self, holding: Holding, is_read_only: bool = False) -> memoryview:
        """All of it, as flat bytes; the holding lasts as long as any view of them."""
        return memory_at(self.address, self.nbytes, (self, holding), is_read_only)

    def view(self, start: int, nbytes: int) -> memoryview:
        """Bytes to copy from or to at once."""
        return memory_at(self.address + start, nbytes, self)

    def forget_private(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Drops private pages at these addresses: the next look shows what the segment holds."""
        for start, end in ranges:
            self._map.madvise(mmap.MADV_DONTNEED, start - self.address, end - start)


class Mappings:
    """What lies at an address. Changed with a lock of the owner, read without."""

    def __init__(self) -> None:
        #: Starts of the mappings in order, and (end, what was added) of each. Replaced as a whole.
        self._table: tuple[list[int], list[tuple[int, Any]]] = ([], [])

    def add(self, mapping: Mapping, what: Any) -> None:
        starts, entries = self._copy()
        at = bisect_right(starts, mapping.address)
        starts.insert(at, mapping.address)
        entries.insert(at, (mapping.address + mapping.nbytes, what))
        self._table = starts, entries

    def remove(self, mapping: Mapping) -> None:
        starts, entries = self._copy()
        at = bisect_right(starts, mapping.address) - 1
        del starts[at], entries[at]
        self._table = starts, entries

    def _copy(self) -> tuple[list[int], list[tuple[int, Any]]]:
        starts, entries = self._table
        return list(starts), list(entries)

    def find(self, start: int, end: int) -> Any:
        """What was added for the mapping that has all bytes from `start` to `end`; None: there is none."""
        starts, entries = self._table
        at = bisect_right(starts, start) - 1
        if at < 0:
            return None
        limit, what = entries[at]
        return what if end <= limit else None


class Domain:
    """The packs that may read the same segments. Compared by identity."""


class Segment:
    """Of the host. Its state is the pool's affair, and guarded by the pool's lock.

    Attributes:
        nbytes: A multiple of the page size.
        writer: The pack that may write it; None: the host.
        domain: Whose packs may read it, for life; None: no pack has seen it yet.
        uses: How many tensors of the host and leases of packs it has.
        numbers: Its number on the connection of each pack that has it.
        wanted_back: Packs that have been asked for it.
        is_dirty: Something was in it before.
        is_retired: It is never used for anything new, and closed when nothing uses it.
        idle_since_s: When the last use ended, or it was made; as time.monotonic counts.
        mapping: In the host, if it is safe to have one.
    """

    route = ""

    def __init__(self, nbytes: int, writer: SegmentUser | None, domain: Domain | None) -> None:
        self.nbytes = nbytes
        self.writer = writer
        self.domain = domain
        self.uses = 0
        self.numbers: dict[SegmentUser, int] = {}
        self.wanted_back: set[SegmentUser] = set()
        self.is_dirty = False
        self.is_retired = False
        self.idle_since_s = 0.0
        self.mapping: Mapping | None = None

    @property
    def is_open(self) -> bool:
        """Whether the host's code may look at it where it lies."""
        return self.mapping is not None and (self.writer is None or self.writer.trust_memory)

    def write(self, array: Array, plan: CopyPlan) -> None:
        """Puts the array at the start, as planned."""
        raise NotImplementedError

    def copy_from(self, source: Segment, start: int, nbytes: int) -> None:
        """Puts bytes of another segment, from `start` on, at the start. Raises TENSOR_INVALID when that was cut."""
        raise NotImplementedError

    def read_into(self, target: memoryview, start: int) -> None:
        """Fills the target with what lies at byte `start`. Raises TENSOR_INVALID when the segment was cut."""
        raise NotImplementedError

    def clear(self, start: int) -> None:
        """Makes all of it zero from there on."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing uses it any more, here or elsewhere."""
        raise NotImplementedError


class MemorySegment(Segment):
    """Route "descriptor"."""

    route = "descriptor"

    def __init__(self, nbytes: int, writer: SegmentUser | None, domain: Domain | None) -> None:
        """Slow: the pages are made. Raises OSError."""
        super().__init__(nbytes, writer, domain)
        self._descriptor = os.memfd_create("pyisolate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.fchmod(self._descriptor, 0o600)  # a reader in the writer's domain cannot open it again to write
            os.posix_fallocate(self._descriptor, 0, nbytes)
            # Writable for a trusted pack's memory, too: a careless write of the host's code must not end the program.
            is_writable = writer is None or writer.trust_memory
            self._mapping = self.mapping = Mapping(self._descriptor, nbytes, SHARED if is_writable else READ_ONLY)
            seals = _SHRINK | _GROW | _SEAL | (_FUTURE_WRITE if writer is None else 0)
            fcntl.fcntl(self._descriptor, _F_ADD_SEALS, seals)
        except BaseException:
            os.close(self._descriptor)
            raise

    def open_for(self, pack: SegmentUser) -> int:
        """A descriptor for that pack, to be closed: one to write with for the writer, else one to read with."""
        if self.writer is None or self.writer is pack:
            return os.dup(self._descriptor)
        return os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    def write(self, array: Array, plan: CopyPlan) -> None:
        target = self._mapping.view(0, plan.nbytes)
        if plan.shape is None:
            copy_memory(target, array.span_bytes())
        else:
            array.copy_into(target, plan.shape)

    def copy_from(self, source: Segment, start: int, nbytes: int) -> None:
        source.read_into(self._mapping.view(0, nbytes), start)

    def read_into(self, target: memoryview, start: int) -> None:
        copy_memory(target, self._mapping.view(start, len(target)))

    def clear(self, start: int) -> None:
        clear_memory(self._mapping.view(start, self.nbytes - start))

    def close(self) -> None:
        if self.writer is not None:
            free_pages(self._descriptor, self.nbytes)  # a pack that keeps what it wrote keeps no memory of this program
        os.close(self._descriptor)
        del self.mapping, self._mapping


class FileSegment(Segment):
    """Route "path". Links to one file: one in the directory of each pack that has it.

    Attributes:
        name: Of every link.
    """

    route = "path"

    def __init__(
        self, nbytes: int, writer: SegmentUser | None, domain: Domain | None, directory: str, name: str
    ) -> None:
        """Slow: the pages are made. Raises OSError."""
        super().__init__(nbytes, writer, domain)
        self.name = name
        self._directories = {directory}
        path = os.path.join(directory, name)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, nbytes)
            os.fchmod(self._descriptor, 0o644 if writer is None else 0o666)
        except BaseException:
            self.close()
            raise

    def write(self, array: Array, plan: CopyPlan) -> None:
        if plan.shape is None:
            data = array.span_bytes()
        else:
            data = memoryview(bytearray(plan.nbytes))
            array.copy_into(data, plan.shape)
        self._write(data, 0)

    def copy_from(self, source: Segment, start: int, nbytes: int) -> None:
        piece = memoryview(bytearray(min(nbytes, _PIECE_BYTES)))
        for at in range(0, nbytes, _PIECE_BYTES):
            part = piece[: nbytes - at]
            source.read_into(part, start + at)
            self._write(part, at)

    def _write(self, data: memoryview, at: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], at + done)

    def read_into(self, target: memoryview, start: int) -> None:
        at = 0
        while at < len(target):
            count = os.preadv(self._descriptor, [target[at:]], start + at)
            if count == 0:
                raise PyisolateError(
                    "TENSOR_INVALID",
                    f"a segment of {self.nbytes} bytes was cut to {start + at}",
                    next="The pack that wrote it cut its file; do not use this pack.",
                )
            at += count

    def clear(self, start: int) -> None:
        self._write(memoryview(bytes(self.nbytes - start)), start)

    def link_into(self, directory: str) -> None:
        """Makes it visible to one more pack. Raises OSError."""
        if directory not in self._directories:
            (first, *_) = self._directories
            os.link(os.path.join(first, self.name), os.path.join(directory, self.name))
            self._directories.add(directory)

    def unlink_from(self, directory: str) -> None:
        if directory in self._directories and len(self._directories) > 1:  # the last one goes with the segment
            self._directories.discard(directory)
            _unlink(os.path.join(directory, self.name))

    def close(self) -> None:
        for directory in self._directories:
            _unlink(os.path.join(directory, self.name))
        os.ftruncate(self._descriptor, 0)  # a pack that keeps what it wrote keeps no memory of this program
        os.close(self._descriptor)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # the directory went with its container
