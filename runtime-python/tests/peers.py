"""Pairs of peers over a real socket, for tests."""

from __future__ import annotations

import contextlib
import socket
import threading

from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport

TIMEOUT_S = 20


@contextlib.contextmanager
def connected(left_methods=None, right_methods=None, *, left=None, right=None):
    """Two peers that are connected with each other; `left` and `right` are further arguments."""
    ours, theirs = socket.socketpair()
    pair = (
        Peer(SocketTransport(ours), left_methods, **(left or {})),
        Peer(SocketTransport(theirs), right_methods, **(right or {})),
    )
    for peer in pair:
        peer.start()
    try:
        yield pair
    finally:
        for peer in pair:
            peer.close()  # its threads may still be about to look at the socket, so only that they let go closes it


class Gate:
    """Methods wait at it; the test opens it."""

    def __init__(self):
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self):
        self.reached.set()
        assert self.opened.wait(TIMEOUT_S)
