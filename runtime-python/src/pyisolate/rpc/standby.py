"""Standby: idle threads that wait until there is something to read and nobody who reads. Must not know frames or calls.

Waking a thread for every call costs more than a short call itself. So whoever stops reading to run a call only arms the
socket: the kernel wakes one waiting thread if, and only if, something arrives before it is disarmed.
"""

from __future__ import annotations

import os
import select

_ARMED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT


class Standby:
    """The reader's lock must be free when one of the arm methods is called: a thread that wakes tries it only once."""

    def __init__(self, fileno: int) -> None:
        self._socket = fileno
        #: A pipe whose other end is closed is always readable.
        ready, writer = os.pipe()
        os.close(writer)
        self._ready = os.fdopen(ready, "rb", buffering=0)
        self._epoll = select.epoll()
        for each in (self._socket, ready):
            self._epoll.register(each, select.EPOLLONESHOT)

    def arm(self) -> None:
        """Wakes one thread once when the socket has something to read, its end included."""
        self._epoll.modify(self._socket, _ARMED)

    def disarm(self) -> None:
        self._epoll.modify(self._socket, select.EPOLLONESHOT)

    def wake(self) -> None:
        """Wakes one thread now."""
        self._epoll.modify(self._ready, _ARMED)

    def wait(self) -> None:
        self._epoll.poll(maxevents=1)
