"""Pool: who reads a connection, and in which thread its calls run. Must not know frames or what a call does.

Leader and followers: the thread that holds the read lock leads, it alone receives. When a call comes it lets the lock
go, arms the standby, so that a follower goes on reading if anything arrives, and runs the call itself.
The event loop's thread takes part while the calls are coroutines: it leads whenever it has nothing else to do, starts
them where they were read, and arms the standby for as long as it is busy. Whoever reads a call that belongs to the
other side (a coroutine in a pool thread, a plain function in the loop) hands over the lead with it.
On a side that mostly calls, the threads of the pool only stand by: whoever waits for an answer leads meanwhile.
At any time the lock is held, the standby armed, or the socket watched by an idle loop: somebody reads.
"""

from __future__ import annotations

import threading
from collections import deque

from .standby import Standby

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .calls import Call
    from .frame import FrameReader

    class PoolOwner(Protocol):
        """What the pool serves. All but `run` and the properties are called with the read lock."""

        @property
        def has_ended(self) -> bool:
            """The connection has ended."""

        def receive(self, *, may_wait: bool) -> bool:
            """Receives more bytes; False: the connection has ended, or there are none now."""

        def next_call(self) -> Call | None:
            """The next call among the bytes received, other messages being handled."""

        def run(self, call: Call) -> bool:
            """Runs it, in a pool thread. True: it has promised that this thread reads on."""

        def run_in_loop(self, call: Call) -> bool:
            """Starts it, in the loop's thread; False: it is none that the loop may make."""


#: Threads that may wait for work; more end when their call does.
_IDLE_THREADS = 8


class Pool:
    """
    Attributes:
        is_loop_leading: The loop reads while it is idle.
        is_unguarded: While the loop leads: the standby is disarmed.
        is_single_step: The loop does nothing else in this turn but the first step of one call.
    """

    def __init__(self, fileno: int, reader: FrameReader, owner: PoolOwner) -> None:
        """`reader`: only asked whether it has bytes that `next_call` has not looked at."""
        self._reader = reader
        self._owner = owner
        self._standby = Standby(fileno)
        self._read_lock = threading.Lock()
        #: Guards the counters: threads that serve, and those among them that wait.
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        #: Calls that were read and that the next free thread runs.
        self._backlog: deque[Call] = deque()
        self._do_callers_lead = False
        self.is_loop_leading = False
        self.is_unguarded = False
        self.is_single_step = False

    # ---- threads

    def stand_by(self) -> None:
        """Serves in threads of its own that leave the reading to callers while there are some."""
        self._do_callers_lead = True
        self._standby.arm()
        self.spawn()

    def spawn(self) -> bool:
        """Serves in one more thread; False: none is to be had."""
        try:
            threading.Thread(target=self.serve, kwargs={"is_extra": True}, name="pyisolate-pool", daemon=True).start()
        except RuntimeError:  # the limit of processes and threads is reached
            return False
        return True

    def serve(self, *, is_extra: bool = False) -> None:
        """Serves in this thread until the connection ends; an extra thread returns earlier when there are enough."""
        with self._lock:
            self._threads += 1
        self._serve(is_extra)
        with self._lock:
            self._threads -= 1
        if self._owner.has_ended:
            self._standby.wake()  # each thread that leaves wakes the next

    def _serve(self, is_extra: bool) -> None:
        owner = self._owner
        is_woken = not is_extra
        while not owner.has_ended:
            if self._backlog:
                call = self._take()
            elif (is_woken or not self._is_left_to_others) and self._read_lock.acquire(False):
                self.is_loop_leading = False
                call = self._lead()
                if call is None and self._do_callers_lead:  # all there was is read
                    is_woken = False
                    self._call_follower()
            elif self._wait(is_extra):
                is_woken = True
                continue
            else:
                return
            if call is not None:
                is_woken = owner.run(call)

    def _lead(self) -> Call | None:
        """With the read lock: reads until there is a call to run, and frees the lock.

        None at the end of the connection or, where callers lead, when there is nothing more to read now.
        """
        owner = self._owner
        try:
            while True:
                call = owner.next_call() if self._reader.has_unread else None
                while call is None:
                    if not owner.receive(may_wait=not self._do_callers_lead):
                        return None
                    call = owner.next_call()
                if self._has_follower() or self._threads - self._idle == 1:
                    break
                self._backlog.append(call)  # no thread to be had: whoever is free next runs it
                self._standby.wake()
        finally:
            self._read_lock.release()
        self._call_follower()
        return call

    def _take(self) -> Call | None:
        """A call that another thread has read; makes sure that somebody reads on."""
        try:
            call = self._backlog.popleft()
        except IndexError:
            return None
        if not self._read_lock.locked():
            self._has_follower()
            self._call_follower()
        return call

    def _has_follower(self) -> bool:
        """Whether a thread waits, or is about to."""
        return self._idle > 0 or self.spawn()

    def _call_follower(self) -> None:
        if self._reader.has_unread:
            self._standby.wake()
        else:
            self._standby.arm()

    def _wait(self, is_extra: bool) -> bool:
        """Waits until there may be something to read or to run; False: there are enough threads that do."""
        with self._lock:
            if is_extra and self._idle >= _IDLE_THREADS:
                return False
            self._idle += 1
        self._standby.wait()
        with self._lock:
            self._idle -= 1
        return True

    @property
    def _is_left_to_others(self) -> bool:
        return self.is_loop_leading or self._do_callers_lead

    # ---- callers that wait for an answer

    def take_lead(self) -> Lead | None:
        """This thread, a caller's, reads from here on; None: somebody else does."""
        if not self._do_callers_lead or not self._read_lock.acquire(False):
            return None
        self._standby.disarm()
        return Lead(self)

    def drop_lead(self) -> None:
        self._read_lock.release()
        self._call_follower()

    def lead_for(self, has_news: Callable[[], bool], is_far: Callable[[], bool]) -> None:
        """With the lead: reads until the caller has news, or its deadline is no longer far, or the connection ends."""
        owner = self._owner
        while not has_news() and not owner.has_ended:
            call = owner.next_call() if self._reader.has_unread else None
            if call is None and not has_news():  # what is unread may be a part of a frame
                if not owner.receive(may_wait=True) and not is_far():
                    return
                call = owner.next_call()
            if call is not None:
                self._backlog.append(call)
                self._has_follower()
                self._standby.wake()

    # ---- threads of the pool that answer

    def will_read_on(self) -> Callable[[], object]:
        """This pool thread reads on as soon as it has answered: what the answer brings need not wake another one.

        Gives what to call before waiting for anything.
        """
        self._standby.disarm()
        return self._standby.arm

    def let_loop_lead(self) -> None:
        """This pool thread is about to hand the loop a call that the loop could have started itself."""
        self.is_unguarded = True  # the safe side: the loop arms the standby when it goes on with that call
        self.is_loop_leading = True

    # ---- the event loop's turns, in its thread

    def loop_will_read_on(self) -> Callable[[], object] | None:
        """As `will_read_on`, for the loop's thread; None: something else may come first."""
        if not (self.is_single_step and self.is_loop_leading):
            return None
        self.is_unguarded = True
        before_waiting = self.will_read_on()
        if not self.is_loop_leading:  # a thread has taken the lead meanwhile, and may have armed the standby before
            before_waiting()
            return None
        return before_waiting

    def guard(self, is_idle: bool) -> None:
        """The leading loop is about to wait, or to do something else."""
        self.is_unguarded = is_idle
        if is_idle:
            self._standby.disarm()
        else:
            self._standby.arm()

    def read_in_loop(self, is_alone: bool) -> None:
        """There is something to read: starts the calls. `is_alone`: the loop has nothing else to do in this turn."""
        owner = self._owner
        if not self._read_lock.acquire(False):
            self.is_loop_leading = False  # a thread was faster: it leads from here on
            return
        started = 0
        try:
            if owner.receive(may_wait=False):
                call = owner.next_call()
                while call is not None:
                    if not owner.run_in_loop(call):
                        self.is_loop_leading = False
                        self._backlog.append(call)
                        break
                    started += 1
                    call = owner.next_call() if self._reader.has_unread else None
        finally:
            self._read_lock.release()
        if self.is_loop_leading and (started or not owner.has_ended):
            self.is_single_step = is_alone and started == 1
            self.is_unguarded = False
            self._standby.arm()
        else:
            self.is_loop_leading = False
            self._has_follower()
            self._standby.wake()


class Lead:
    """The lead of a caller's thread, for one call."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool: Pool | None = pool

    def drop(self) -> None:
        """Whoever comes reads on. Dropping twice is fine."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.drop_lead()

    def read_for(self, has_news: Callable[[], bool], is_far: Callable[[], bool]) -> None:
        """Reads, unless it was dropped, until the caller has news, or its deadline is no longer far."""
        if self._pool is not None:
            self._pool.lead_for(has_news, is_far)
