"""Lease: who holds a segment, until when. By reference: a use lasts while anything that lies in the memory is alive.

So uses end in finalizers, in any thread and in the middle of any code. Must not know where segments come from.
"""

from __future__ import annotations

import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Holding:
    """One use of a segment: of a view, a tensor, or a lease of this side. It ends when nothing refers to it any more.

    Attributes:
        segment: What is used.
    """

    __slots__ = ("__weakref__", "_on_end", "segment")

    def __init__(self, segment: Any, on_end: Callable[[], object]) -> None:
        """`on_end` must wait for nothing."""
        self.segment = segment
        self._on_end = on_end

    def __del__(self) -> None:
        self._on_end()


def keep_until_called(holding: Holding) -> Callable[[], object]:
    """What ends this reference to it when it is called; for leases of this side."""
    return [holding].clear


class Uses:
    """A lock, and the uses that have ended but are not counted yet: whoever has the lock, or gets it next, counts them.

    As a context manager it is the lock.
    """

    def __init__(self, count: Callable[[Any], object]) -> None:
        """`count` is called with the lock for each that has ended; it must wait for nothing."""
        self._count = count
        self._lock = threading.Lock()
        self._ended: deque[Any] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._ended:
            self._count_now()

    def end(self, use: Any) -> None:
        """From anywhere; never waits for the lock."""
        if self._lock.acquire(False):
            try:
                self._count(use)
            finally:
                self._lock.release()
        else:
            self._ended.append(use)
        if self._ended:
            self._count_now()

    def count_ended(self) -> None:
        """With the lock."""
        while self._ended:
            self._count(self._ended.popleft())

    def _count_now(self) -> None:
        while self._ended and self._lock.acquire(False):
            try:
                self.count_ended()
            finally:
                self._lock.release()
