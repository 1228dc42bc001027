"""Tensors in shared memory, over every route: what is copied, what is not, and that nobody sees what is not theirs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyisolate import PyisolateError, Tensor
from pyisolate.rpc.values import Transfer
from pyisolate.tensor.arrays import numpy_maker
from pyisolate.tensor.dtype import DTYPES
from pyisolate.tensor.host import SegmentMemory
from pyisolate.tensor.pool import KIB
from segments import MIB, ROUTES, TIMEOUT_S, machine, wait_until

NUMPY = {"make": numpy_maker()}
SIZE = (1, 256, 256, 3)


def picture(seed=0, shape=SIZE, dtype="float32"):
    return numpy.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def bytes_copied(pack, *args):
    """The result of a call, and what was copied for its arguments."""
    transfer = Transfer()
    return pack.call(*args, transfer=transfer), transfer.bytes_copied


@pytest.fixture(params=ROUTES)
def shared(request):
    with machine(request.param) as m:
        yield m


# ---- to a pack


def test_ordinary_memory_is_copied_once_and_memory_of_the_pool_never(shared):
    pack = shared.start({"sum": lambda x: float(x.sum())}, **NUMPY)
    x = picture()
    assert bytes_copied(pack, "sum", x) == (float(x.sum()), x.nbytes)
    own = shared.host.empty(SIZE)
    numpy.asarray(own)[...] = x
    copied = 0 if pack.tensors._route.name == "descriptor" else x.nbytes  # such files are never mapped by the host
    for value in (own, numpy.asarray(own), numpy.asarray(own)[0, ::-2]):
        expected = float(numpy.asarray(value).sum())
        assert bytes_copied(pack, "sum", value) == (expected, copied * numpy.asarray(value).nbytes // x.nbytes)


@pytest.mark.parametrize("route", [*ROUTES, "inline"])
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_dtype_there_and_back(route, dtype):
    item_bytes = DTYPES[dtype].item_bytes
    data = os.urandom(200_000 * item_bytes)
    with machine(route) as m:
        pack = m.start(**NUMPY)
        back = pack.call("echo", Tensor(dtype, [2, 100_000], data))
        assert (back.dtype, back.shape, bytes(back.data)) == (dtype, (2, 100_000), data)


def test_a_coroutine_that_sends_waits_in_a_thread_for_memory_that_is_not_there_yet(shared, monkeypatch):
    from pyisolate.tensor import route

    threads = []
    for kind in (route.DescriptorRoute, route.PathRoute):
        make = kind.make
        monkeypatch.setattr(
            kind, "make", lambda *args, make=make: [threads.append(threading.current_thread().name), make(*args)][1]
        )
    pack = shared.start({"sum": lambda x: float(x.sum())}, **NUMPY)
    x = picture()

    async def calls():
        return [await pack.peer.call_async("sum", x) for _ in range(3)]

    assert asyncio.run(calls()) == [float(x.sum())] * 3
    assert threads == ["pyisolate-wait"]


@pytest.mark.parametrize("route", [*ROUTES, "inline"])
def test_small_and_empty_ones_travel_inline(route):
    with machine(route) as m:
        pack = m.start(**NUMPY)
        for shape in ((), (0,), (2, 0, 3), (64 * KIB,)):
            back, copied = bytes_copied(pack, "echo", numpy.ones(shape, "uint8"))
            assert back.shape == shape and copied == numpy.prod(shape) and not isinstance(back.memory, SegmentMemory)


VIEWS = {
    "slice of a batch": lambda x: x[1:3],
    "reversed": lambda x: x[::-1],
    "transposed": lambda x: x.T,
    "every second": lambda x: x[:, ::2],
    "broadcast": lambda x: numpy.broadcast_to(x[:1], (5, *x.shape[1:])),
    "all at once": lambda x: numpy.broadcast_to(
        x[::-1, None, ::-2].swapaxes(0, 3), (3, *x[::-1, None, ::-2].swapaxes(0, 3).shape)
    ),
}


@pytest.mark.parametrize("view", list(VIEWS))
def test_views_of_shared_memory_go_both_ways_without_a_copy(view):
    see = VIEWS[view]
    with machine("descriptor") as m:
        back_copied = []

        def give(x):
            result = pack.worker.empty(x.shape, "float32")
            result[...] = x
            return see(result)

        pack = m.start({"see": lambda x: x.tolist(), "give": give}, **NUMPY)
        own = m.host.empty((4, 64, 48, 3))
        array = numpy.asarray(own)
        array[...] = picture(1, array.shape)
        result, copied = bytes_copied(pack, "see", see(array))
        assert copied == 0 and result == see(array).tolist()
        back = pack.call("give", own)
        assert isinstance(back.memory, SegmentMemory)
        assert (numpy.asarray(back) == see(array)).all() and back_copied == []
        own_segments = [each for each in pack.worker._segments.values() if each.shared is not None]
        assert len(own_segments) == 1  # the result lies where the node wrote it


@pytest.mark.parametrize("view", list(VIEWS))
def test_views_of_other_memory_arrive_as_they_look_and_repeats_are_not_blown_up(shared, view):
    pack = shared.start({"new": lambda x: VIEWS[view](x + 0), "see": lambda x: x.tolist()}, **NUMPY)
    x = picture(2, (4, 64, 48, 3))
    see = VIEWS[view](x)
    result, copied = bytes_copied(pack, "see", see)
    assert result == see.tolist()
    assert copied == see.nbytes // (1 if 0 not in see.strides else {"broadcast": 5, "all at once": 3}[view])
    assert (numpy.asarray(pack.call("new", x)) == see).all()


@st.composite
def layouts(draw):
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    steps = [draw(st.sampled_from([1, 2, -1, -3])) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    repeats = draw(st.sampled_from([0, 1, 3]))
    return shape, steps, order, repeats


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_arrays_of_any_dtype_shape_and_strides_survive_both_ways(any_pack, data):
    shape, steps, order, repeats = data.draw(layouts())
    dtype = data.draw(st.sampled_from([name for name, kind in DTYPES.items() if kind.array_code]))
    whole = [count * abs(step) for count, step in zip(shape, steps)]
    is_large = data.draw(st.booleans())  # some go inline, some do not
    pad = max(1, 100_000 // max(1, int(numpy.prod(shape)) * DTYPES[dtype].item_bytes)) if is_large else 1
    base = numpy.frombuffer(os.urandom(int(numpy.prod(whole)) * pad * DTYPES[dtype].item_bytes), "u1")
    array = base.view(DTYPES[dtype].array_code).reshape(*whole, pad)
    array = array[tuple(slice(None, None, step) for step in steps)].transpose([*order, len(order)])
    if repeats:
        array = numpy.broadcast_to(array, (repeats, *array.shape))
    is_own = data.draw(st.booleans())
    any_pack.make_own = is_own
    back = any_pack.call("again", array)
    assert back.dtype == array.dtype.name and back.shape == array.shape
    assert numpy.ascontiguousarray(numpy.asarray(back)).tobytes() == numpy.ascontiguousarray(array).tobytes()


@pytest.fixture(params=[*ROUTES, "inline"], scope="module")
def any_pack(request):
    def again(x):
        if not pack.make_own:
            return x
        result = pack.worker.empty(x.shape, x.dtype.name)
        result[...] = x
        return result

    with machine(request.param, total=2048 * MIB) as m:
        pack = m.start({"again": again}, max_shm=1024 * MIB, **NUMPY)
        yield pack


# ---- in a pack


def test_what_a_node_writes_into_its_input_stays_its_own_and_is_gone_before_the_memory_is_used_again(shared):
    def spoil(x):
        first = x.copy()
        x[...] = -1
        x[0, :2] = -2
        return float(first.sum())

    pack = shared.start({"spoil": spoil}, **NUMPY)
    for seed in range(5):
        x = picture(seed)
        before = x.copy()
        assert pack.call("spoil", x) == float(x.sum()) and (x == before).all()
    own = shared.host.empty(SIZE)
    for seed in range(5):
        numpy.asarray(own)[...] = picture(seed)
        assert pack.call("spoil", own) == float(picture(seed).sum())
        assert (numpy.asarray(own) == picture(seed)).all()


def test_without_a_pagemap_every_page_counts_as_written(shared):
    from pyisolate.tensor.pages import Pagemap

    pack = shared.start({"spoil": lambda x: [float(x.sum()), x.fill(1)][0]}, **NUMPY)
    pack.call("echo", picture())
    pack.worker._pagemap = Pagemap("/proc/self/none")
    for seed in range(3):
        assert pack.call("spoil", picture(seed)) == float(picture(seed).sum())
    back = pack.call("echo", picture(7))
    assert (numpy.asarray(back) == picture(7)).all()


def test_each_call_has_its_own_view_of_one_tensor(shared):
    entered, go_on = threading.Event(), threading.Event()

    def hold(x):
        x[...] = 5
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        return float(x.sum())

    pack = shared.start({"hold": hold, "sum": lambda x: float(x.sum())}, **NUMPY)
    own = shared.host.empty(SIZE)
    numpy.asarray(own)[...] = 1
    results = []
    thread = threading.Thread(target=lambda: results.append(pack.call("hold", own)))
    thread.start()
    assert entered.wait(TIMEOUT_S)
    assert pack.call("sum", own) == numpy.prod(SIZE)
    go_on.set()
    thread.join(TIMEOUT_S)
    assert results == [5 * numpy.prod(SIZE)]
    wait_until(lambda: not any(each.uses for each in pack.worker._segments.values()))


def test_an_input_that_comes_back_unchanged_is_not_copied_and_a_changed_one_is():
    def touch_last(x):
        x[..., -1] += 1
        return x

    with machine("descriptor") as m:
        pack = m.start({"touch": touch_last, "part": lambda x: x[0, ::-1]}, **NUMPY)
        own = m.host.empty(SIZE)
        numpy.asarray(own)[...] = picture()
        back = pack.call("echo", own)
        assert back.memory.holding.segment is own.memory.holding.segment
        part = pack.call("part", own)
        assert part.memory.holding.segment is own.memory.holding.segment and part.strides[0] == -768
        changed = pack.call("touch", own)
        assert changed.memory.holding.segment is not own.memory.holding.segment
        expected = picture()
        expected[..., -1] += 1
        assert (numpy.asarray(changed) == expected).all() and (numpy.asarray(own) == picture()).all()


def test_elements_that_lie_between_their_places_are_copied():
    """The wire gives offsets in whole elements."""

    def between():
        whole = pack.worker.empty((4 * 100_000 + 4,), "uint8")
        whole[:] = numpy.arange(len(whole)) % 256
        return whole[1:-3].view("float32")

    with machine("descriptor") as m:
        pack = m.start({"between": between, "sum": lambda x: x.tobytes()}, **NUMPY)
        expected = bytes(range(256)) * 1563
        assert bytes(pack.call("between").data) == expected[1:400_001]
        own = m.host.empty((400_004,), "uint8")
        own.data[:] = expected[:400_004]
        x = numpy.asarray(own)[1:-3].view("float32")
        assert bytes_copied(pack, "sum", x) == (expected[1:400_001], 400_000)


def test_memory_for_results_is_used_again_when_both_sides_have_let_it_go(shared):
    kept = []

    def give(x):
        result = pack.worker.empty(SIZE)
        result[...] = x
        if x == 0:
            kept.append(result)
        return result

    pack = shared.start({"give": give}, **NUMPY)

    def slots():
        return {each.number for each in pack.worker._segments.values() if each.shared is not None}

    first = pack.call("give", 0)
    del first
    second = pack.call("give", 1)
    assert len(slots()) == 2  # the pack still has the first
    kept.clear()
    for value in range(2, 8):
        third = pack.call("give", value)
        assert (numpy.asarray(third) == value).all() and (numpy.asarray(second) == 1).all()
    assert len(slots()) == 2
    del second, third
    wait_until(lambda: len(pack.worker._free) == 2)


def test_results_that_are_not_written_in_place_use_warm_memory_too(shared):
    pack = shared.start({"half": lambda x: x / 2}, **NUMPY)
    for seed in range(6):
        assert (numpy.asarray(pack.call("half", picture(seed))) == picture(seed) / 2).all()
        gc.collect()
        wait_until(lambda: pack.worker._free)
    assert len([each for each in pack.worker._segments.values() if each.shared is not None]) == 1


def test_empty_gives_what_the_pack_works_with():
    from pyisolate import empty

    array = empty((2, 3), "int16")  # outside of a worker
    assert array.shape == (2, 3) and array.dtype == "int16"
    assert empty(5).shape == empty(numpy.int64(5)).shape == (5,) and empty(5).dtype == "float32"
    for dtype in (array.dtype, numpy.int16, "int16"):
        assert empty(numpy.array([4, 2]), dtype).dtype == "int16"
    assert empty((2,), numpy.bool_).dtype == "bool"
    with machine("descriptor") as m:
        pack = m.start()
        small, large = pack.worker.empty((4,), "bool"), pack.worker.empty((MIB,), "bfloat16")
        assert type(small) is type(large) is Tensor and large.nbytes == 2 * MIB
        large.data[:4] = b"abcd"
        assert bytes(large.data[:4]) == b"abcd"
        assert len([each for each in pack.worker._segments.values() if each.shared is not None]) == 1
        with pytest.raises(PyisolateError) as raised:
            pack.worker.empty((1,), "float31")
        assert raised.value.code == "TENSOR_INVALID"


# ---- from a pack, and between packs


def test_host_code_sees_one_snapshot_which_the_pack_cannot_change_any_more():
    kept = []

    def give():
        result = pack.worker.empty(SIZE)
        result[...] = 1
        kept.append(result)
        return result

    with machine("descriptor") as m:
        pack = m.start({"give": give, "change": lambda: kept[0].fill(2)}, **NUMPY)
        back = pack.call("give")
        assert bytes(back.data[:4]) == b"\0\0\x80\x3f"
        pack.call("change")
        assert (numpy.asarray(back) == 1).all()


@pytest.mark.parametrize(("trusts", "seen"), [(False, 1), (True, 2)])
def test_who_trusts_a_pack_looks_directly_and_read_only(trusts, seen):
    kept = []

    def give():
        result = pack.worker.empty(SIZE)
        result[...] = 1
        kept.append(result)
        return result

    with machine("descriptor") as m:
        pack = m.start({"give": give, "change": lambda: kept[0].fill(2)}, trust_memory=trusts, **NUMPY)
        back = pack.call("give")
        array = numpy.asarray(back)
        assert array.flags.writeable is not trusts
        pack.call("change")
        assert (array == seen).all()
        del back
        again = pack.call("give")
        assert (array == seen).all() and again is not None  # an array keeps the lease


def test_inside_a_domain_results_go_on_without_a_copy_and_outside_with_one(shared):
    domain = shared.host.domain()
    first = shared.start({"make": lambda: make(first)}, domain=domain, name="first", **NUMPY)
    second = shared.start({"sum": lambda x: float(x.sum())}, domain=domain, name="second", **NUMPY)
    other = shared.start({"sum": lambda x: float(x.sum())}, name="other", **NUMPY)

    def make(pack):
        result = pack.worker.empty(SIZE)
        result[...] = 3
        return result

    result = first.call("make")
    total = 3.0 * numpy.prod(SIZE)
    assert bytes_copied(second, "sum", result) == (total, 0)
    assert bytes_copied(first, "echo", result)[1] == 0  # back to its writer
    back = second.call("echo", result)
    assert back.memory.holding.segment is result.memory.holding.segment
    assert bytes_copied(other, "sum", result) == (total, result.nbytes)
    assert bytes_copied(other, "sum", result) == (total, 0)  # the snapshot is seen from now on
    assert (numpy.asarray(result) == 3).all() and (numpy.asarray(back) == 3).all()


def test_what_a_pack_wrote_is_not_reused_while_another_reads_it(shared):
    domain = shared.host.domain()
    kept = []
    first = shared.start({"make": lambda value: make(value)}, domain=domain, **NUMPY)
    second = shared.start({"keep": kept.append, "drop": kept.clear}, domain=domain, **NUMPY)

    def make(value):
        result = first.worker.empty(SIZE)
        result[...] = value
        return result

    second.call("keep", first.call("make", 1))
    gc.collect()
    for value in range(2, 5):
        first.call("make", value)
    assert (kept[0] == 1).all()
    second.call("drop")
    wait_until(lambda: len(first.worker._free) == len(first.worker._segments))


def test_memory_of_the_host_stays_with_the_first_domain_that_it_was_sent_to():
    with machine("descriptor") as m:
        first, second = (m.start(name=name, **NUMPY) for name in ("first", "second"))
        own = m.host.empty(SIZE)
        own.data[:4] = b"abcd"
        copied = [bytes_copied(pack, "nop", own)[1] for pack in (first, second, second, first)]
        assert copied == [0, own.nbytes, own.nbytes, 0]
        own.data[:4] = b"efgh"
        assert bytes(first.call("echo", own).data[:4]) == bytes(second.call("echo", own).data[:4]) == b"efgh"


def test_a_file_is_seen_in_the_directory_of_each_pack_that_has_it_and_in_no_other():
    with machine("path") as m:
        domain = m.host.domain()
        first, second, other = (m.start(domain=domain, **NUMPY) for _ in range(3))
        result = first.call("echo", picture() + 1)
        second.call("nop", result)
        (name,) = os.listdir(second.directory)
        assert name in os.listdir(first.directory) and os.listdir(other.directory) == []
        second.close()
        wait_until(lambda: os.listdir(second.directory) == [])
        assert name in os.listdir(first.directory)
        del result
        m.host.close()
        first.close()
        wait_until(lambda: os.listdir(first.directory) == [])


def test_what_a_reader_gives_back_keeps_the_memory_of_its_writer(shared):
    domain = shared.host.domain()
    first = shared.start({"make": lambda value: numpy.full(SIZE, value, "float32")}, domain=domain, **NUMPY)
    second = shared.start(domain=domain, **NUMPY)
    back = second.call("echo", first.call("make", 1))
    gc.collect()
    for value in range(2, 5):
        first.call("make", value)
    assert (numpy.asarray(back) == 1).all()


def test_a_pack_that_gets_its_own_result_cannot_change_it_for_others(shared):
    def spoil(x):
        x[...] = 9

    pack = shared.start({"make": lambda: make(), "spoil": spoil}, **NUMPY)

    def make():
        result = pack.worker.empty(SIZE)
        result[...] = 1
        return result

    result = pack.call("make")
    pack.call("spoil", result)
    assert (numpy.asarray(result) == 1).all()


def test_released_tensors_are_an_error_and_their_arrays_stay(shared):
    pack = shared.start(**NUMPY)
    back = pack.call("echo", picture())
    array = numpy.asarray(back)
    unseen = pack.call("echo", picture())
    for tensor in (back, unseen):
        tensor.release()
        for read in (lambda tensor=tensor: tensor.data, tensor.tolist, lambda tensor=tensor: pack.call("echo", tensor)):
            with pytest.raises(PyisolateError) as raised:
                read()
            assert raised.value.code == "TENSOR_RELEASED"
    assert (array == picture()).all()
    del array
    wait_until(lambda: not any(each.leases for each in pack.tensors._attachments.values()))


def test_results_outlive_their_pack(shared):
    domain = shared.host.domain()
    pack = shared.start({"make": lambda x: x * 2}, domain=domain, **NUMPY)
    second = shared.start({"sum": lambda x: float(x.sum())}, domain=domain, **NUMPY)
    seen, unseen, other = (pack.call("make", picture(seed)) for seed in range(3))
    assert seen.data.nbytes == seen.nbytes
    pack.close()
    if hasattr(pack, "directory"):
        for name in os.listdir(pack.directory):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(pack.directory, name))
    assert (numpy.asarray(seen) == picture(0) * 2).all() and (numpy.asarray(unseen) == picture(1) * 2).all()
    assert second.call("sum", other) == float(picture(2).sum()) * 2
