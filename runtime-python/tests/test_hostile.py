"""A real Peer against a socket that does what no honest peer does. It ends that connection, or shrugs."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import struct
import threading
import time

import pytest

from peers import TIMEOUT_S, Gate, connected
from pyisolate.errors import PyisolateError
from pyisolate.rpc.frame import encode_head
from pyisolate.rpc.kinds import ATTACH, CALL, CANCEL, DIAL, ERROR, EVENT, HELLO, PING, PONG, RELEASE, RESULT, STOP
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport

MIB = 1 << 20
HELLO_FRAME = encode_head(
    HELLO, 0, 0, b'{"protocol":[1,1],"features":[],"limits":{"calls":64,"messageBytes":2147483648}}', 0
)


def call(id: int, args: bytes = b"[]", method: str = "echo") -> bytes:
    return encode_head(CALL, 0, id, b'{"method":%s,"args":%s}' % (json.dumps(method).encode(), args), 0)


def header(body_bytes: int, attachment_bytes: int = 0, kind: int = CALL, flags: int = 0, id: int = 1) -> bytes:
    return struct.pack("<IIBBHI", body_bytes, attachment_bytes, kind, flags, 0, id)


def raw(body: bytes) -> bytes:
    padded = body + b" " * (-len(body) % 16)
    return header(len(padded)) + padded


class Hostile:
    """One end of a connection, by hand. Reads all the time, so that the peer can write."""

    def __init__(self, connection):
        self.connection = connection
        self.frames = []
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        data = bytearray()
        with contextlib.suppress(OSError):
            while piece := self.connection.recv(65_536):
                data += piece
                with self.changed:
                    while len(data) >= 16 and len(data) >= 16 + int.from_bytes(data[:4], "little"):
                        end = 16 + int.from_bytes(data[:4], "little")
                        self.frames.append(
                            (data[8], data[9], int.from_bytes(data[12:16], "little"), bytes(data[16:end]).rstrip())
                        )
                        del data[:end]
                    self.changed.notify_all()

    def wait_for(self, found):
        """The first frame for which `found` is true."""
        with self.changed:
            assert self.changed.wait_for(lambda: any(map(found, self.frames)), TIMEOUT_S)
            return next(filter(found, self.frames))

    def send(self, data: bytes):
        with contextlib.suppress(OSError):  # the peer may have hung up in the middle
            self.connection.sendall(data)


METHODS = {"echo": lambda value=None: value}


@contextlib.contextmanager
def facing(methods=METHODS, **options):
    ours, theirs = socket.socketpair()
    has_ended = threading.Event()
    peer = Peer(SocketTransport(theirs), methods, on_end=lambda error: has_ended.set(), **options)
    peer.has_ended_event = has_ended
    peer.start()
    try:
        yield Hostile(ours), peer
    finally:
        peer.close()
        ours.close()


def end_of(data: bytes, ours: int = 0, **options) -> str:
    """The code with which the peer ends the connection. `ours`: calls of the peer that run meanwhile."""
    with facing(**options) as (hostile, peer):
        hostile.send(HELLO_FRAME)
        for _ in range(ours):
            threading.Thread(target=call_in_vain, args=[peer], daemon=True).start()
        if ours:
            hostile.wait_for(lambda frame: frame[0] == CALL and frame[2] == ours)
        hostile.send(data)
        assert peer.has_ended_event.wait(TIMEOUT_S)
        return peer.ended.code


def call_in_vain(peer):
    with contextlib.suppress(PyisolateError):
        peer.call("m")


# ---- lengths

SIZES = [2**31, 2**32 - 1, 2**32 - 64, 17]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_a_body_of_a_length_that_cannot_be(size):
    assert end_of(header(size) + b"x") == "PROTOCOL_VIOLATION"


@pytest.mark.parametrize("size", SIZES)
def test_attachments_of_a_length_that_cannot_be(size):
    assert end_of(header(16, size) + b"{}".ljust(16) + b"x") == "PROTOCOL_VIOLATION"


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param(b"[4294967296]", id="4 GB"),
        pytest.param(b"[9007199254740991,9007199254740991]", id="more than numbers count"),
        pytest.param(b"[" + b"64," * 10**6 + b"64]", id="a million of them"),
    ],
)
def test_attachments_that_are_too_long_in_all(lengths):
    assert end_of(raw(b'{"method":"echo","args":[{"$bytes":0}],"attachments":%s}' % lengths)) == "PROTOCOL_VIOLATION"


def test_2_gb_declared_and_one_byte_sent_cost_no_memory():
    text = b'{"method":"echo","args":[{"$bytes":0}],"attachments":[2147483648]}'.ljust(80)
    with facing() as (hostile, _), connected({}, METHODS) as (host, _):
        host.call("echo", 1)
        before = resident_bytes()
        hostile.send(HELLO_FRAME + header(80, 4 * MIB, CALL, 4) + text + b"x")
        for turn in range(20):
            assert host.call("echo", turn) == turn
        time.sleep(0.05)
        assert resident_bytes() - before < 16 * MIB


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


# ---- slowness and floods


def test_one_byte_at_a_time_is_understood_and_delays_nobody():
    with facing() as (hostile, _), connected({}, METHODS) as (host, _):
        for byte in HELLO_FRAME + call(1, b'["slow"]'):
            hostile.send(bytes([byte]))
            assert host.call("echo", byte) == byte
        assert hostile.wait_for(lambda frame: frame[0] == RESULT)[3] == b'{"value":"slow"}'


def test_a_frame_that_never_ends_delays_no_other_connection():
    with facing() as (hostile, _), connected({}, METHODS) as (host, _):
        hostile.send(HELLO_FRAME + header(16 * MIB) + b"{")
        for turn in range(50):
            assert host.call("echo", turn) == turn


def test_a_million_tiny_frames():
    with facing() as (hostile, _):
        hostile.send(HELLO_FRAME)
        for _ in range(100):
            hostile.send(header(0, 0, PING, 0, 0) * 10_000)
        hostile.send(call(1, b'["after"]'))
        assert hostile.wait_for(lambda frame: frame[0] == RESULT)[3] == b'{"value":"after"}'


@pytest.mark.parametrize(
    "frame",
    [header(0, 0, RELEASE, 0, 77), header(0, 0, RELEASE, 4, 77), header(0, 0, CANCEL, 0, 77), header(0, 0, PONG, 0, 0)],
)
def test_frames_about_what_nobody_knows_change_nothing(frame):
    with facing() as (hostile, _):
        hostile.send(HELLO_FRAME + frame * 1000 + call(1, b'["fine"]'))
        assert hostile.wait_for(lambda frame: frame[0] == RESULT)[3] == b'{"value":"fine"}'


# ---- texts


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(call(1, b"[" * 10**6 + b"]" * 10**6), id="arrays a million deep"),
        pytest.param(call(1, b"[" + b'{"a":' * 10**6 + b"1" + b"}" * 10**6 + b"]"), id="objects a million deep"),
        pytest.param(call(1, b"[" + b'{"$tuple":[' * 40 + b"]}" * 40 + b"]"), id="tuples 80 deep"),
        pytest.param(raw(b'{"method":"echo","args":' + b"[" * 10**6), id="brackets that never close"),
        pytest.param(raw(b'{"method":"echo","args":["\xff\xfe"]}'), id="no UTF-8"),
        pytest.param(raw(b'{"method":"echo","args":["\xc0\xaf"]}'), id="UTF-8 that is too long"),
        pytest.param(raw(b'{"method":"echo","args":["\xed\xa0\x80"]}'), id="a surrogate in UTF-8"),
        pytest.param(header(32) + b'{"method":"echo","args":[]}' + bytes(5), id="NUL bytes as padding"),
        pytest.param(call(1, b"[NaN]"), id="NaN"),
        pytest.param(raw(b'{"method":"echo","args":[]}{}'), id="two bodies"),
        pytest.param(call(1, b'[{"$eval":"1"}]'), id="an unknown tag"),
        pytest.param(call(1, b'[{"$class":"os.system"}]'), id="a tag that names a class"),
        pytest.param(call(1, b'[{"$ref":1}]'), id="a reference"),
        pytest.param(call(1, b'[{"__proto__":{"a":1}}]'), id="__proto__"),
        pytest.param(call(1, b'[{"\\u005f_proto__":{"a":1}}]'), id="__proto__ hidden by escapes"),
        pytest.param(raw(b'{"method":"echo","args":[],"__class__":{}}'), id="__class__ in the body"),
        pytest.param(call(1, b"[" + b"9" * 10**6 + b"]"), id="an integer of a million digits"),
        pytest.param(
            call(1, b'[{"$int":"0x' + b"f" * 10**6 + b'"}]', "hang") + b"x" * 16, id="garbage after a big integer"
        ),
    ],
)
def test_texts_that_are_refused(data):
    assert end_of(data) == "PROTOCOL_VIOLATION"


def test_a_million_keys_are_a_value_like_any_other():
    keys = b",".join(b'"k%d":1' % index for index in range(10**6))
    with facing({"count": len}) as (hostile, _):
        hostile.send(HELLO_FRAME + call(1, b"[{%s}]" % keys, "count"))
        assert hostile.wait_for(lambda frame: frame[0] == RESULT)[3] == b'{"value":1000000}'


def test_of_two_equal_keys_the_last_counts():
    with facing() as (hostile, _):
        hostile.send(HELLO_FRAME + raw(b'{"method":"none","args":[],"args":[{"a":1,"b":2,"a":3}],"method":"echo"}'))
        assert hostile.wait_for(lambda frame: frame[0] == RESULT)[3] == b'{"value":{"a":3,"b":2}}'


@pytest.mark.parametrize("method", ["constructor", "__proto__", "__class__", "", "echo ", "keys"])
def test_a_method_that_is_not_offered(method):
    with facing() as (hostile, _):
        hostile.send(HELLO_FRAME + call(1, b"[]", method) + call(2, b'["fine"]'))
        assert json.loads(hostile.wait_for(lambda frame: frame[2] == 1)[3])["code"] == "METHOD_UNKNOWN"
        assert hostile.wait_for(lambda frame: frame[2] == 2)[3] == b'{"value":"fine"}'


def test_an_error_text_of_100_mb_is_cut_by_its_sender():
    def fail():
        raise ValueError("x" * 100 * MIB)

    with connected({}, {"fail": fail}) as (host, _):
        with pytest.raises(PyisolateError) as raised:
            host.call("fail", timeout=60)
        remote = raised.value.remote
        assert len(remote.message) <= 65_536 and len(remote.traceback) <= 65_536 and len(remote.args[0]) <= 65_536


def test_an_exception_with_causes_without_end_is_cut():
    def fail():
        error = ValueError("0")
        for depth in range(10_000):
            following = ValueError(str(depth))
            following.__cause__ = error
            error = following
        raise error

    with connected({}, {"fail": fail}) as (host, _), pytest.raises(PyisolateError) as raised:
        host.call("fail", timeout=60)
    depth, remote = 0, raised.value.remote
    while remote is not None:
        depth, remote = depth + 1, remote.cause
    assert depth == 8


# ---- calls and answers

RESULT_1 = encode_head(RESULT, 3, 1, b'{"value":1}', 0)


@pytest.mark.parametrize(
    ("data", "ours"),
    [
        pytest.param(encode_head(RESULT, 3, 5, b'{"value":1}', 0), 0, id="an answer to a call nobody made"),
        pytest.param(
            call(5, method="hang") + encode_head(RESULT, 3, 5, b'{"value":1}', 0), 0, id="an answer to its own call"
        ),
        pytest.param(RESULT_1 * 2, 1, id="two answers"),
        pytest.param(
            RESULT_1 + encode_head(ERROR, 3, 1, b'{"type":"E","message":"","args":[],"traceback":""}', 0),
            1,
            id="an answer, then an error",
        ),
        pytest.param(
            RESULT_1 + encode_head(EVENT, 1, 1, b'{"event":"log","data":1}', 0), 1, id="an event after the answer"
        ),
        pytest.param(call(1, method="hang") * 2, 0, id="a call with the id of one that runs"),
        pytest.param(b"".join(call(id, method="hang") for id in range(1, 66)), 0, id="more calls than are accepted"),
        pytest.param(call(1, method="hang") + header(0, 0, RELEASE, 4, 1), 0, id="items taken that were not sent"),
        pytest.param(encode_head(ATTACH, 0, 1, b'{"nbytes":4096,"writable":true}', 0), 0, id="a segment for a host"),
        pytest.param(header(0, 0, STOP, 0, 0), 0, id="stop to a host"),
        pytest.param(encode_head(DIAL, 0, 0, b"{}", 0), 0, id="dial"),
        pytest.param(HELLO_FRAME, 0, id="a second hello"),
    ],
)
def test_calls_and_answers_that_cannot_be(data, ours):
    gate = Gate()
    methods = {**METHODS, "hang": gate.wait}
    try:
        assert end_of(data, ours, methods=methods, features=["segments"]) == "PROTOCOL_VIOLATION"
    finally:
        gate.opened.set()


def test_items_of_a_stream_that_its_consumer_does_not_take():
    with facing() as (hostile, peer):
        hostile.send(HELLO_FRAME)
        stream = peer.call_stream("m")
        first = []
        thread = threading.Thread(target=lambda: first.append(next(stream)), daemon=True)
        thread.start()
        hostile.wait_for(lambda frame: frame[0] == CALL)
        item = encode_head(RESULT, 1, 1, b'{"value":1}', 0)
        hostile.send(item * 16)
        thread.join(TIMEOUT_S)
        assert first == [1]
        hostile.send(item * 2)
        assert peer.has_ended_event.wait(TIMEOUT_S)
        assert peer.ended.code == "PROTOCOL_VIOLATION"


def test_more_items_taken_than_were_sent():
    gate = Gate()

    def two():
        yield 1
        yield 2
        gate.wait()

    hello = b'{"protocol":[1,1],"features":[],"limits":{"calls":64,"messageBytes":0,"items":5}}'
    with facing({"two": two}) as (hostile, peer):
        hostile.send(encode_head(HELLO, 0, 0, hello, 0) + call(1, method="two"))
        hostile.wait_for(lambda frame: frame[3] == b'{"value":2}')
        hostile.send(header(0, 0, RELEASE, 4, 1) * 2)
        hostile.send(header(0, 0, PING, 0, 0))
        hostile.wait_for(lambda frame: frame[0] == PONG)
        hostile.send(header(0, 0, RELEASE, 4, 1))
        assert peer.has_ended_event.wait(TIMEOUT_S)
        gate.opened.set()
        assert peer.ended.code == "PROTOCOL_VIOLATION"


class Holder:
    """Values that are leases of the other side; they are kept."""

    tags = frozenset({"$thing"})

    def encode(self, value, sink):
        return NotImplemented

    def decode(self, tag, payload, source):
        source.hold(payload)
        return None


@pytest.mark.parametrize(
    "args",
    [b"0", b"4294967296", b"1.5", b'"1"', b"true", b"1", b'9},{"$thing":9'],
    ids=["0", "2^32", "1.5", "text", "true", "the call's own id", "one that is held"],
)
def test_a_lease_whose_id_cannot_be(args):
    assert (
        end_of(call(1, b'[{"$thing":%s}]' % args), methods={"echo": lambda *args: None}, extension=Holder())
        == "PROTOCOL_VIOLATION"
    )


def test_a_call_with_the_id_of_a_lease():
    data = call(1, b'[{"$thing":9}]') + call(9)
    assert end_of(data, extension=Holder()) == "PROTOCOL_VIOLATION"


def test_a_call_before_hello():
    with facing() as (hostile, peer):
        hostile.send(call(1))
        assert peer.has_ended_event.wait(TIMEOUT_S)
        assert peer.ended.code == "PROTOCOL_VIOLATION"


@pytest.mark.parametrize(("versions", "code"), [([2, 3], "PROTOCOL_MISMATCH"), ([0, 0], "PROTOCOL_MISMATCH")])
def test_a_peer_of_another_time(versions, code):
    text = json.dumps({"protocol": versions, "features": [], "limits": {"calls": 1, "messageBytes": 0}}).encode()
    with facing() as (hostile, peer):
        hostile.send(encode_head(HELLO, 0, 0, text, 0))
        assert peer.has_ended_event.wait(TIMEOUT_S)
        assert (peer.ended.code, "1 to 1" in peer.ended.message) == (code, True)


def test_a_newer_and_an_older_peer_agree():
    text = {
        "protocol": [0, 7],
        "features": ["later", "segments"],
        "limits": {"calls": 1, "messageBytes": 0, "later": 5},
        "later": {},
    }
    with facing(features=["segments"]) as (hostile, peer):
        hostile.send(encode_head(HELLO, 0, 0, json.dumps(text).encode(), 0) + call(1, b'["fine"]'))
        assert hostile.wait_for(lambda frame: frame[0] == RESULT)[3] == b'{"value":"fine"}'
        assert peer.has_feature("segments") and not peer.has_feature("later")
