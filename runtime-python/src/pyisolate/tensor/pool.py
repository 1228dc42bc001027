"""Pool: all segments of a program. Which are warm, who may have how much, when memory is given back.

Threads: one lock, held for short steps only. What may take time (asking packs, freeing pages) is done by a thread of
the pool's own, which lives while there are segments. Must not know values or sockets.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue

from ..errors import PyisolateError
from .lease import Holding, Uses
from .pages import PAGE_BYTES
from .segment import Mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .segment import Domain, Segment, SegmentUser

    Make = Callable[[int], Segment]

KIB = 1024
MIB = 1024 * KIB
_SMALLEST_BYTES = 128 * KIB
#: Warm memory beyond what is kept goes back after this: a loop over large tensors finds it warm.
_OVER_KEEP_S = 0.5


def size_class(nbytes: int) -> int:
    """Bytes of the segment for so many: from 128 KiB on, four sizes a doubling."""
    size = _SMALLEST_BYTES
    while size < nbytes:
        size *= 2
    if size == _SMALLEST_BYTES:
        return size
    return next((size // 8 * quarters for quarters in (5, 6, 7) if size // 8 * quarters >= nbytes), size)


def _to_pages(nbytes: int) -> int:
    return -(-nbytes // PAGE_BYTES) * PAGE_BYTES


class Pool:
    """
    Attributes:
        lock: Guards everything here and the state of segments; counts their uses.
        mappings: Of the segments that the host writes.
    """

    def __init__(self, total_bytes: int, keep_bytes: int, idle_s: float, wait_s: float) -> None:
        """`keep_bytes`: of segments that nobody uses; what is idle for `idle_s` is given back in any case.

        `wait_s`: how long a request waits for memory that others release.
        """
        self.lock = Uses(self._use_ended)
        self.mappings = Mappings()
        self._total_bytes = total_bytes
        self._keep_bytes = keep_bytes
        self._idle_s = idle_s
        self._wait_s = wait_s
        self._live: set[Segment] = set()
        #: Bytes of segments that are or are being made: by writer, None: the host. And in all.
        self._bytes_of: dict[SegmentUser | None, int] = {}
        self._bytes = 0
        #: Written by the host and used by nobody; the one that was used last at the end.
        self._idle: list[Segment] = []
        self._waiters: list[SimpleQueue[None]] = []
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def stats(self) -> dict[str, int]:
        """Number of segments, their bytes, those of them in which no tensor lies, and what there may be."""
        with self.lock:
            warm_bytes = sum(segment.nbytes for segment in self._warm())
            return {
                "segments": len(self._live),
                "bytes": self._bytes,
                "warm_bytes": warm_bytes,
                "total_bytes": self._total_bytes,
            }

    def has_ease(self, nbytes: int) -> bool:
        """Whether the tensors in all segments and `nbytes` more are within half of what there may be."""
        stats = self.stats()
        return stats["bytes"] - stats["warm_bytes"] + nbytes <= self._total_bytes // 2

    # ---- uses

    def hold(self, segment: Segment, on_end: Callable[[], object] = lambda: None) -> Holding:
        """One more use of a segment that has one, or that a pack names. `on_end`: when it has ended."""
        with self.lock:
            return self._hold(segment, on_end)

    def _hold(self, segment: Segment, on_end: Callable[[], object] = lambda: None) -> Holding:
        segment.uses += 1
        segment.is_dirty = True

        def end() -> None:
            self.lock.end(segment)
            on_end()

        return Holding(segment, end)

    def _use_ended(self, segment: Segment) -> None:
        """With the lock."""
        segment.uses -= 1
        if segment.uses:
            return
        segment.idle_since_s = time.monotonic()
        if self._is_closed or segment.is_retired:
            self._retire(segment)
        elif segment.writer is None:
            self._idle.append(segment)
        self._tell_waiters()

    def claim(self, segment: Segment, domain: Domain) -> bool:
        """Whether packs of that domain may read it; one that nobody has seen becomes theirs."""
        with self.lock:
            if segment.domain is None:
                segment.domain = domain
            return segment.domain is domain

    # ---- segments that the host writes

    def take(self, route: str, domain: Domain | None, nbytes: int, *, will_fill: bool) -> Holding | None:
        """A use of an idle one, which is that domain's from then on; domain None: one that no pack has seen.

        `will_fill`: the caller writes all `nbytes` bytes before anybody else can look.
        """
        with self.lock:
            self.lock.count_ended()
            segment = self._find_idle(route, domain, nbytes)
            if segment is None:
                return None
            self._idle.remove(segment)
            must_clear = segment.domain is None and segment.is_dirty
            segment.domain = domain
            holding = self._hold(segment)
        if must_clear:
            segment.clear(nbytes if will_fill else 0)  # of what the next domain may never see
        return holding

    def _find_idle(self, route: str, domain: Domain | None, nbytes: int) -> Segment | None:
        best: Segment | None = None
        for segment in self._idle:
            if segment.route != route or segment.domain not in (domain, None):
                continue
            if nbytes <= segment.nbytes <= 2 * size_class(nbytes) and (best is None or segment.nbytes <= best.nbytes):
                best = segment
        return best

    def warm_later(self, nbytes: int, make: Make) -> None:
        """Makes an idle one in the background, so that the next `take` finds it; if there is ease."""
        with self.lock:
            self._do_later(partial(self._warm_now, nbytes, make))

    def _warm_now(self, nbytes: int, make: Make) -> None:
        if not self.has_ease(nbytes) or self._room(None, None) < size_class(nbytes):
            return
        try:
            self.make(None, nbytes, None, make, wait_s=0)  # whoever frees memory is this thread
        except PyisolateError:
            pass  # whoever needs one hears of it

    # ---- making and attaching

    def make(
        self,
        writer: SegmentUser | None,
        nbytes: int,
        max_bytes: int | None,
        make: Make,
        *,
        wait_s: float | None = None,
    ) -> Holding:
        """A use of a new one. `max_bytes`: of all that this writer has. `wait_s`: for room; None: the pool's own time.

        Raises: PyisolateError SHARED_MEMORY_EXHAUSTED.
        """
        size = self._reserve(writer, nbytes, max_bytes, self._wait_s if wait_s is None else wait_s)
        try:
            segment = make(size)
        except BaseException as error:
            with self.lock:
                self._count(writer, -size)
                self._tell_waiters()
            if isinstance(error, OSError):
                message = f"the system gave no {size} bytes of shared memory: {error}"
                raise PyisolateError("SHARED_MEMORY_EXHAUSTED", message, next=_NEXT, cause=error) from error
            raise
        segment.idle_since_s = time.monotonic()
        with self.lock:
            self._live.add(segment)
            if segment.mapping is not None and writer is None:
                self.mappings.add(segment.mapping, segment)
            self._do_later(lambda: None)  # there is somebody to give it back
            holding = self._hold(segment)
            segment.is_dirty = writer is None
        return holding

    def attached(self, segment: Segment, pack: SegmentUser, number: int) -> None:
        """The pack has it, and names it so."""
        with self.lock:
            segment.numbers[pack] = number

    def detached(self, segment: Segment, pack: SegmentUser) -> None:
        """The pack has it no more."""
        with self.lock:
            segment.numbers.pop(pack, None)
            segment.wanted_back.discard(pack)
            if segment.writer is pack or self._is_closed:
                self._retire(segment)
            self._free_if_unused(segment)

    def retire(self, segment: Segment) -> None:
        """It is never used for anything new."""
        with self.lock:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        """With the lock."""
        segment.is_retired = True
        if segment in self._idle:
            self._idle.remove(segment)
        if segment.uses:
            return
        for pack, number in segment.numbers.items():
            if pack not in segment.wanted_back:
                segment.wanted_back.add(pack)
                self._do_later(partial(pack.give_back, number))
        self._free_if_unused(segment)

    def _free_if_unused(self, segment: Segment) -> None:
        """With the lock."""
        if segment.is_retired and not segment.uses and not segment.numbers and segment in self._live:
            self._live.discard(segment)
            if segment.mapping is not None and segment.writer is None:
                self.mappings.remove(segment.mapping)
            self._do_later(partial(self._free, segment))

    def _free(self, segment: Segment) -> None:
        segment.close()
        with self.lock:
            self._count(segment.writer, -segment.nbytes)
            self._tell_waiters()

    # ---- room

    def _count(self, writer: SegmentUser | None, nbytes: int) -> None:
        """With the lock."""
        self._bytes += nbytes
        self._bytes_of[writer] = self._bytes_of.get(writer, 0) + nbytes
        if not self._bytes_of[writer]:
            del self._bytes_of[writer]

    def _reserve(self, writer: SegmentUser | None, nbytes: int, max_bytes: int | None, wait_s: float) -> int:
        """Bytes of the segment that may be made now; waits until others are released if it must."""
        news: SimpleQueue[None] = SimpleQueue()
        end_s = time.monotonic() + wait_s
        limit = self._total_bytes if max_bytes is None else min(self._total_bytes, max_bytes)
        is_first = True
        self._waiters.append(news)
        try:
            while True:
                with self.lock:
                    if self._is_closed:
                        raise PyisolateError(
                            "SHARED_MEMORY_EXHAUSTED",
                            "the program's shared memory was closed",
                            next="Make tensors before it is closed.",
                        )
                    self.lock.count_ended()
                    room = self._room(writer, max_bytes)
                    for size in (size_class(nbytes), _to_pages(nbytes)):
                        if size <= room:
                            self._count(writer, size)
                            return size
                    self._reclaim(writer, max_bytes, _to_pages(nbytes))
                remaining_s = end_s - time.monotonic()
                if _to_pages(nbytes) > limit or remaining_s <= 0:
                    raise self._exhausted(writer, nbytes, max_bytes)
                if is_first:
                    gc.collect()  # tensors in cycles that nobody refers to hold memory, too
                    is_first = False
                try:
                    news.get(timeout=remaining_s)
                except Empty:
                    pass
        finally:
            self._waiters.remove(news)

    def _room(self, writer: SegmentUser | None, max_bytes: int | None) -> int:
        room = self._total_bytes - self._bytes
        return room if max_bytes is None else min(room, max_bytes - self._bytes_of.get(writer, 0))

    def _reclaim(self, writer: SegmentUser | None, max_bytes: int | None, size: int) -> None:
        """With the lock: gives back what is warm, the longest idle first. What packs have comes when they answer."""
        missing = size - self._room(None, None)
        missing_of_pack = size - self._room(writer, max_bytes)
        for segment in self._warm():
            is_of_pack = max_bytes is not None and segment.writer is writer
            if missing > 0 or (is_of_pack and missing_of_pack > 0):
                missing -= segment.nbytes
                missing_of_pack -= segment.nbytes if is_of_pack else 0
                self._retire(segment)

    def _exhausted(self, writer: SegmentUser | None, nbytes: int, max_bytes: int | None) -> PyisolateError:
        used = self._bytes_of.get(writer, 0)
        if max_bytes is not None and max_bytes - used < _to_pages(nbytes):
            return PyisolateError(
                "SHARED_MEMORY_EXHAUSTED",
                f"{writer} asks for {nbytes} bytes of shared memory, has {used} in use, and its max_shm is {max_bytes}",
                next="Release results earlier, make them smaller, or raise max_shm in the manifest.",
            )
        return PyisolateError(
            "SHARED_MEMORY_EXHAUSTED",
            f"{nbytes} bytes of shared memory are needed; of {self._total_bytes} in all {self._bytes} are in use",
            next="Release tensors earlier, or let the program have more shared memory.",
        )

    def _tell_waiters(self) -> None:
        for news in list(self._waiters):
            news.put(None)

    # ---- giving back

    def _warm(self) -> list[Segment]:
        """With the lock: segments that nobody uses, the longest idle first."""
        warm = [segment for segment in self._live if not segment.uses and not segment.is_retired]
        return sorted(warm, key=lambda segment: segment.idle_since_s)

    def _do_later(self, work: Callable[[], object]) -> None:
        """With the lock. The thread is started by whoever makes a segment, never by a finalizer."""
        self._work.put(work)
        if self._thread is None and self._live:
            self._thread = threading.Thread(target=self._run, name="pyisolate-segments", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._work.get(timeout=min(self._idle_s, _OVER_KEEP_S) / 2)()
            except Empty:
                pass
            except Exception:
                sys.excepthook(*sys.exc_info())  # one segment that cannot be freed must not keep the others
            with self.lock:
                self.lock.count_ended()
                self._tidy()
                if not self._live and self._work.empty():
                    self._thread = None
                    return

    def _tidy(self) -> None:
        """With the lock."""
        now_s = time.monotonic()
        warm = self._warm()
        warm_bytes = sum(segment.nbytes for segment in warm)
        for segment in warm:
            # One that its pack has just been given may be in use there.
            is_over = warm_bytes > self._keep_bytes and (segment.is_dirty or segment.writer is None)
            limit_s = min(_OVER_KEEP_S, self._idle_s) if is_over else self._idle_s
            if now_s - segment.idle_since_s >= limit_s:
                warm_bytes -= segment.nbytes
                self._retire(segment)

    def close(self) -> None:
        """Gives back what is idle now, and what is in use as soon as it is not."""
        with self.lock:
            self.lock.count_ended()
            self._is_closed = True
            for segment in list(self._live):
                self._retire(segment)


_NEXT = "Free memory of the machine, and look at the free space of /dev/shm."
