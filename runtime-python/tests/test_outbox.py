"""The outbox: frames of many threads, in an order that the protocol allows."""

from __future__ import annotations

import threading
from collections import deque

from peers import TIMEOUT_S, Gate
from pyisolate.rpc.frame import decode_header
from pyisolate.rpc.kinds import ATTACHMENT_BYTES, CALL, CANCEL, EVENT, LAST, MORE, REPLY, RESULT
from pyisolate.rpc.outbox import Outbox


class SlowTransport:
    """Keeps what is sent; the second frame waits at the gate."""

    def __init__(self):
        self.frames: list[tuple[str, int, int]] = []
        self.gate = Gate()

    def send_now(self, frame):
        self.send([frame])

    def send(self, parts):
        header = decode_header(parts[0], 0)
        self.frames.append((header.kind.name, header.flags, header.id))
        if len(self.frames) == 2:
            self.gate.wait()


def in_threads(*functions):
    threads = [threading.Thread(target=function, daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def test_between_the_frames_of_a_long_message_only_other_calls_pass():
    transport = SlowTransport()
    outbox = Outbox(transport, deque())
    area = memoryview(bytes(2 * ATTACHMENT_BYTES + 1))
    waited = threading.Event()
    (long,) = in_threads(lambda: outbox.send(RESULT, REPLY | LAST, 1, b"{}", [area]))
    assert transport.gate.reached.wait(TIMEOUT_S)
    others = in_threads(
        lambda: outbox.send(EVENT, REPLY, 1, b"{}", (), waited.set),  # the same call
        lambda: outbox.send(CANCEL, 0, 1, b""),  # our call 1 is another one
        lambda: outbox.send(RESULT, REPLY | LAST, 2, b"{}"),
        lambda: outbox.send(CALL, 0, 3, b"{}", [area]),  # long, too
    )
    assert waited.wait(TIMEOUT_S)
    transport.gate.opened.set()
    for thread in (long, *others):
        thread.join(TIMEOUT_S)
    frames = transport.frames
    last = frames.index(("result", REPLY | LAST, 1))
    assert frames[0] == frames[1] == ("result", REPLY | LAST | MORE, 1)
    assert frames.index(("event", REPLY, 1)) > last
    assert [frame for frame in frames if frame[0] == "call"] == [("call", MORE, 3), ("call", MORE, 3), ("call", 0, 3)]
    assert frames.index(("call", MORE, 3)) > last
    assert ("cancel", 0, 1) in frames and ("result", REPLY | LAST, 2) in frames


def test_what_is_owed_leaves_with_whatever_is_sent_next():
    transport = SlowTransport()
    owed = deque()
    outbox = Outbox(transport, owed)
    (sending,) = in_threads(lambda: [outbox.send(CALL, 0, id, b"{}") for id in (1, 2)])
    assert transport.gate.reached.wait(TIMEOUT_S)
    owed.append(bytes(8) + bytes([CANCEL, 0, 0, 0, 9, 0, 0, 0]))
    outbox.flush()  # another thread is sending: it must not wait
    assert len(transport.frames) == 2
    transport.gate.opened.set()
    sending.join(TIMEOUT_S)
    assert transport.frames[2] == ("cancel", 0, 9)
