"""Frames: golden bytes in both directions, and the same result however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire
from pyisolate.errors import PyisolateError
from pyisolate.rpc.frame import FrameReader, Header, area_bytes, area_parts, encode_head
from pyisolate.rpc.kinds import BODY_BYTES, CALL, FLAG_NAMES, KINDS

FRAMES = wire.load("frames.json")
NUMBERS = {kind.name: kind.number for kind in KINDS}


class Collector:
    """A sink that keeps frames as (kind, flags, id, body, attachment bytes)."""

    def __init__(self):
        self.area = bytearray()
        self.body = b""

    def on_header(self, header: Header) -> None:
        pass

    def on_body(self, header, body):
        self.body = body
        self.area = bytearray(header.attachment_bytes)
        return memoryview(self.area) if header.attachment_bytes else self.on_end(header)

    def on_end(self, header):
        return header.kind.name, header.flags, header.id, self.body, bytes(self.area)


def read_all(data: bytes, steps, buffer_bytes: int = 65_536):
    """Every frame of `data`, fed in pieces of the given sizes (the last one repeats)."""
    reader, frames, at = FrameReader(Collector(), buffer_bytes), [], 0
    steps = iter(steps)
    step = next(steps)
    while at < len(data):
        space = reader.space()
        count = min(step, len(space), len(data) - at)
        space[:count] = data[at : at + count]
        reader.advance(count)
        at += count
        step = next(steps, step)
        while (frame := reader.read()) is not None:
            frames.append(frame)
    assert not reader.is_inside_frame
    return frames


def encode(case) -> bytes:
    attachments = [memoryview(bytes.fromhex(each)) for each in case.get("attachments", [])]
    flags = sum(FLAG_NAMES[name] for name in case["flags"])
    size = area_bytes([len(each) for each in attachments])
    head = encode_head(NUMBERS[case["kind"]], flags, case["id"], case["body"].encode(), size)
    return b"".join([head, *area_parts(attachments)])


@pytest.mark.parametrize("case", wire.cases(FRAMES["frames"]))
def test_encoding_gives_exactly_the_golden_bytes(case):
    assert encode(case) == wire.join(case["bytes"], FRAMES)


@pytest.mark.parametrize("step", [1, 7, 65_536])
@pytest.mark.parametrize("case", wire.cases(FRAMES["frames"]))
def test_decoding_gives_the_golden_fields(case, step):
    ((kind, flags, id, body, area),) = read_all(wire.join(case["bytes"], FRAMES), [step])
    assert (kind, id) == (case["kind"], case["id"])
    assert flags == sum(FLAG_NAMES[name] for name in case["flags"])
    assert body.decode().rstrip(" ") == case["body"]
    expected = b"".join(area_parts([memoryview(bytes.fromhex(each)) for each in case.get("attachments", [])]))
    assert area == expected


@given(
    sizes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5)), min_size=1, max_size=8),
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=20),
    buffer_bytes=st.sampled_from([16, 64, 4096]),
)
def test_frames_come_out_the_same_however_the_stream_is_cut(sizes, steps, buffer_bytes):
    expected, data = [], b""
    for id, (body_bytes, blocks) in enumerate(sizes, 1):
        body, area = b"b" * body_bytes, bytes([id]) * (64 * blocks)
        data += encode_head(CALL, 0, id, body, len(area)) + area
        expected.append(("call", 0, id, body + b" " * (-body_bytes % 16), area))
    assert read_all(data, steps, buffer_bytes) == expected


def test_lengths_are_refused_before_anything_is_allocated():
    reader = FrameReader(Collector())
    head = (BODY_BYTES + 16).to_bytes(4, "little") + bytes(4) + bytes([CALL, 0, 0, 0, 1, 0, 0, 0])
    reader.space()[:16] = head
    reader.advance(16)
    with pytest.raises(PyisolateError) as raised:
        reader.read()
    assert raised.value.code == "PROTOCOL_VIOLATION"


def test_a_body_that_no_frame_can_hold_is_refused_by_the_sender():
    with pytest.raises(PyisolateError) as raised:
        encode_head(CALL, 0, 1, b" " * (BODY_BYTES + 1), 0)
    assert raised.value.code == "VALUE_UNSUPPORTED"


def test_long_attachments_are_asked_for_in_one_piece():
    reader = FrameReader(Collector())
    head = encode_head(CALL, 0, 1, b"{}", 1 << 20)
    reader.space()[: len(head)] = head
    reader.advance(len(head))
    assert reader.read() is None
    assert len(reader.space()) == 1 << 20
