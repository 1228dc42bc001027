"""Streams: the items of one call, from a generator to the wire and from the wire to an iterator. A slow consumer stops
the producer and nobody else. Must not know sockets or sessions.
"""

from __future__ import annotations

import threading
from types import AsyncGeneratorType, GeneratorType

from ..errors import PyisolateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from typing import Any

    from .calls import Call
    from .loop import LoopThread
    from .outgoing import Deadline, ThreadMailbox


class Credits:
    """How many items of one stream may be sent before its consumer takes one. From any thread."""

    __slots__ = ("_left", "_limit", "_lock", "_wake")

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None

    def has_room(self, wake: Callable[[], object]) -> bool:
        """One item may be sent; False: `wake` is called when it is worth asking again."""
        with self._lock:
            if self._left == 0:
                self._wake = wake
            return self._left > 0

    def spend(self) -> None:
        """An item is about to be sent."""
        with self._lock:
            self._left -= 1

    def give(self) -> bool:
        """The consumer has taken an item; False: none was on its way."""
        with self._lock:
            if self._left == self._limit:
                return False
            self._left += 1
        self.wake()
        return True

    def wake(self) -> None:
        """Makes a producer that waits ask again."""
        with self._lock:
            wake, self._wake = self._wake, None
        if wake is not None:
            wake()


def is_stream(value: Any) -> bool:
    return isinstance(value, (GeneratorType, AsyncGeneratorType))


def produce(call: Call, generator: Generator[Any, None, Any]) -> Any:
    """Sends the items, in a thread that may wait; gives what the generator returns."""
    credits = call.peer.open_stream(call)
    is_free = threading.Event()
    try:
        while True:
            while not credits.has_room(is_free.set):
                _stop_if_cancelled(call)
                is_free.wait()
                is_free.clear()
            _stop_if_cancelled(call)
            try:
                item = next(generator)
            except StopIteration as end:
                return end.value
            credits.spend()
            call.peer.send_item(call, item)
    finally:
        generator.close()


async def produce_async(call: Call, generator: AsyncIterator[Any], loop: LoopThread) -> None:
    """As `produce`, in the event loop. A cancel arrives as CancelledError."""
    import asyncio

    credits = call.peer.open_stream(call)
    is_free = asyncio.Event()
    try:
        while True:
            while not credits.has_room(lambda: loop.call_soon(is_free.set)):
                await is_free.wait()
                is_free.clear()
            try:
                item = await generator.__anext__()
            except StopAsyncIteration:
                return
            credits.spend()
            await call.peer.send_item_async(call, item)
    finally:
        await generator.aclose()  # type: ignore[attr-defined]


async def produce_anywhere(call: Call, stream: Any, loop: LoopThread) -> Any:
    """As `produce`, in the event loop, for whichever kind of generator it is."""
    if hasattr(stream, "__anext__"):
        await produce_async(call, stream, loop)
        return None
    return await loop.run_in_thread(produce, call, stream)


def _stop_if_cancelled(call: Call) -> None:
    if call.is_cancelled:
        raise PyisolateError("CALL_CANCELLED", "the stream stopped because its call was cancelled")


class Item:
    """News for a consumer: one item."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def consume(mailbox: ThreadMailbox, deadline: Deadline, take: Callable[[], object]) -> Generator[Any, None, Any]:
    """The items as they come; returns the last value. `take` says that one was taken.

    Raises: PyisolateError as a call does.
    """
    while True:
        news = mailbox.get(deadline)
        if deadline.remaining() == 0.0:  # items that wait would never let it end
            raise deadline.error()
        if not isinstance(news, Item):
            return news
        take()
        yield news.value
