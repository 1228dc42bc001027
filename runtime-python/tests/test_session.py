"""Sessions: golden streams, valid and invalid, fed whole and byte by byte."""

from __future__ import annotations

import pytest

import wire
from pyisolate.errors import PyisolateError
from pyisolate.rpc.frame import FrameReader, encode_head
from pyisolate.rpc.kinds import HELLO, KIND_BY_NUMBER, PING, Limits
from pyisolate.rpc.session import Session

VALID = wire.load("frames.json")
INVALID = wire.load("invalid.json")
LONG = 1 << 20


class Stream:
    """A fresh session that is fed one golden stream."""

    def __init__(self, case):
        limits = case.get("limits", {})
        self.calls = case.get("calls", 0)
        self.session = Session(
            Limits(limits.get("calls", 64), limits.get("messageBytes", 2**31), limits.get("items", 16)),
            is_stoppable=case.get("stoppable", False),
            features=case.get("features", ()),
        )
        self.reader = FrameReader(self.session)
        self.messages = []

    def feed(self, data: bytes, step: int) -> None:
        # The calls of this side begin with the peer's hello, so what follows must not be looked at before.
        hello_bytes = 16 + int.from_bytes(data[:4], "little")
        self._feed(data[:hello_bytes], step)
        if self.session.remote is not None:
            for _ in range(self.calls):
                self.session.open_call()
        self._feed(data[hello_bytes:], step)

    def _feed(self, data: bytes, step: int) -> None:
        at = 0
        while at < len(data):
            space = self.reader.space()
            count = min(step, len(space), len(data) - at)
            space[:count] = data[at : at + count]
            self.reader.advance(count)
            at += count
            while (message := self.reader.read()) is not None:
                self.messages.append(describe(message))


def describe(message) -> str:
    text = f"{KIND_BY_NUMBER[message.kind].name} {message.id}{' last' if message.is_last else ''}"
    return f"{text} [{','.join(map(str, message.lengths))}]" if message.lengths else text


def steps(data: bytes) -> list[int]:
    return [65_536] if len(data) > LONG else [1, 65_536]


@pytest.mark.parametrize("case", wire.cases(VALID["streams"]))
def test_valid_streams_give_their_messages(case):
    data = wire.join(case["receive"], VALID)
    for step in steps(data):
        stream = Stream(case)
        stream.feed(data, step)
        assert stream.messages == case["messages"]
        if "end" in case:
            assert stream.session.end(stream.reader.is_inside_frame) == case["end"]


@pytest.mark.parametrize("case", wire.cases(INVALID["streams"]))
def test_invalid_streams_end_with_their_code(case):
    data = wire.join(case["receive"], INVALID)
    for step in steps(data):
        with pytest.raises(PyisolateError) as raised:
            Stream(case).feed(data, step)
        assert raised.value.code == case["code"]


def opened(calls: int = 64) -> Session:
    stream = Stream({})
    hello = b'{"protocol":[1,1],"features":[],"limits":{"calls":%d,"messageBytes":0}}' % calls
    stream.feed(encode_head(HELLO, 0, 0, hello, 0), 65_536)
    return stream.session


def test_our_hello_is_the_golden_one_and_comes_first():
    (frame,) = Session().outbound
    assert frame == wire.join(VALID["parts"]["our hello"], VALID)


def test_no_call_before_the_hello_of_the_peer_nor_beyond_its_limit():
    assert not Session().can_open_call
    session = opened(calls=1)
    assert session.can_open_call
    session.open_call()
    assert not session.can_open_call


def test_ids_count_up_wrap_to_1_and_skip_those_that_are_live():
    session = opened()
    assert [session.open_call() for _ in range(3)] == [1, 2, 3]
    session.forget_call(2)
    session._next_id = 2**32 - 1
    assert [session.open_call() for _ in range(3)] == [2**32 - 1, 2, 4]


def test_pings_of_a_peer_that_does_not_read_are_answered_a_bounded_number_of_times():
    stream = Stream({})
    hello = wire.join(VALID["parts"]["hello"], VALID)
    stream.feed(hello + encode_head(PING, 0, 0, b"", 0) * 10_000, 65_536)
    assert 1 < len(stream.session.outbound) < 5000


def test_a_version_mismatch_names_both_ranges():
    case = next(case for case in INVALID["streams"] if case["code"] == "PROTOCOL_MISMATCH")
    with pytest.raises(PyisolateError) as raised:
        Stream(case).feed(wire.join(case["receive"], INVALID), 65_536)
    assert "2 to 3" in raised.value.message and "1 to 1" in raised.value.message
