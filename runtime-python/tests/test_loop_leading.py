"""The event loop's thread reads the connection while calls are coroutines; nothing may hang or wait because of that."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from peers import TIMEOUT_S, Gate, connected
from pyisolate.errors import PyisolateError


async def echo(value):
    return value


def let_loop_lead(host, worker):
    """Calls coroutines until the loop reads; now and then a thread is faster."""
    end = time.monotonic() + TIMEOUT_S
    while not worker._pool.is_loop_leading:
        assert host.call("echo", 1, timeout=TIMEOUT_S) == 1
        assert time.monotonic() < end


def led(methods, **options):
    """A worker whose methods but those that start with "sync" only make coroutines, and a host."""
    options["makes_coroutine"] = lambda method, args: not method.startswith("sync")
    return connected({}, {"echo": echo, "sync": lambda: threading.current_thread().name, **methods}, right=options)


def test_the_loop_reads_as_long_as_calls_are_coroutines_and_a_thread_otherwise():
    async def where():
        return threading.current_thread().name

    with led({"where": where}) as (host, worker):
        for _ in range(3):
            let_loop_lead(host, worker)
            assert [host.call("where") for _ in range(3)] == ["pyisolate-loop"] * 3
            assert [host.call("sync") for _ in range(3)] == ["pyisolate-pool"] * 3
            assert not worker._pool.is_loop_leading


def test_while_a_coroutine_blocks_the_loop_plain_calls_are_answered_and_cancels_seen():
    gate, calls = Gate(), []

    async def block():
        calls.extend(worker._calls.values())
        gate.wait()

    with led({"block": block}) as (host, worker):
        let_loop_lead(host, worker)
        with pytest.raises(PyisolateError) as raised:
            host.call("block", timeout=0.05)
        assert raised.value.code == "CALL_TIMEOUT"
        assert [host.call("sync", timeout=TIMEOUT_S) for _ in range(20)] == ["pyisolate-pool"] * 20
        assert calls[0].is_cancelled
        gate.opened.set()
        assert host.call("echo", 2, timeout=TIMEOUT_S) == 2


@pytest.mark.parametrize("delay", [0, 0.01])
def test_what_a_coroutine_leaves_to_the_loop_delays_no_plain_call(delay):
    gate = Gate()

    async def leave():
        asyncio.get_running_loop().call_later(delay, gate.wait)

    with led({"leave": leave}) as (host, worker):
        let_loop_lead(host, worker)
        host.call("leave", timeout=TIMEOUT_S)
        assert gate.reached.wait(TIMEOUT_S)
        assert host.call("sync", timeout=TIMEOUT_S) == "pyisolate-pool"
        gate.opened.set()


def test_a_slow_plain_call_delays_no_coroutine():
    gate = Gate()
    with led({"sync_slow": gate.wait}) as (host, worker):
        let_loop_lead(host, worker)
        slow = threading.Thread(target=host.call, args=["sync_slow"])
        slow.start()
        assert gate.reached.wait(TIMEOUT_S)
        assert [host.call("echo", n, timeout=TIMEOUT_S) for n in range(50)] == list(range(50))
        gate.opened.set()
        slow.join(TIMEOUT_S)


def test_both_kinds_at_once_each_get_their_own_answer():
    async def echo_later(value):
        await asyncio.sleep(0.0005 * (value % 3))
        return value

    def ask(start):
        for n in range(start, start + 200):
            method = ("echo", "sync_echo", "echo_later")[n % 3]
            assert host.call(method, n, timeout=TIMEOUT_S) == n
        done.append(start)

    done = []
    with led({"echo_later": echo_later, "sync_echo": lambda value: value}) as (host, _):
        threads = [threading.Thread(target=ask, args=[start]) for start in range(0, 1600, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert sorted(done) == list(range(0, 1600, 200))


def test_a_call_that_raises_before_there_is_a_coroutine_is_answered():
    with led({}) as (host, worker):
        for _ in range(2):
            let_loop_lead(host, worker)
            with pytest.raises(PyisolateError, match="TypeError"):
                host.call("echo", 1, 2, timeout=TIMEOUT_S)


@pytest.mark.parametrize("size", [100_000, 9 << 20])
def test_long_values_come_and_go_through_the_loop(size):
    with led({}) as (host, worker):
        for value in ("x" * min(size, 1 << 20), bytes(size)):
            let_loop_lead(host, worker)
            assert host.call("echo", value, timeout=TIMEOUT_S) == value


def test_the_end_is_told_outside_of_the_loop_and_lets_all_threads_go():
    told, before = [], threading.active_count()

    def on_end(error):
        told.append((error.code, threading.current_thread().name, worker.loop.run(echo(7))))

    with led({}, on_end=on_end) as (host, worker):
        let_loop_lead(host, worker)
        host.close()
        end = time.monotonic() + TIMEOUT_S
        while not told or threading.active_count() > before + 1:  # the loop's own thread stays
            assert time.monotonic() < end
            time.sleep(0.001)
    ((code, thread, value),) = told
    assert (code, value) == ("PEER_BROKEN", 7) and thread != "pyisolate-loop"


def test_timers_and_descriptors_of_the_loop_work_while_it_reads():
    async def pipe():
        loop, (reader, writer) = asyncio.get_running_loop(), os.pipe()
        future = loop.create_future()
        loop.add_reader(reader, lambda: (loop.remove_reader(reader), future.set_result(True)))
        loop.call_later(0.01, os.write, writer, b"x")
        return await asyncio.wait_for(future, TIMEOUT_S)

    with led({"pipe": pipe}) as (host, worker):
        for _ in range(3):
            assert host.call("pipe", timeout=TIMEOUT_S) is True
            let_loop_lead(host, worker)


class Switches:
    """A standby that only remembers; the lead is taken by a thread right before it is disarmed."""

    def __init__(self, pool):
        self.is_armed = True
        self._pool = pool

    def arm(self):
        self.is_armed = True

    def disarm(self):
        self._pool.is_loop_leading = False
        self.is_armed = False


def test_a_loop_that_lost_the_lead_leaves_the_standby_armed():
    with led({}) as (_, worker):
        pool = worker._pool
        pool._standby, real = Switches(pool), pool._standby
        pool.is_single_step = pool.is_loop_leading = True
        assert pool.loop_will_read_on() is None
        assert pool._standby.is_armed
        pool._standby = real


def test_a_thread_that_answers_while_the_loop_is_stuck_reads_on():
    gate, stuck = Gate(), Gate()

    async def block():
        stuck.wait()

    with led({"sync_wait": gate.wait, "block": block}) as (host, _):
        waiting = threading.Thread(target=host.call, args=["sync_wait"], daemon=True)
        waiting.start()
        assert gate.reached.wait(TIMEOUT_S)
        blocked = threading.Thread(target=host.call, args=["block"], daemon=True)
        blocked.start()
        assert stuck.reached.wait(TIMEOUT_S)
        gate.opened.set()
        waiting.join(TIMEOUT_S)
        for _ in range(20):
            assert host.call("sync", timeout=TIMEOUT_S) == "pyisolate-pool"
        stuck.opened.set()
        blocked.join(TIMEOUT_S)
