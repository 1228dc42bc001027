"""Workers and hosts that lie about shared memory: nothing but what they were given is touched, nothing crashes."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import struct

import numpy
import pytest

from pyisolate import PyisolateError, Tensor
from pyisolate.rpc.kinds import RELEASE
from pyisolate.tensor.arrays import numpy_maker
from pyisolate.tensor.descriptors import DescriptorReceiver, DescriptorSender
from pyisolate.tensor.worker import WorkerTensors
from segments import MIB, TIMEOUT_S, machine, wait_until

NUMPY = {"make": numpy_maker()}
HUGE = 2**53 - 1
F_GET_SEALS = 1034
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_FUTURE_WRITE = 1, 2, 4, 16
FLOATS = {"dtype": "float32", "shape": [1024], "offset": 0}


class Claim:
    """Goes as the payload of a tensor, whatever it says. LEASE stands for a new lease of the sender."""

    LEASE = object()

    def __init__(self, **payload):
        self.payload = {"lease": Claim.LEASE, **FLOATS, **payload}


class Liar(WorkerTensors):
    """A worker that says what it likes."""

    def encode(self, value, sink):
        if not isinstance(value, Claim):
            return super().encode(value, sink)
        payload = dict(value.payload)
        if payload.get("lease") is Claim.LEASE:
            payload["lease"] = sink.lease(lambda: None)
        return {"$tensor": payload}


def liar(m, **options):
    """Its methods: `claim` gives what `claims` holds, `segments` the numbers of its own and of its inputs."""
    claims = []
    pack = m.start({"claim": lambda *_: claims.pop()}, worker=Liar, **NUMPY, **options)
    pack.claims = claims
    return pack


def own_segment(pack) -> int:
    """A segment that it may write, with 1 MiB."""
    array = pack.worker.empty((MIB,), "uint8")
    (number,) = [each.number for each in pack.worker._segments.values() if each.shared is not None]
    del array
    return number


def ends_as_violation(pack, *args):
    with pytest.raises(PyisolateError) as raised:
        pack.call("claim", *args, timeout=TIMEOUT_S)
    assert raised.value.code == "PROTOCOL_VIOLATION"
    assert pack.peer.ended is raised.value
    return raised.value.message


LIES = {
    "an offset beyond the end": {"offset": MIB},
    "an offset so that the last element is cut": {"offset": MIB - 4096 + 4},
    "a negative offset": {"offset": -4},
    "an offset between elements": {"offset": 2},
    "an offset that is no integer": {"offset": 4.5},
    "an offset that is a truth": {"offset": True},
    "a huge offset": {"offset": HUGE},
    "one element too many": {"shape": [MIB // 4 + 1]},
    "more elements than can be counted": {"shape": [HUGE]},
    "more elements than can be counted, in all": {"shape": [2**31, 2**31, 2**31]},
    "a negative count": {"shape": [-1]},
    "a count that is no integer": {"shape": [1.5]},
    "a count that is a truth": {"shape": [True]},
    "a shape that is no list": {"shape": 4},
    "too many axes": {"shape": [1] * 33},
    "strides that go below the start": {"strides": [-1]},
    "strides that go beyond the end": {"strides": [1024]},
    "huge strides": {"strides": [HUGE]},
    "strides that cancel out": {"shape": [2, 2], "strides": [HUGE, -HUGE]},
    "too few strides": {"strides": []},
    "strides that are no integers": {"strides": [1.5]},
    "strides that are nothing": {"strides": None},
    "strides that are a text": {"strides": "1"},
    "another dtype than fits": {"dtype": "complex128", "shape": [65537]},
    "an unknown dtype": {"dtype": "object"},
    "a dtype that is no text": {"dtype": ["float32"]},
    "no dtype": {"dtype": None},
    "a segment that is no number": {"segment": "1"},
    "a segment that is a truth": {"segment": True},
    "a segment that nobody has": {"segment": 4_000_000_000},
    "no lease": {"lease": 0},
    "a negative lease": {"lease": -1},
    "a lease that is no number": {"lease": "1"},
    "a lease beyond all ids": {"lease": 2**32},
    "a key too many": {"nbytes": 4096},
    "an attachment as well": {"attachment": 0},
}


@pytest.mark.parametrize("lie", list(LIES))
@pytest.mark.parametrize("route", ["descriptor", "path"])
def test_a_worker_that_lies_about_a_tensor_is_cut_off(route, lie):
    with machine(route) as m:
        pack = liar(m)
        pack.claims.append(Claim(**{"segment": own_segment(pack), **LIES[lie]}))
        ends_as_violation(pack)


@pytest.mark.parametrize("missing", ["dtype", "shape", "offset", "lease"])
def test_a_tensor_that_lacks_a_key_is_a_violation(missing):
    with machine() as m:
        pack = liar(m)
        claim = Claim(segment=own_segment(pack))
        del claim.payload[missing]
        pack.claims.append(claim)
        ends_as_violation(pack)


def test_what_it_may_name_it_may():
    with machine() as m:
        pack = liar(m)
        number = own_segment(pack)
        for fine in (
            {},
            {"offset": MIB - 4096},
            {"shape": [MIB // 4]},
            {"strides": [-1], "offset": 4092},
            {"shape": [0]},
        ):
            pack.claims.append(Claim(segment=number, **fine))
            assert isinstance(pack.call("claim"), Tensor)


def test_one_lease_twice_is_a_violation():
    with machine() as m:
        pack = liar(m)
        number = own_segment(pack)
        pack.claims.append([Claim(segment=number, lease=77), Claim(segment=number, lease=77)])
        ends_as_violation(pack)


def test_an_input_may_be_named_only_while_it_is_leased():
    with machine() as m:
        pack = liar(m)
        x = numpy.ones(MIB, "uint8")
        kept = []
        pack.worker_peer._methods["keep"] = kept.append
        pack.call("keep", x)
        (number,) = pack.worker._segments
        pack.claims.append(Claim(segment=number))
        back = pack.call("claim")
        assert bytes(back.data[:4]) == b"\1\1\1\1"
        kept.clear()
        wait_until(lambda: not pack.tensors._attachments[number].leases)
        pack.claims.append(Claim(segment=number))
        assert "nor leased" in ends_as_violation(pack)


def test_the_segment_of_another_pack_cannot_be_named():
    with machine() as m:
        victim, thief = m.start(name="victim", **NUMPY), liar(m, name="thief")
        kept = victim.worker.empty((MIB,), "uint8")
        for number in range(1, 20):
            if number not in thief.tensors._attachments:
                thief.claims.append(Claim(segment=number))
        ends_as_violation(thief)
        assert victim.call("nop") is None and kept.nbytes == MIB


def test_releases_that_are_not_its_own_to_make_change_nothing():
    with machine() as m:
        kept = []
        pack, other = m.start({"keep": kept.append}, **NUMPY), liar(m)
        pack.call("keep", numpy.ones(MIB, "uint8"))
        for id in (*range(1, 200), 2**32 - 1):
            other.worker_peer._outbox.send(RELEASE, 0, id, b"")
        assert other.call("nop") is None
        assert any(each.leases for each in pack.tensors._attachments.values())
        assert (kept[0] == 1).all()


def test_a_release_twice_or_before_its_time_only_harms_the_worker_itself():
    with machine() as m:
        pack = liar(m)
        seen = []
        pack.worker_peer._methods["early"] = lambda x: [release_all(pack), seen.append(int(x.sum()))][0]
        for value in range(4):
            pack.call("early", numpy.full(MIB, value, "uint8"))
        own = m.host.empty((MIB,), "uint8")
        own.data[:] = b"\5" * MIB
        assert pack.call("early", own) is None and bytes(own.data) == b"\5" * MIB


def release_all(pack):
    for _ in range(2):
        for attachment in list(pack.tensors._attachments.values()):
            pack.worker_peer._outbox.send(RELEASE, 0, attachment.number, b"")
        for id in range(1, 60):
            pack.worker_peer._outbox.send(RELEASE, 0, id, b"")


@pytest.mark.parametrize("nbytes", [0, -1, True, 1.5, "4096", None, 2**53, 2**70])
def test_an_allocation_of_no_size_is_an_error_of_the_call(nbytes):
    with machine() as m:
        pack = m.start(**NUMPY)
        with pytest.raises(PyisolateError) as raised:
            pack.worker_peer.call("allocate", nbytes)
        assert raised.value.code == "TENSOR_INVALID"
        with pytest.raises(PyisolateError) as raised:
            pack.worker_peer.call("allocate", 2**53 - 1)
        assert raised.value.code == "SHARED_MEMORY_EXHAUSTED"
        assert m.host.stats()["segments"] == 0 and pack.call("nop") is None


def test_without_the_feature_there_is_nothing_to_name_and_nothing_to_allocate():
    with machine("inline") as m:
        pack = liar(m)
        with pytest.raises(PyisolateError) as raised:
            pack.worker_peer.call("allocate", 4096)
        assert raised.value.code == "METHOD_UNKNOWN"
        pack.claims.append(Claim(segment=1))
        ends_as_violation(pack)


def test_never_releasing_ends_in_a_clear_error_for_who_sends():
    with machine(total=4 * MIB, wait_s=0.05) as m:
        hoard = []
        pack = m.start({"keep": hoard.append}, **NUMPY)
        with pytest.raises(PyisolateError) as raised:
            for _ in range(10):
                pack.call("keep", numpy.ones(MIB, "uint8"))
        assert raised.value.code == "SHARED_MEMORY_EXHAUSTED" and len(hoard) == 4


# ---- what the kernel holds a worker to


def descriptor_of(pack, is_own) -> int:
    (found,) = [each for each in pack.worker._segments.values() if (each.shared is not None) is is_own]
    return found.descriptor


def refused():
    return pytest.raises((OSError, ValueError))


def test_a_segment_can_neither_be_cut_nor_grown_and_an_input_not_written():
    with machine() as m:
        kept = []
        pack = m.start({"keep": kept.append}, **NUMPY)
        x = m.host.empty((MIB,), "uint8")
        pack.call("keep", x)
        kept.append(pack.worker.empty((MIB,), "uint8"))
        for is_own in (True, False):
            descriptor = descriptor_of(pack, is_own)
            for size in (0, 4096, 16 * MIB):
                with refused():
                    os.ftruncate(descriptor, size)
            with refused():
                os.posix_fallocate(descriptor, 0, 16 * MIB)
            seals = fcntl.fcntl(descriptor, F_GET_SEALS)
            assert seals == SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | (0 if is_own else SEAL_FUTURE_WRITE)
            assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        with refused():
            os.pwrite(descriptor, b"x", 0)
        with refused():
            mmap.mmap(descriptor, MIB)
        with contextlib.suppress(OSError), open(f"/proc/self/fd/{descriptor}", "r+b") as again, refused():
            os.pwrite(again.fileno(), b"x", 0)
        assert bytes(x.data[:4]) == bytes(4)


def test_a_reader_of_another_packs_result_gets_a_descriptor_to_read_with():
    with machine() as m:
        domain, kept = m.host.domain(), []
        first = m.start({"give": lambda: first.worker.empty((MIB,), "uint8")}, domain=domain, **NUMPY)
        second = m.start({"keep": kept.append}, domain=domain, **NUMPY)
        second.call("keep", first.call("give"))
        descriptor = descriptor_of(second, False)
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        with refused():
            mmap.mmap(descriptor, MIB)


def test_a_hole_in_what_a_pack_wrote_reads_as_zeros():
    from pyisolate.tensor.memory import free_pages

    with machine() as m:
        pack = m.start({"give": lambda: numpy.ones(MIB, "uint8")}, **NUMPY)
        back = pack.call("give")
        free_pages(descriptor_of(pack, True), MIB)
        assert bytes(back.data) == bytes(MIB)


def test_a_file_that_was_cut_is_an_error_of_the_tensor():
    with machine("path") as m:
        pack = m.start({"give": lambda: numpy.ones(MIB, "uint8")}, **NUMPY)
        other = m.start(**NUMPY)
        for use in (lambda tensor: tensor.data, lambda tensor: other.call("nop", tensor)):
            back = pack.call("give")
            for segment in pack.worker._segments.values():
                os.ftruncate(segment.descriptor, 5000)
            with pytest.raises(PyisolateError) as raised:
                use(back)
            assert raised.value.code == "TENSOR_INVALID" and "cut to 5000" in raised.value.message
            for segment in pack.worker._segments.values():
                os.ftruncate(segment.descriptor, segment.nbytes)
        assert other.call("nop") is None


def test_a_byte_on_the_descriptor_socket_ends_the_connection():
    with machine() as m:
        pack = m.start(**NUMPY)
        pack.worker_end.send(b"x")
        with pytest.raises(PyisolateError) as raised:
            pack.call("nop", numpy.ones(MIB, "uint8"))
        assert raised.value.code == "PROTOCOL_VIOLATION" and pack.peer.has_ended


def test_a_worker_that_takes_no_descriptors_blocks_nobody():
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sender = DescriptorSender(ours)
    with open(os.devnull, "rb") as file, pytest.raises(PyisolateError) as raised:
        for number in range(100_000):
            sender.send(number, 4096, file.fileno())
    assert raised.value.code == "PROTOCOL_VIOLATION"
    sender.close()
    theirs.close()


# ---- hosts that lie


def attach(pack, nbytes, writable=False, path=None, file_bytes=None, record=None, send=True):
    """As a host that is free to say what it likes; gives the number of the segment."""
    number = pack.peer.attach(nbytes, writable, path, on_released=lambda: None)
    if path is None and send:
        descriptor = os.memfd_create("pyisolate-test")
        os.ftruncate(descriptor, nbytes if file_bytes is None else file_bytes)
        data = struct.pack("<IIQ", number, 0, nbytes) if record is None else record(number, nbytes)
        socket.send_fds(pack.tensors._route._sender._connection, [data], [descriptor])
        os.close(descriptor)
    return number


def claim_of_host(pack, payload) -> Claim:
    """A value that the host sends as that payload."""
    claim, encode = Claim(**payload), pack.tensors.encode

    def encode_claim(value, sink):
        if value is not claim:
            return encode(value, sink)
        return {"$tensor": {**claim.payload, "lease": sink.lease(lambda: None)}}

    pack.tensors.encode = encode_claim
    return claim


def worker_ends(pack):
    wait_until(lambda: pack.worker_peer.has_ended)
    assert pack.worker_peer.ended.code == "PROTOCOL_VIOLATION"
    return pack.worker_peer.ended.message


HOST_LIES = {
    "a file that is shorter than said": {"file_bytes": 4096},
    "an empty file": {"file_bytes": 0},
    "another size in the record": {"record": lambda number, nbytes: struct.pack("<IIQ", number, 0, nbytes + 1)},
    "another number in the record": {"record": lambda number, nbytes: struct.pack("<IIQ", number + 1, 0, nbytes)},
    "a record with something where zero is": {"record": lambda number, nbytes: struct.pack("<IIQ", number, 1, nbytes)},
    "a short record": {"record": lambda number, nbytes: b"abc"},
    "no descriptor at all": {"send": False},
    "a path without a directory": {"path": "segment"},
}


@pytest.mark.parametrize("lie", list(HOST_LIES))
@pytest.mark.parametrize("writable", [False, True])
def test_a_worker_cuts_off_a_host_that_lies_about_a_segment(lie, writable):
    with machine() as m:
        pack = m.start(**NUMPY)
        attach(pack, 2 * MIB, writable, **HOST_LIES[lie])
        worker_ends(pack)


@pytest.mark.parametrize("name", ["none", "link", "short"])
def test_a_worker_cuts_off_a_host_whose_file_is_not_there(name):
    with machine("path") as m:
        pack = m.start(**NUMPY)
        with open(os.path.join(pack.directory, "short"), "wb") as file:
            file.write(b"abc")
        with open(os.path.join(pack.directory, "long"), "wb") as file:
            file.truncate(MIB)
        os.symlink("long", os.path.join(pack.directory, "link"))
        attach(pack, MIB, path=name)
        worker_ends(pack)


@pytest.mark.parametrize(
    "lie", [lie for lie in LIES if LIES[lie].keys() & {"offset", "shape", "strides", "dtype", "segment", "nbytes"}]
)
def test_a_worker_cuts_off_a_host_that_lies_about_a_tensor(lie):
    with machine() as m:
        pack = m.start(**NUMPY)
        number = attach(pack, MIB)
        claim = claim_of_host(pack, {"segment": number, **LIES[lie]})
        with pytest.raises(PyisolateError):
            pack.call("nop", claim, timeout=TIMEOUT_S)
        worker_ends(pack)


def test_a_segment_that_was_wanted_back_and_is_gone_cannot_be_named():
    with machine() as m:
        pack = m.start(**NUMPY)
        number = attach(pack, MIB)
        pack.peer.give_back(number)
        wait_until(lambda: number not in pack.worker._segments)
        claim = claim_of_host(pack, {"segment": number})
        with pytest.raises(PyisolateError):
            pack.call("nop", claim, timeout=TIMEOUT_S)
        worker_ends(pack)


def test_a_number_for_an_allocation_that_is_none_is_an_error_of_the_node():
    with machine() as m:
        pack = m.start({"give": lambda: numpy.ones(MIB, "uint8")}, **NUMPY)
        small = attach(pack, 4096, writable=True)
        for number in (small, attach(pack, MIB), 12345, "1", None, []):
            pack.tensors.methods["allocate"] = lambda nbytes, number=number: number
            pack.peer._methods = pack.tensors.methods
            with pytest.raises(PyisolateError) as raised:
                pack.call("give")
            assert raised.value.code == "TENSOR_INVALID"


def test_descriptors_that_come_early_wait_for_their_frame():
    ours, theirs = socket.socketpair()
    sender, receiver = DescriptorSender(ours), DescriptorReceiver(theirs, wait_s=0.05)
    files = [os.memfd_create(f"pyisolate-test-{number}") for number in range(3)]
    for number, file in enumerate(files):
        sender.send(number, 4096 * (number + 1), file)
    got = {number: receiver.receive(number, 4096 * (number + 1)) for number in (2, 0, 1)}
    for number, file in enumerate(files):
        assert os.fstat(got[number]).st_ino == os.fstat(file).st_ino and not os.get_inheritable(got[number])
        os.close(got[number])
    sender.send(1, 4096, files[0])
    sender.send(1, 4096, files[0])
    with pytest.raises(PyisolateError) as raised:
        receiver.receive(2, 4096)
    assert raised.value.code == "PROTOCOL_VIOLATION" and "two descriptors" in raised.value.message
    for file in files:
        os.close(file)
    ours.close()
    theirs.close()
