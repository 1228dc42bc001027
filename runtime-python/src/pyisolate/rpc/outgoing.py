"""Calls of this side that wait for their turn and their answer. Must not know sockets or sessions."""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections import deque

from ..errors import PyisolateError
from .streams import Item

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .caller import OnEvent


class Outgoing:
    """One call of ours.

    Attributes:
        id: 0 until the other side has room for the call.
        put: Hands news to whoever waits: OPENED when the id is there, the Items of a stream, then one (is_value, value
            or error).
        takes_items: Its caller wants a stream.
    """

    __slots__ = ("id", "is_abandoned", "is_sent", "method", "on_event", "put", "takes_items")

    def __init__(
        self, method: str, put: Callable[[Any], object], on_event: OnEvent | None, takes_items: bool = False
    ) -> None:
        self.id = 0
        self.method = method
        self.put = put
        self.on_event = on_event
        self.takes_items = takes_items
        self.is_sent = False
        self.is_abandoned = False


OPENED = object()


#: Seconds that a caller's thread waits for bytes before it looks at its deadline.
WAIT_S = 0.1


class Deadline:
    """What remains of a time limit in seconds; None: no limit."""

    __slots__ = ("_end", "_method", "_timeout")

    def __init__(self, method: str, timeout: float | None) -> None:
        self._method = method
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def is_far(self) -> bool:
        """There is time for a receive that waits its longest."""
        return self._end is None or self._end - time.monotonic() > WAIT_S

    def error(self) -> PyisolateError:
        return PyisolateError("CALL_TIMEOUT", f'"{self._method}" gave no result within {self._timeout} s')


class ThreadMailbox:
    """News for a thread that blocks.

    Not a SimpleQueue: its `get` may wait for ever when next to nothing is left of its timeout.
    """

    __slots__ = ("_news", "_signal")

    def __init__(self) -> None:
        self._news: deque[Any] = deque()
        #: Let go by whoever brings news, while it is held.
        self._signal = allocate_lock()
        self._signal.acquire()

    def put(self, news: Any) -> None:
        self._news.append(news)
        try:
            self._signal.release()
        except RuntimeError:
            pass  # other news let it go

    def has_news(self) -> bool:
        return bool(self._news)

    def get(self, deadline: Deadline) -> Any:
        """Raises: PyisolateError CALL_TIMEOUT; what the news is when it is an error."""
        while not self._news:
            remaining = deadline.remaining()
            if not self._signal.acquire(True, -1 if remaining is None else remaining) and not self._news:
                raise deadline.error()
        return open_news(self._news.popleft())


class LoopMailbox:
    """News for a coroutine on any asyncio loop."""

    __slots__ = ("_loop", "_news")

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, news: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    async def get(self, deadline: Deadline) -> Any:
        """Raises: PyisolateError CALL_TIMEOUT; what the news is when it is an error; CancelledError."""
        import asyncio

        try:
            return open_news(await asyncio.wait_for(self._news.get(), deadline.remaining()))
        except asyncio.TimeoutError:
            raise deadline.error() from None


def open_news(news: Any) -> Any:
    if news is OPENED:
        return None
    if isinstance(news, Item):
        return news
    is_value, content = news
    if is_value:
        return content
    raise content
