"""The selector of the worker's event loop: while the loop has nothing to do, it reads the connection.

A call that is read here starts in the same turn of the loop, in the same thread. Must not know calls or frames.
Imported only when a loop is made: it pulls in `selectors`.
"""

from __future__ import annotations

import math
import os
from select import epoll
from selectors import EVENT_READ, EpollSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from selectors import SelectorKey

    from .pool import Pool


class LoopSelector(EpollSelector):
    def __init__(self, fileno: int, pool: Pool) -> None:
        """`fileno`: the connection's socket. The loop never hears of it."""
        super().__init__()
        self._socket = fileno
        self._pool = pool
        self._is_watching = False
        #: The same kernel object, to poll without what the base class makes of the events.
        self._epoll = epoll.fromfd(os.dup(self.fileno()))

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        pool = self._pool
        pool.is_single_step = False
        if pool.is_loop_leading is not self._is_watching:
            self._watch(not self._is_watching)
        if not self._is_watching:
            return super().select(timeout)
        is_idle = timeout is None or timeout > 0
        if is_idle is not pool.is_unguarded:
            pool.guard(is_idle)
        events = self._epoll.poll(-1 if timeout is None else math.ceil(max(timeout, 0) * 1e3) * 1e-3, 2)
        if len(events) == 1 and events[0][0] == self._socket:
            pool.read_in_loop(timeout is None)
            return []
        if is_idle:
            pool.guard(False)
        if not events:
            return []
        ready = super().select(0)
        others = [item for item in ready if item[0].fd != self._socket]
        if len(others) < len(ready):
            pool.read_in_loop(False)
        return others

    def _watch(self, is_wanted: bool) -> None:
        if is_wanted:
            self.register(self._socket, EVENT_READ)
        else:
            self.unregister(self._socket)
        self._is_watching = is_wanted
