#!/usr/bin/env python3
"""Target "session": any bytes in any pieces, into a session of either side that has calls, leases and segments open.

Input: a byte that says which side this is and what it does, a byte that says how the stream is cut, and the stream, or
records that the stream is made of: so that a text may change its length and still lie in a frame that fits.

Mirrors typescript/session.ts: the same input means the same there.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

import atheris
from guard import fuzz, keeps_protocol, random_steps

with atheris.instrument_imports(include=["pyisolate"]):
    from pyisolate.errors import PyisolateError
    from pyisolate.rpc.frame import FrameReader, encode_head
    from pyisolate.rpc.kinds import ATTACH, CALL, CANCEL, ERROR, EVENT, HELLO, RESULT, Limits
    from pyisolate.rpc.remote import error_body, remote_error
    from pyisolate.rpc.session import Message, Session
    from pyisolate.rpc.values import LoopEncoder, MustWait, write_text

from memory import HostMemory, InlineMemory, WorkerMemory


class Side(NamedTuple):
    features: tuple[str, ...]
    is_stoppable: bool
    limits: Limits
    memory: Callable[[], Any]


#: Chosen by the lowest two bits of the first byte.
SIDES = (
    Side(("segments",), False, Limits(), HostMemory),
    Side(("segments",), True, Limits(), WorkerMemory),
    Side((), False, Limits(), InlineMemory),
    Side((), True, Limits(calls=2, message_bytes=4096, items=1), InlineMemory),
)
#: Of the first byte: the peer's hello has come already; and two bits, how many calls are open.
HELLO_BIT = 4
CALLS_SHIFT = 3
RECORDS_BIT = 32
#: Ends a record: no text has this byte.
RECORD_END = b"\xff"
HEADER = Struct("<IIBBHI")


def accepts(data: bytes) -> bool:
    """Whether the stream keeps to the protocol."""
    if len(data) < 2:
        return True
    shape, cut = data[:2]
    side = SIDES[shape & 3]
    connection = Connection(side, shape >> CALLS_SHIFT & 3)

    def receive() -> None:
        if shape & HELLO_BIT:
            connection.receive(hello(side), 0)
        connection.receive(stream_of(data[2:]) if shape & RECORDS_BIT else data[2:], cut)

    try:
        return keeps_protocol(receive)
    finally:
        connection.close()


def hello(side: Side) -> bytes:
    limits = {"calls": 64, "messageBytes": 2**31, "items": 16}
    return encode_head(HELLO, 0, 0, write_text({"protocol": [1, 1], "features": side.features, "limits": limits}), 0)


def stream_of(records: bytes) -> bytes:
    return b"".join(frame_of(record) for record in records.split(RECORD_END) if len(record) >= 4)


def frame_of(record: bytes) -> bytes:
    """A record: kind, flags, id, attachment bytes in steps of 64; the text of the body."""
    kind, flags, id, steps = record[:4]
    text = record[4:]
    body = text.ljust(-(-len(text) // 16) * 16)
    return HEADER.pack(len(body), steps * 64, kind, flags, 0, id) + body + bytes(steps * 64)


class Connection:
    """A session and what a program would do with it: what Peer does, in one thread and without a socket."""

    def __init__(self, side: Side, call_count: int) -> None:
        self.memory = side.memory()
        self.session = Session(
            side.limits, is_stoppable=side.is_stoppable, extension=self.memory, features=side.features
        )
        self.memory.bind(self.session)
        self.reader = FrameReader(self.session)
        self.streams: dict[int, Any] = {}
        self.call_count = call_count
        self.is_open = False

    def receive(self, stream: bytes, cut: int) -> None:
        """The first frame by itself: if it is the peer's hello, calls begin before more is read."""
        first = 0 if self.is_open else 16 + int.from_bytes(stream[:4], "little")
        step = random_steps(cut)
        for part in (stream[:first], stream[first:]):
            at = 0
            while at < len(part):
                end = len(part) if cut == 0 else at + 1 + step(cut)
                self.feed(part[at:end])
                at = end

    def feed(self, piece: bytes) -> None:
        while piece:
            space = self.reader.space()
            count = min(len(space), len(piece))
            space[:count], piece = piece[:count], piece[count:]
            self.reader.advance(count)
            while True:
                message = self.reader.read()
                if not self.is_open and self.session.remote is not None:
                    self.opened()
                if message is None:
                    break
                self.received(message)

    def opened(self) -> None:
        self.is_open = True
        for count in range(self.call_count):
            if self.session.can_open_call:
                args = self.memory.gifts() if count == 0 else []
                self.encode({"args": args})
                self.session.open_call()

    def received(self, message: Message) -> None:
        kind = message.kind
        if kind == CALL:
            self.called(message)
        elif kind == ATTACH:
            if message.value is None:
                self.memory.on_give_back(message.id)
            else:
                self.memory.on_attach(message.id, *message.value)
        elif kind == ERROR:
            remote_error("m", message.value)
        elif kind in (RESULT, EVENT):
            self.memory.look(message.value)
            if kind == RESULT and not message.is_last:
                self.session.take_item(message.id)
        elif kind == CANCEL:
            self.session.close_call(message.id)
        for credits in list(self.streams.values()):
            while credits.has_room(lambda: None):
                credits.spend()

    def called(self, message: Message) -> None:
        """Left open, answered with its own arguments, told of and failed, or answered with a stream: by its id."""
        way = message.id % 4
        try:
            if way == 1:
                self.encode({"value": message.value})
                self.session.close_call(message.id)
            elif way == 2:
                self.encode({"event": "log", "data": message.value})
                write_text(error_body(ValueError(message.name)))
                self.session.close_call(message.id)
            elif way == 3:
                self.streams[message.id] = self.session.open_stream(message.id)
        except PyisolateError as error:
            # What came from there may be too long for its limits on the way back.
            if error.code != "VALUE_UNSUPPORTED":
                raise
        except MustWait:
            pass  # for memory that the host has to make
        self.memory.look(message.value)

    def encode(self, body: dict[str, Any]) -> None:
        encoder = LoopEncoder(self.memory, self.session.open_lease)
        for key, value in body.items():
            body[key] = encoder.value(value)
        write_text(body)

    def close(self) -> None:
        self.session.close()
        self.session.end_holdings()
        self.memory.close()


if __name__ == "__main__":
    fuzz(accepts)
