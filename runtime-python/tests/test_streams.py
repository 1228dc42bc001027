"""Streams: items in order, credits that let a slow consumer stop its producer and nobody else, and how they end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from peers import TIMEOUT_S, connected
from pyisolate.errors import PyisolateError
from pyisolate.rpc.calls import cancelled
from pyisolate.rpc.kinds import Limits


def count(to):
    yield from range(to)
    return "end"


async def count_async(to):
    for value in range(to):
        await asyncio.sleep(0)
        yield value


async def count_later(to):
    await asyncio.sleep(0)
    return count(to)


METHODS = {"count": count, "count_async": count_async, "count_later": count_later, "echo": lambda value: value}


def collect(stream):
    items = []
    while True:
        try:
            items.append(next(stream))
        except StopIteration as end:
            return items, end.value


@pytest.mark.parametrize(("method", "last"), [("count", "end"), ("count_async", None), ("count_later", "end")])
def test_items_come_in_order_then_the_last_value(method, last):
    with connected({}, METHODS, left={"limits": Limits(items=3)}) as (host, _):
        for size in (500, 0, 1):
            assert collect(host.call_stream(method, size)) == (list(range(size)), last)
        assert host.call(method, 100) == last  # an ordinary call drops the items
        assert collect(host.call_stream("echo", 7)) == ([], 7)


def endless(made, ended):
    def sync_one():
        try:
            while True:
                made.append(1)
                yield len(made)
        finally:
            ended.set()

    async def async_one():
        try:
            while True:
                made.append(1)
                yield len(made)
        finally:
            ended.set()

    return {"sync": sync_one, "async": async_one, "echo": lambda value: value}


@pytest.mark.parametrize("method", ["sync", "async"])
def test_a_slow_consumer_stops_the_producer_and_nobody_else(method):
    made, ended = [], threading.Event()
    with connected({}, endless(made, ended), left={"limits": Limits(items=5)}) as (host, _):
        stream = host.call_stream(method)
        assert next(stream) == 1
        for _ in range(100):
            host.call("echo", 1)
        assert len(made) in (5, 6)
        assert next(stream) == 2
        for _ in range(100):
            host.call("echo", 1)
        assert len(made) in (6, 7)
        stream.close()
        assert ended.wait(TIMEOUT_S)
        assert host.call("echo", 1, timeout=TIMEOUT_S) == 1


@pytest.mark.parametrize("method", ["sync", "async"])
def test_the_end_of_the_connection_ends_the_producer(method):
    made, ended = [], threading.Event()
    with connected({}, endless(made, ended)) as (host, _):
        stream = host.call_stream(method)
        next(stream)
        host.close()
        assert ended.wait(TIMEOUT_S)
        with pytest.raises(PyisolateError):
            collect(stream)


@pytest.mark.parametrize("method", ["sync", "async"])
def test_a_timeout_ends_a_stream(method):
    made, ended = [], threading.Event()
    with connected({}, endless(made, ended)) as (host, _):
        host.call("echo", 1)
        stream = host.call_stream(method, timeout=0.5)
        with pytest.raises(PyisolateError) as raised:
            for _ in stream:
                threading.Event().wait(0.02)
        assert raised.value.code == "CALL_TIMEOUT"
        assert ended.wait(TIMEOUT_S)


def test_what_the_method_raises_comes_after_its_items():
    def failing():
        yield 1
        raise KeyError("two")

    async def failing_async():
        yield 1
        raise KeyError("two")

    def bad():
        yield object()

    with connected({}, {"failing": failing, "failing_async": failing_async, "bad": bad}) as (host, _):
        for method in ("failing", "failing_async"):
            stream = host.call_stream(method)
            assert next(stream) == 1
            with pytest.raises(PyisolateError) as raised:
                next(stream)
            assert raised.value.remote.type == "KeyError"
        with pytest.raises(PyisolateError) as raised:
            collect(host.call_stream("bad"))
        assert raised.value.code == "VALUE_UNSUPPORTED"


def test_a_caller_that_accepts_no_items_is_told_so():
    with connected({}, METHODS, left={"limits": Limits(items=0)}) as (host, _):
        for method in ("count", "count_async"):
            with pytest.raises(PyisolateError) as raised:
                host.call(method, 3)
            assert raised.value.code == "VALUE_UNSUPPORTED"


def test_a_generator_can_ask_whether_it_is_cancelled():
    entered, seen = threading.Event(), threading.Event()

    def waits():
        yield 1
        entered.set()
        while not cancelled():
            threading.Event().wait(0.005)
        seen.set()

    with connected({}, {"waits": waits}) as (host, _):
        stream = host.call_stream("waits")
        next(stream)
        assert entered.wait(TIMEOUT_S)
        stream.close()
        assert seen.wait(TIMEOUT_S)
