"""Peers: calls both ways over a real socket."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyisolate
from peers import TIMEOUT_S, Gate, connected
from pyisolate.errors import PyisolateError, RemoteException
from pyisolate.rpc.calls import current_call
from pyisolate.rpc.kinds import ATTACHMENT_BYTES, Limits
from pyisolate.rpc.outgoing import Deadline, ThreadMailbox


def code_of(function, *args, **options) -> str:
    with pytest.raises(PyisolateError) as raised:
        function(*args, **options)
    return raised.value.code


def test_sync_and_async_methods_answer():
    async def add_later(a, b):
        await asyncio.sleep(0)
        return a + b

    with connected({}, {"add": lambda a, b: a + b, "add_later": add_later}) as (host, _):
        assert host.call("add", 1, 2) == 3
        assert host.call("add_later", "a", "b") == "ab"


def test_many_calls_in_flight_each_get_their_own_answer():
    async def echo_later(value):
        await asyncio.sleep(0.001)
        return value

    with (
        connected({}, {"echo": lambda value: value, "echo_later": echo_later}) as (host, _),
        ThreadPoolExecutor(32) as pool,
    ):
        for method in ("echo", "echo_later"):
            assert list(pool.map(lambda n, method=method: host.call(method, n), range(500))) == list(range(500))


def test_a_slow_call_delays_no_other():
    gate = Gate()

    async def sleep():
        await asyncio.sleep(3600)

    methods = {"slow": gate.wait, "sleep": sleep, "quick": lambda: "quick"}
    with connected({}, methods) as (host, _), ThreadPoolExecutor(2) as pool:
        slow = pool.submit(host.call, "slow")
        sleeping = pool.submit(host.call, "sleep", timeout=0.5)
        assert gate.reached.wait(TIMEOUT_S)
        assert [host.call("quick") for _ in range(100)] == ["quick"] * 100
        assert not slow.done()
        gate.opened.set()
        slow.result(TIMEOUT_S)
        assert sleeping.exception(TIMEOUT_S).code == "CALL_TIMEOUT"


def test_functions_that_block_delay_no_coroutine_and_no_other_function():
    gate = Gate()

    async def quick_async():
        await asyncio.sleep(0)
        return 1

    methods = {"block": gate.wait, "quick": lambda: 1, "quick_async": quick_async}
    with connected({}, methods) as (host, _), ThreadPoolExecutor(60) as pool:
        blocked = [pool.submit(host.call, "block") for _ in range(60)]
        assert gate.reached.wait(TIMEOUT_S)
        for method in ("quick_async", "quick") * 50:
            assert host.call(method, timeout=TIMEOUT_S) == 1
        assert not any(each.done() for each in blocked)
        gate.opened.set()
        for each in blocked:
            each.result(TIMEOUT_S)


def test_calls_nest_both_ways_from_threads_and_from_coroutines():
    def down(depth):
        peer = current_call.get().peer
        return depth if depth == 0 else peer.call("down", depth - 1, timeout=TIMEOUT_S) + 1

    async def down_async(depth):
        peer = current_call.get().peer
        return depth if depth == 0 else await peer.call_async("down_async", depth - 1, timeout=TIMEOUT_S) + 1

    methods = {"down": down, "down_async": down_async}
    with connected(methods, methods) as (host, worker):
        assert host.call("down", 40, timeout=TIMEOUT_S) == 40
        assert worker.call("down_async", 40, timeout=TIMEOUT_S) == 40


def test_call_async_works_on_any_loop_and_its_cancellation_reaches_the_method():
    cancelled = threading.Event()
    gate = Gate()

    async def sleep():
        gate.reached.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    with connected({}, {"echo": lambda value: value, "sleep": sleep}) as (host, _):

        async def main():
            assert await host.call_async("echo", 5) == 5
            task = asyncio.ensure_future(host.call_async("sleep"))
            while not gate.reached.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(PyisolateError) as raised:
                await host.call_async("sleep", timeout=0.01)
            assert raised.value.code == "CALL_TIMEOUT"

        asyncio.run(main())
        assert cancelled.wait(TIMEOUT_S)


def test_a_sync_method_may_ask_whether_its_call_was_cancelled():
    asked, gate = [], Gate()

    def wait_for_cancel():
        for _ in range(2000):
            if pyisolate.cancelled():
                asked.append(True)
                gate.opened.set()
                raise InterruptedError
            threading.Event().wait(0.005)

    with connected({}, {"wait": wait_for_cancel, "quick": lambda: pyisolate.cancelled()}) as (host, _):
        assert code_of(host.call, "wait", timeout=0.05) == "CALL_TIMEOUT"
        assert gate.opened.wait(TIMEOUT_S)
        assert asked == [True]
        assert host.call("quick") is False


def test_a_deadline_that_is_almost_over_does_not_wait_for_ever():
    for timeout in [0.0, 1e-9, 1e-6, 1e-5] * 200:
        with pytest.raises(PyisolateError) as raised:
            ThreadMailbox().get(Deadline("m", timeout))
        assert raised.value.code == "CALL_TIMEOUT"


def test_errors_keep_type_text_args_traceback_and_causes():
    def fail(text):
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError(text, b"x", 2**70) from error

    with connected({}, {"fail": fail}) as (host, _), pytest.raises(PyisolateError) as raised:
        host.call("fail", "äö")
    error = raised.value
    assert error.code == "REMOTE_ERROR"
    assert '"fail" raised ValueError: ' in error.message
    assert (error.remote.type, error.remote.args) == ("ValueError", ["äö", "b'x'", 2**70])
    assert "raise ValueError(text, b" in error.remote.traceback and "inner" in error.remote.traceback
    assert os.sep + os.path.join("pyisolate", "rpc") not in error.remote.traceback
    assert (error.remote.cause.type, error.remote.cause.args) == ("KeyError", ["inner"])


@pytest.mark.parametrize("fatal", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_ends_only_its_call(fatal):
    def leave():
        raise fatal

    async def leave_later():
        raise fatal

    with connected({}, {"leave": leave, "leave_later": leave_later, "quick": lambda: 1}) as (host, _):
        assert code_of(host.call, "leave") == code_of(host.call, "leave_later") == "REMOTE_ERROR"
        assert host.call("quick") == 1


def test_our_own_errors_keep_their_code_and_what_they_tell_of():
    def refuse():
        raise PyisolateError("NODE_UNKNOWN", "no node")

    def fail():
        raise PyisolateError("NODE_FAILED", "x", remote=RemoteException("ValueError", "bad", ["bad"], "trace"))

    with connected({}, {"refuse": refuse, "fail": fail}) as (host, _):
        with pytest.raises(PyisolateError, match=r"^no node$") as raised:
            host.call("refuse")
        assert raised.value.code == "NODE_UNKNOWN"
        with pytest.raises(PyisolateError) as raised:
            host.call("fail")
        remote = raised.value.remote
        assert (raised.value.code, remote.type, remote.message, remote.traceback) == (
            "NODE_FAILED",
            "ValueError",
            "bad",
            "trace",
        )


def test_an_unknown_method_a_wrong_count_of_args_and_values_without_form():
    with connected({}, {"one": lambda a: object()}, right={"limits": Limits(calls=1)}) as (host, _):
        assert code_of(host.call, "none") == "METHOD_UNKNOWN"
        assert code_of(host.call, "one") == "REMOTE_ERROR"
        assert code_of(host.call, "one", 1) == "VALUE_UNSUPPORTED"
        assert code_of(host.call, "one", object()) == "VALUE_UNSUPPORTED"
        assert code_of(host.call, "one", "x" * (17 << 20)) == "VALUE_UNSUPPORTED"
        with pytest.raises(PyisolateError) as raised:  # what was not sent takes no place
            host.call("one", 1, timeout=TIMEOUT_S)
        assert raised.value.code == "VALUE_UNSUPPORTED"


def test_long_messages_go_both_ways_at_once_and_let_others_pass():
    data = bytes(range(256)) * (3 * ATTACHMENT_BYTES // 256) + b"end"
    with connected({}, {"echo": lambda *args: list(args)}) as (host, _), ThreadPoolExecutor(6) as pool:
        long = [pool.submit(host.call, "echo", data, n) for n in range(4)]
        assert [host.call("echo", n) for n in range(50)] == [[n] for n in range(50)]
        assert [each.result(TIMEOUT_S) for each in long] == [[data, n] for n in range(4)]


def test_a_caller_waits_rather_than_exceed_the_limit_of_the_other_side():
    gate, running = Gate(), []

    def wait():
        running.append(1)
        gate.wait()

    with (
        connected({}, {"wait": wait}, right={"limits": Limits(calls=2)}) as (host, worker),
        ThreadPoolExecutor(5) as pool,
    ):
        calls = [pool.submit(host.call, "wait") for _ in range(5)]
        assert gate.reached.wait(TIMEOUT_S)
        assert code_of(host.call, "wait", timeout=0.05) == "CALL_TIMEOUT"
        assert len(running) <= 2
        gate.opened.set()
        for call in calls:
            call.result(TIMEOUT_S)
        assert worker.ended is None and len(running) == 5


def test_more_attachment_bytes_than_the_other_side_accepts_are_refused_by_the_sender():
    methods = {"echo": lambda value: value, "make": lambda count: bytes(count)}
    with connected(
        {}, methods, left={"limits": Limits(message_bytes=64)}, right={"limits": Limits(message_bytes=64)}
    ) as (host, _):
        assert host.call("echo", bytes(64)) == bytes(64)
        assert code_of(host.call, "echo", bytes(65)) == "VALUE_UNSUPPORTED"
        assert code_of(host.call, "make", 65) == "VALUE_UNSUPPORTED"


def test_progress_reaches_the_caller_in_order_and_ends_with_the_call():
    seen, late = [], []

    def work():
        late.append(current_call.get())
        for value in range(3):
            pyisolate.progress(value, 3)

    async def work_later():
        await asyncio.sleep(0)
        pyisolate.progress(1, 1)

    with connected({}, {"work": work, "work_later": work_later}) as (host, _):
        host.call("work", on_event=lambda name, data: seen.append((name, data["value"])))
        host.call("work_later", on_event=lambda name, data: seen.append((name, data["value"])))
        late[0].event("progress", None)
        assert host.call("work") is None
    assert seen == [("progress", 0), ("progress", 1), ("progress", 2), ("progress", 1)]
    pyisolate.progress(1, 2)  # outside a call: nothing happens


def test_the_end_of_the_stream_ends_every_call_and_cancels_what_runs():
    gate, ends = Gate(), []
    sleeping, noticed, told = threading.Event(), threading.Event(), threading.Event()

    async def sleep():
        sleeping.set()
        try:
            await asyncio.sleep(3600)
        finally:
            noticed.set()

    def on_end(error):
        ends.append(error)
        told.set()

    with connected({}, {"wait": gate.wait, "sleep": sleep}, right={"on_end": on_end}) as (host, worker):
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(host.call, method) for method in ("wait", "sleep")]
            assert gate.reached.wait(TIMEOUT_S) and sleeping.wait(TIMEOUT_S)
            host._transport._socket.shutdown(2)
            assert {call.exception(TIMEOUT_S).code for call in calls} == {"PEER_BROKEN"}
        assert noticed.wait(TIMEOUT_S) and told.wait(TIMEOUT_S)
        gate.opened.set()
        assert code_of(host.call, "wait") == "PEER_BROKEN"
        assert [error.code for error in ends] == ["PEER_BROKEN"]
        assert worker.ended is ends[0]


def test_closing_gives_the_callers_of_this_side_closed():
    gate = Gate()
    with connected({}, {"wait": gate.wait}) as (host, _), ThreadPoolExecutor(1) as pool:
        call = pool.submit(host.call, "wait")
        assert gate.reached.wait(TIMEOUT_S)
        host.close()
        assert call.exception(TIMEOUT_S).code == "PEER_CLOSED"
        gate.opened.set()


def test_a_violation_ends_the_connection_with_its_code():
    with connected({}, {}) as (host, worker):
        host.call_error = code_of(host.call, "none")
        host._transport.send([b"\xff" * 16])
        for _ in range(1000):
            if worker.ended is not None:
                break
            threading.Event().wait(0.005)
        assert worker.ended.code == "PROTOCOL_VIOLATION"


def test_threads_are_given_back_when_many_calls_have_ended():
    with (
        connected({}, {"wait": lambda gate_open: threading.Event().wait(0.05)}) as (host, _),
        ThreadPoolExecutor(40) as pool,
    ):
        list(pool.map(lambda _: host.call("wait", 0), range(40)))
        host.call("wait", 0)
        for _ in range(200):
            count = sum(thread.name == "pyisolate-pool" for thread in threading.enumerate())
            if count <= 24:
                break
            threading.Event().wait(0.02)
        assert count <= 24


def test_without_a_thread_to_be_had_calls_wait_for_one_that_is_free(monkeypatch):
    with connected({}, {"echo": lambda value: value, "sleep": lambda: threading.Event().wait(0.05)}) as (host, worker):
        assert host.call("echo", 1) == 1  # the worker has two threads now
        monkeypatch.setattr(worker._pool, "spawn", lambda: False)
        with ThreadPoolExecutor(8) as pool:
            sleeping = [pool.submit(host.call, "sleep", timeout=TIMEOUT_S) for _ in range(4)]
            assert [host.call("echo", n, timeout=TIMEOUT_S) for n in range(20)] == list(range(20))
            assert all(call.result(TIMEOUT_S) is False for call in sleeping)
