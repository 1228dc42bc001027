"""One asyncio loop in a thread of its own, made (and asyncio imported) when the first coroutine comes.

Must not know calls.
"""

from __future__ import annotations

import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any


class LoopThread:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: AbstractEventLoop | None = None

    def get(self) -> AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None:
                import asyncio

                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="pyisolate-loop", daemon=True).start()
            return self._loop

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine, which must not raise, in a task with a copy of this thread's context."""
        loop = self.get()
        loop.call_soon_threadsafe(_make_task, loop, coroutine)

    def call_soon(self, function: Callable[[], object]) -> None:
        self.get().call_soon_threadsafe(function)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Waits, blocking this thread, for the result. Must not be called in the loop's own thread."""
        import asyncio

        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.get()).result()


def _make_task(loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> Any:
    if sys.version_info < (3, 12):
        return loop.create_task(coroutine)
    import asyncio

    return asyncio.Task(coroutine, loop=loop, eager_start=True)
