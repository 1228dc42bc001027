"""One asyncio loop in a thread of its own, made (and asyncio imported) when the first coroutine comes.

Must not know calls.
"""

from __future__ import annotations

import threading
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from .pool import Pool


class LoopThread:
    """
    Attributes:
        make_task: Runs a coroutine in a task; from the loop's own thread only, as the next one.
    """

    make_task: Callable[[Coroutine[Any, Any, None]], Any]

    def __init__(self, fileno: int, pool: Pool) -> None:
        """`fileno`: the socket that the loop reads for the pool when it is idle."""
        self._fileno = fileno
        self._pool = pool
        self._lock = threading.Lock()
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None:
                import asyncio

                from .loop_selector import LoopSelector

                self._loop = asyncio.SelectorEventLoop(LoopSelector(self._fileno, self._pool))
                self.make_task = partial(asyncio.Task, loop=self._loop, name="pyisolate-call")
                self._thread = threading.Thread(target=self._loop.run_forever, name="pyisolate-loop", daemon=True)
                self._thread.start()
            return self._loop

    @property
    def is_current(self) -> bool:
        """This thread is the loop's."""
        return threading.current_thread() is self._thread

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls it in the loop's thread; from any thread."""
        self.get().call_soon_threadsafe(function, *arguments)

    @staticmethod
    async def run_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs what may block in a thread of its own, for a coroutine on any loop."""
        import asyncio
        from concurrent.futures import Future

        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        future.set_running_or_notify_cancel()  # a cancelled coroutine leaves the thread alone
        threading.Thread(target=run, name="pyisolate-wait", daemon=True).start()
        return await asyncio.wrap_future(future)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Waits, blocking this thread, for the result. Must not be called in the loop's own thread."""
        import asyncio

        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.get()).result()
