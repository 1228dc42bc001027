"""A peer goes on reading while its own calls run or cannot be answered. The other side is a bare socket here."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from peers import TIMEOUT_S, Gate
from pyisolate.rpc.frame import FrameReader, encode_head
from pyisolate.rpc.kinds import CALL, CANCEL, ERROR, PING, RESULT
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.session import Session
from pyisolate.rpc.transport import SocketTransport


class Bare:
    """One end of a connection, without threads. Its calls have the ids 1, 2, …"""

    def __init__(self, connection):
        self.connection = connection
        self.session = Session()
        self.reader = FrameReader(self.session)
        self.connection.sendall(self.session.outbound[0])

    def call_frame(self, method: str) -> bytes:
        self.receive_hello()
        return encode_head(CALL, 0, self.session.open_call(), b'{"method":"%s","args":[]}' % method.encode(), 0)

    def receive_hello(self):
        while self.session.remote is None:
            self._read()

    def receive(self):
        while (message := self.reader.read()) is None:
            self._read()
        return message

    def _read(self):
        count = self.connection.recv_into(self.reader.space())
        assert count
        self.reader.advance(count)
        if self.session.remote is None:
            self.reader.read()


@contextlib.contextmanager
def serving(methods, **options):
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    peer = Peer(SocketTransport(theirs), methods, **options)
    peer.start()
    try:
        yield Bare(ours), peer
    finally:
        peer.close()
        ours.close()


def test_calls_that_arrive_in_one_piece_run_side_by_side():
    gate = Gate()
    with serving({"wait": gate.wait, "quick": lambda: None}) as (bare, _):
        bare.connection.sendall(bare.call_frame("wait") + bare.call_frame("wait") + bare.call_frame("quick"))
        message = bare.receive()
        assert (message.kind, message.id) == (RESULT, 3)
        gate.opened.set()
        assert {bare.receive().id, bare.receive().id} == {1, 2}


@pytest.mark.parametrize("make", [lambda: "x" * (3 << 20), lambda: bytes(3 << 20), lambda: bytes(20 << 20)])
def test_a_result_that_nobody_takes_stops_no_other_call(make):
    ran = threading.Event()
    with serving({"make": make, "quick": ran.set}) as (bare, _):
        bare.connection.sendall(bare.call_frame("make"))
        time.sleep(0.05)  # not needed to pass: it makes the answer block first
        bare.connection.sendall(bare.call_frame("quick"))
        assert ran.wait(TIMEOUT_S)
        assert sorted([bare.receive().id, bare.receive().id]) == [1, 2]


def test_a_cancel_that_comes_before_the_coroutine_has_started_is_not_lost():
    gate, started = Gate(), []

    async def block_the_loop():
        gate.wait()

    async def never():
        started.append(True)
        await block_forever()

    async def block_forever():
        import asyncio

        await asyncio.sleep(3600)

    with serving({"block": block_the_loop, "never": never}) as (bare, peer):
        bare.connection.sendall(bare.call_frame("block"))
        assert gate.reached.wait(TIMEOUT_S)
        bare.connection.sendall(bare.call_frame("never") + encode_head(CANCEL, 0, 2, b"", 0))
        while not peer._calls[2].is_cancelled if 2 in peer._calls else True:
            time.sleep(0.001)
        gate.opened.set()
        answers = {message.id: message for message in (bare.receive(), bare.receive())}
        assert answers[2].kind == ERROR and answers[2].value["code"] == "CALL_CANCELLED"


def test_an_answer_of_the_loop_does_not_stop_reading_when_another_coroutine_comes_after_it():
    gate, ran = Gate(), threading.Event()

    async def echo():
        return 1

    async def block():
        gate.wait()

    methods = {"echo": echo, "block": block, "sync": ran.set}
    with serving(methods, makes_coroutine=lambda method, args: method != "sync") as (bare, _):
        for id in (1, 2):
            bare.connection.sendall(bare.call_frame("echo"))
            assert bare.receive().id == id
        bare.connection.sendall(bare.call_frame("echo") + bare.call_frame("block"))
        assert gate.reached.wait(TIMEOUT_S)
        bare.connection.sendall(bare.call_frame("sync"))
        assert ran.wait(TIMEOUT_S)
        gate.opened.set()
        assert {bare.receive().id for _ in range(3)} == {3, 4, 5}


def test_a_ping_is_answered_while_a_call_runs():
    gate = Gate()
    with serving({"wait": gate.wait}) as (bare, _):
        bare.connection.sendall(bare.call_frame("wait"))
        assert gate.reached.wait(TIMEOUT_S)
        bare.connection.sendall(encode_head(PING, 0, 0, b"", 0))
        pong = bare.connection.recv(16)
        assert pong[8] == 9
        gate.opened.set()


def test_hello_is_sent_without_waiting_for_the_other_side():
    ours, theirs = socket.socketpair()
    peer = Peer(SocketTransport(theirs), {})
    peer.start()
    ours.settimeout(TIMEOUT_S)
    try:
        assert b'"protocol":[1,1]' in ours.recv(4096)
    finally:
        peer.close()
        ours.close()
