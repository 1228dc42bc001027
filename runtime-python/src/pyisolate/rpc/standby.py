"""Standby: idle threads that wait until there is something to read and nobody who reads. Must not know frames or calls.

Waking a thread for every call costs more than a short call itself. So whoever stops reading to run a call only arms the
socket: the kernel wakes one waiting thread if, and only if, something arrives before it is disarmed.
"""

from __future__ import annotations

import os
import select
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ARMED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT


class Standby:
    """
    Attributes:
        arm: Wakes one thread once when the socket has something to read, its end included. The reader's lock must be
            free: a thread that wakes tries it only once.
        disarm: Takes that back.
    """

    def __init__(self, fileno: int) -> None:
        #: A pipe whose other end is closed is always readable.
        ready, writer = os.pipe()
        os.close(writer)
        self._ready = os.fdopen(ready, "rb", buffering=0)
        self._epoll = select.epoll()
        for each in (fileno, ready):
            self._epoll.register(each, select.EPOLLONESHOT)
        self.arm: Callable[[], None] = partial(self._epoll.modify, fileno, _ARMED)
        self.disarm: Callable[[], None] = partial(self._epoll.modify, fileno, select.EPOLLONESHOT)

    def wake(self) -> None:
        """Wakes one thread now."""
        self._epoll.modify(self._ready, _ARMED)

    def wait(self) -> None:
        self._epoll.poll(maxevents=1)
