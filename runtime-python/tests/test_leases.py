"""Leases and segments: when they end, who is told, and that finalizers may let them go anywhere."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from peers import TIMEOUT_S, Gate, connected
from pyisolate.errors import PyisolateError
from pyisolate.rpc.kinds import ATTACHMENT_BYTES, RELEASE, Limits
from pyisolate.rpc.outbox import Outbox
from pyisolate.rpc.values import MustWait, Transfer
from test_outbox import in_threads


class Thing:
    """A value that travels as nothing but a lease. The receiver's is released when it is collected."""


class Things:
    """A ValueExtension; `ended` has an entry for each lease of this side that ended."""

    tags = frozenset({"$thing"})

    def __init__(self):
        self.opened = 0
        self.ended = []
        self.came = threading.Semaphore(0)
        self.releases = []
        self.attached = []
        self.wanted_back = []
        self.must_wait = False
        self.threads = []

    def encode(self, value, sink):
        if not isinstance(value, Thing):
            return NotImplemented
        self.threads.append(threading.current_thread().name)
        if self.must_wait and not sink.may_wait:
            raise MustWait
        self.opened += 1
        sink.copied(5, "route")
        return {"$thing": sink.lease(self._on_end)}

    def _on_end(self):
        self.ended.append(None)
        self.came.release()

    def decode(self, tag, payload, source):
        thing = Thing()
        release = source.hold(payload)
        self.releases.append(release)
        weakref.finalize(thing, release)
        return thing

    def on_attach(self, id, nbytes, writable, path):
        self.attached.append((id, nbytes, writable, path))

    def on_give_back(self, id):
        self.wanted_back.append(id)
        self.came.release()

    def wait(self, count=1):
        for _ in range(count):
            assert self.came.acquire(timeout=TIMEOUT_S)


def test_a_lease_ends_when_the_last_view_is_gone_and_the_call_has_run():
    ours, theirs = Things(), Things()
    kept = []
    methods = {"drop": lambda thing: None, "keep": kept.append}
    with connected({}, methods, left={"extension": ours}, right={"extension": theirs}) as (host, _):
        transfer = Transfer()
        host.call("drop", Thing(), transfer=transfer)
        ours.wait()  # nothing else is sent or received that could have brought it
        assert (transfer.bytes_copied, transfer.routes) == (5, ["route"])
        host.call("keep", Thing())
        assert len(ours.ended) == 1
        kept.clear()
        ours.wait()
        for release in theirs.releases:
            release()
        host.call("drop", 1)
        assert len(ours.ended) == 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_coroutine_lets_its_args_go_when_it_has_run(fails):
    async def drop(thing):
        await asyncio.sleep(0)
        if fails:
            raise ValueError("no")

    ours = Things()
    gc.disable()  # what only the collector frees would come late
    try:
        with connected({}, {"drop": drop}, left={"extension": ours}, right={"extension": Things()}) as (host, _):
            for _ in range(3):
                if fails:
                    with pytest.raises(PyisolateError):
                        host.call("drop", Thing())
                else:
                    host.call("drop", Thing())
                ours.wait()
    finally:
        gc.enable()


def test_results_and_events_carry_leases_too():
    from pyisolate.rpc.calls import current_call

    def give():
        current_call.get().event("preview", Thing())
        return [Thing()]

    ours, theirs = Things(), Things()
    seen = []
    with connected({}, {"give": give}, left={"extension": ours}, right={"extension": theirs}) as (host, _):
        value = host.call("give", on_event=lambda name, data: seen.append(data))
        assert isinstance(value[0], Thing) and isinstance(seen[0], Thing) and not theirs.ended
        del value
        seen.clear()
        theirs.wait(2)


@pytest.mark.parametrize("what", ["no wire form", "attachments", "text"])
def test_leases_of_a_message_that_is_not_sent_end_at_once(what):
    rest = {"no wire form": object(), "attachments": bytes(1000), "text": "x" * 2**24}[what]
    ours, theirs = Things(), Things()

    def give():
        return [Thing(), rest]

    left = {"extension": ours, "limits": Limits(message_bytes=100)}
    right = {"extension": theirs, "limits": Limits(message_bytes=100)}
    with connected({}, {"give": give}, left=left, right=right) as (host, _):
        for args in (("keep", [Thing(), rest]), ("give",)):
            with pytest.raises(PyisolateError) as raised:
                host.call(*args)
            assert raised.value.code == "VALUE_UNSUPPORTED"
        assert (ours.opened, len(ours.ended)) == (1, 1)
        theirs.wait()
        assert (theirs.opened, len(theirs.ended)) == (1, 1)


def test_a_call_that_never_had_its_turn_ends_its_leases():
    ours, gate = Things(), Gate()
    with (
        connected({}, {"wait": gate.wait}, left={"extension": ours}, right={"limits": Limits(calls=1)}) as (host, _),
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(host.call, "wait")
        assert gate.reached.wait(TIMEOUT_S)
        with pytest.raises(PyisolateError):
            host.call("wait", Thing(), timeout=0.01)
        assert (ours.opened, len(ours.ended)) == (1, 1)
        gate.opened.set()
        first.result(TIMEOUT_S)


def test_leases_end_once_when_the_connection_ends():
    ours, theirs, kept = Things(), Things(), []
    with connected({}, {"keep": kept.append}, left={"extension": ours}, right={"extension": theirs}) as (host, worker):
        host.call("keep", Thing())
        worker.close()
        ours.wait()
        kept.clear()
        with pytest.raises(PyisolateError):
            host.call("keep", Thing())
    assert len(ours.ended) == ours.opened == 2  # the one that was opened too late ends at once


def test_the_answer_of_a_coroutine_that_must_wait_is_encoded_in_another_thread():
    async def give():
        return Thing()

    async def call():
        return await host.call_async("keep", Thing(), timeout=TIMEOUT_S)

    ours, theirs = Things(), Things()
    ours.must_wait = theirs.must_wait = True
    methods = {"give": give, "keep": lambda thing: None}
    with connected({}, methods, left={"extension": ours}, right={"extension": theirs}) as (host, _):
        assert isinstance(host.call("give", timeout=TIMEOUT_S), Thing)
        assert theirs.threads == ["pyisolate-loop", "pyisolate-wait"]
        asyncio.run(call())
        assert ours.threads[1:] == ["pyisolate-wait"]
        assert ours.opened == theirs.opened == 1


def test_a_release_from_a_finalizer_of_a_thread_that_sends_leaves_with_that_thread():
    frames = []
    owed = deque()
    release = bytes(8) + bytes([RELEASE, 0, 0, 0, 9, 0, 0, 0])

    class Transport:
        def send_now(self, frame):
            frames.append(frame[8])
            if frame[8] != RELEASE:
                owed.append(release)
                outbox.flush()  # as a finalizer would, in the middle of the thread's own sending

        def send(self, parts):
            self.send_now(parts[0])

    outbox = Outbox(Transport(), owed)
    (thread,) = in_threads(
        lambda: [outbox.send(8, 0, 0, b""), outbox.send(2, 0, 1, b"{}", [memoryview(bytes(ATTACHMENT_BYTES + 1))])]
    )
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    assert frames == [8, RELEASE, 2, RELEASE, 2, RELEASE]


def test_a_release_waits_for_no_reader():
    """The system takes only a part of what is owed: a thread goes on, and keeps the order."""
    sent, gate = [], Gate()

    class Full:
        def send_now(self, frame):
            return memoryview(frame)[3:]

        def send(self, parts):
            gate.wait()
            sent.extend(bytes(part) for part in parts)

    owed = deque([b"owed frame"])
    outbox = Outbox(Full(), owed)
    outbox.flush()
    assert gate.reached.wait(TIMEOUT_S)
    (sender,) = in_threads(lambda: outbox.send(8, 0, 0, b""))
    owed.append(b"another")
    outbox.flush()
    assert sent == []
    gate.opened.set()
    sender.join(TIMEOUT_S)
    for _ in range(1000):
        if len(sent) == 3:
            break
        threading.Event().wait(0.01)
    assert sent[0] == b"d frame" and len(sent) == 3


# ---- segments

FEATURES = ("segments",)


def test_a_segment_is_there_before_the_message_that_names_it_and_ends_when_the_worker_releases_it():
    things, seen, released = Things(), [], threading.Event()
    methods = {"seen": lambda id: seen.append((id, list(things.attached)))}
    left, right = {"features": FEATURES}, {"features": FEATURES, "extension": things, "is_stoppable": True}
    with connected({}, methods, left=left, right=right) as (host, worker):
        host.call("seen", 0)
        assert host.has_feature("segments") and worker.has_feature("segments") and not host.has_feature("dial")
        id = host.attach(8192, True, "s1", on_released=released.set)
        host.call("seen", id)
        assert seen[-1] == (id, [(id, 8192, True, "s1")])
        host.give_back(id)
        host.give_back(id)
        things.wait()
        assert not released.is_set()
        worker.release(id)
        worker.release(id)
        assert released.wait(TIMEOUT_S)
        host.give_back(id)
        host.call("seen", 0)
        assert things.wanted_back == [id]


def test_a_segment_ends_once_when_the_connection_ends():
    released = []
    left, right = {"features": FEATURES}, {"features": FEATURES, "extension": Things(), "is_stoppable": True}
    with connected({}, {"nop": lambda: None}, left=left, right=right) as (host, _):
        host.call("nop")
        host.attach(4096, False, on_released=lambda: released.append(1))
        host.close()
        assert released == [1]
        with pytest.raises(PyisolateError) as raised:
            host.attach(4096, False, on_released=lambda: released.append(2))
        assert raised.value.code == "PEER_CLOSED" and released == [1]


@pytest.mark.parametrize(("near", "far"), [(FEATURES, ()), ((), FEATURES), (FEATURES, ("other",))])
def test_segments_need_the_feature_on_both_sides(near, far):
    with connected({}, {"nop": lambda: None}, left={"features": near}, right={"features": far}) as (host, worker):
        host.call("nop")
        assert not host.has_feature("segments") and not worker.has_feature("segments")
        with pytest.raises(PyisolateError) as raised:
            host.attach(4096, False, on_released=lambda: None)
        assert raised.value.code == "VALUE_UNSUPPORTED"
