"""The pool: what may be had, what is kept warm, what is given back, and that finalizers may run anywhere."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

from pyisolate import PyisolateError
from pyisolate.tensor.arrays import numpy_maker
from pyisolate.tensor.lease import Uses
from pyisolate.tensor.pool import KIB, size_class
from segments import MIB, ROUTES, TIMEOUT_S, machine, open_things, wait_until

NUMPY = {"make": numpy_maker()}


@pytest.fixture(params=ROUTES)
def route(request):
    return request.param


def test_size_classes_are_four_a_doubling():
    assert [size_class(n * KIB) // KIB for n in (1, 128, 129, 161, 193, 225)] == [128, 128, 160, 192, 224, 256]
    for nbytes in range(1, 40 * MIB, 77_777):
        size = size_class(nbytes)
        assert nbytes <= size <= max(128 * KIB, nbytes * 1.25 + 4096) and size % 4096 == 0


def test_a_pack_has_no_more_than_it_may_and_is_told_so(route):
    with machine(route, wait_s=0.1) as m:
        pack = m.start({"give": lambda: numpy.ones(MIB, "uint8")}, max_shm=3 * MIB, **NUMPY)
        kept = [pack.call("give") for _ in range(3)]
        with pytest.raises(PyisolateError) as raised:
            pack.call("give")
        assert raised.value.code == "SHARED_MEMORY_EXHAUSTED"
        for part in ('pack "pack"', str(MIB), str(3 * MIB)):
            assert part in raised.value.message
        kept.pop()
        assert pack.call("give").shape == (MIB,)
        with pytest.raises(PyisolateError) as raised:
            pack.worker.empty((4 * MIB,), "uint8")
        assert raised.value.code == "SHARED_MEMORY_EXHAUSTED"
        assert all((numpy.asarray(each) == 1).all() for each in kept)


def test_what_is_beyond_a_size_class_is_made_to_measure(route):
    with machine(route, wait_s=0.1) as m:
        pack = m.start(max_shm=9 * MIB + 4096, **NUMPY)
        assert pack.worker.empty((9 * MIB,), "uint8").nbytes == 9 * MIB  # its class has 10 MiB


def test_a_pack_waits_until_results_are_released(route):
    with machine(route) as m, ThreadPoolExecutor(1) as threads:
        pack = m.start({"give": lambda: numpy.ones(MIB, "uint8")}, max_shm=2 * MIB, **NUMPY)
        kept = [pack.call("give") for _ in range(2)]
        third = threads.submit(pack.call, "give", timeout=TIMEOUT_S)
        time.sleep(0.05)
        assert not third.done()
        kept.clear()
        assert third.result(TIMEOUT_S).shape == (MIB,)


def test_memory_of_another_size_is_given_up_for_what_is_needed_now(route):
    with machine(route) as m:
        pack = m.start(max_shm=3 * MIB, **NUMPY)
        for nbytes in (3 * MIB, MIB, 2 * MIB, 3 * MIB):
            pack.worker.empty((nbytes,), "uint8")
        assert m.host.stats()["bytes"] <= 3 * MIB


def test_all_packs_and_the_host_share_one_total(route):
    with machine(route, total=4 * MIB, wait_s=0.1) as m:
        first = m.start({"keep": (kept := []).append, "drop": kept.clear}, name="first", **NUMPY)
        second = m.start(name="second", max_shm=64 * MIB, **NUMPY)
        for _ in range(3):
            first.call("keep", numpy.ones(MIB, "uint8"))
        with pytest.raises(PyisolateError) as raised:
            second.worker.empty((2 * MIB,), "uint8")
        assert raised.value.code == "SHARED_MEMORY_EXHAUSTED" and str(4 * MIB) in raised.value.message
        with pytest.raises(PyisolateError):
            second.call("nop", numpy.ones(2 * MIB, "uint8"))
        first.call("drop")
        gc.collect()
        assert second.worker.empty((2 * MIB,), "uint8").nbytes == 2 * MIB  # warm memory of the other is given up


def test_idle_memory_is_given_back(route):
    with machine(route, idle_s=0.1) as m:
        pack = m.start({"give": lambda x: x + 1}, **NUMPY)
        before = open_things()
        back = pack.call("give", numpy.ones(MIB, "uint8"))
        in_use = numpy.asarray(back)
        kept = pack.worker.empty((MIB,), "uint8")
        kept[:] = 7
        time.sleep(0.3)
        assert kept[0] == 7 and (in_use == 2).all()
        del back, in_use, kept
        wait_until(lambda: m.host.stats()["segments"] == 0)
        assert pack.worker._segments == {} and pack.worker._mappings._table == ([], [])
        wait_until(lambda: open_things()[:2] == before[:2])
        assert (numpy.asarray(pack.call("give", numpy.ones(MIB, "uint8"))) == 2).all()


def test_what_a_pack_wrote_that_has_gone_is_given_back_as_soon_as_it_is_released(route):
    with machine(route, idle_s=3600) as m:
        pack = m.start({"give": lambda: numpy.ones(MIB, "uint8")}, **NUMPY)
        kept, unseen = pack.call("give"), pack.call("give")
        seen = numpy.asarray(kept)
        pack.close()
        assert (seen == 1).all()
        del kept, seen
        assert bytes(unseen.data[:1]) == b"\1"
        del unseen
        gc.collect()
        wait_until(lambda: m.host._pool._bytes_of.keys() <= {None})


def test_warm_memory_beyond_what_is_kept_goes_sooner(route):
    with machine(route, keep=2 * MIB, idle_s=3600) as m:
        pack = m.start(**NUMPY)
        for nbytes in (MIB, 4 * MIB, 2 * MIB, 8 * MIB):
            pack.call("nop", numpy.ones(nbytes, "uint8"))
        gc.collect()
        wait_until(lambda: m.host.stats()["warm_bytes"] <= 2 * MIB)


def test_memory_is_used_again_for_the_same_domain_and_a_like_size_only(route):
    with machine(route) as m:
        domain = m.host.domain()
        first, twin, other = (m.start(domain=each, **NUMPY) for each in (domain, domain, None))

        def segments(pack, nbytes):
            pack.call("nop", numpy.ones(nbytes, "uint8"))
            wait_until(lambda: m.host.stats()["bytes"] == m.host.stats()["warm_bytes"])
            return set(pack.tensors._by_segment)

        (own,) = segments(first, MIB)
        assert segments(first, MIB - 100_000) == {own} == segments(twin, MIB)
        (others,) = segments(other, MIB)
        assert others is not own
        assert len(segments(first, 100_000)) == 2  # a small one would waste it
        assert len(segments(first, 9 * MIB)) == 3
        assert len(segments(first, 9 * MIB)) == 3


def test_memory_that_held_a_packs_data_shows_no_other_domain_what_was_there():
    with machine("descriptor") as m:
        first = m.start({"give": lambda: numpy.full(MIB, 0xAA, "uint8")}, **NUMPY)
        second = m.start({"sum": lambda x: int(x.sum())}, **NUMPY)
        for _ in range(3):
            bytes(first.call("give").data)  # snapshots in memory that no pack has seen
            gc.collect()
            wait_until(lambda: m.host._pool._idle)
        for _ in range(3):
            tensor = m.host.empty((900_000,), "uint8")
            assert second.call("sum", tensor) == 0
        seen = list(second.worker._segments.values())
        assert seen and all(bytes(each.idle.mapping.view(0, each.nbytes)) == bytes(each.nbytes) for each in seen)


def test_results_that_nobody_looks_at_cost_no_snapshot_and_much_use_makes_no_more_memory():
    with machine("descriptor", total=16 * MIB) as m:
        pack = m.start({"give": lambda: numpy.full(MIB, 1, "uint8")}, **NUMPY)
        for _ in range(10):
            pack.call("give")
        assert m.host.stats()["bytes"] <= 2 * MIB
        kept = [pack.call("give") for _ in range(10)]
        for each in kept:
            assert (numpy.asarray(each) == 1).all()  # above half the total in ordinary memory
        assert m.host.stats()["bytes"] <= 16 * MIB


def test_the_end_of_a_use_never_waits_for_the_lock():
    seen = []
    uses = Uses(seen.append)
    with uses:
        uses.end(1)  # as a finalizer would, in the middle of whoever has the lock
        assert seen == []
        thread = threading.Thread(target=uses.end, args=[2])
        thread.start()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive() and seen == []
    assert seen == [1, 2]


def test_finalizers_of_many_threads_leave_the_pool_in_order(route):
    """Arrays die in cycles, so that the collector ends their uses anywhere, in threads that hold locks, too."""

    def cycle(x):
        ring = [x]
        ring.append(ring)
        return numpy.full(x.shape, int(x[0]) + 1, "uint8")

    before = gc.get_threshold()
    gc.set_threshold(50)
    try:
        with machine(route) as m, ThreadPoolExecutor(4) as threads:
            pack = m.start({"cycle": cycle}, max_shm=256 * MIB, **NUMPY)

            def work(seed):
                for at in range(25):
                    value = (seed * 25 + at) % 200
                    back = pack.call("cycle", numpy.full(200_000, value, "uint8"), timeout=TIMEOUT_S)
                    ring = [numpy.asarray(back)]
                    ring.append(ring)
                    assert (ring[0] == value + 1).all()

            for each in [threads.submit(work, seed) for seed in range(8)]:
                each.result(TIMEOUT_S)
            gc.collect()
            wait_until(lambda: m.host.stats()["bytes"] == m.host.stats()["warm_bytes"])
            wait_until(lambda: not any(each.uses for each in pack.worker._segments.values()))
    finally:
        gc.set_threshold(*before)
