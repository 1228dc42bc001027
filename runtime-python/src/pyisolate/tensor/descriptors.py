"""Descriptor socket: how the descriptors of segments come from the host to a worker, one record with each.

Beside the control socket, and in that direction only. Must not know what a segment holds.
"""

from __future__ import annotations

import os
import socket
from struct import Struct

from ..errors import PyisolateError
from ..rpc.frame import violation
from ..rpc.transport import dial

#: Number of the segment, zero, its bytes.
_RECORD = Struct("<IIQ")


class DescriptorSender:
    """The host's end of one worker's socket. Owns the connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    def send(self, number: int, nbytes: int, descriptor: int) -> None:
        """Borrows the descriptor. Raises PEER_BROKEN, PROTOCOL_VIOLATION: the worker sent a byte, or reads nothing."""
        try:
            if self._connection.recv(1):
                raise violation("a byte on the descriptor socket")
        except BlockingIOError:
            pass
        except OSError as error:
            raise _broken(error) from error
        try:
            socket.send_fds(self._connection, [_RECORD.pack(number, 0, nbytes)], [descriptor])
        except BlockingIOError:
            raise violation("a worker that does not take its descriptors") from None
        except OSError as error:
            raise _broken(error) from error

    def close(self) -> None:
        self._connection.close()


class DescriptorReceiver:
    """The worker's end. One thread at a time receives."""

    def __init__(self, connection: socket.socket, wait_s: float = 5.0) -> None:
        """Owns the connection. `wait_s`: for a descriptor whose attach frame has come."""
        connection.settimeout(wait_s)
        self._connection = connection
        self._wait_s = wait_s
        #: Came, but the attach frame did not yet: (nbytes, descriptor) by number.
        self._early: dict[int, tuple[int, int]] = {}

    @classmethod
    def dial(cls, path: str) -> DescriptorReceiver:
        """Raises: PyisolateError PEER_BROKEN when nobody listens."""
        return cls(dial(path))

    def receive(self, number: int, nbytes: int) -> int:
        """The descriptor of that segment, owned by the caller. Raises PROTOCOL_VIOLATION when it does not come."""
        while number not in self._early:
            arrived, size, descriptor = self._receive_one()
            if arrived in self._early:
                os.close(descriptor)
                raise violation(f"two descriptors for segment {arrived}")
            self._early[arrived] = (size, descriptor)
        size, descriptor = self._early.pop(number)
        if size != nbytes:
            os.close(descriptor)
            raise violation(f"a descriptor for {size} bytes, its segment has {nbytes}")
        return descriptor

    def _receive_one(self) -> tuple[int, int, int]:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._connection, _RECORD.size, 4)
        except socket.timeout:
            raise violation(f"a segment whose descriptor did not come within {self._wait_s} s") from None
        except OSError as error:
            raise _broken(error) from error
        if len(data) != _RECORD.size or len(descriptors) != 1:
            for descriptor in descriptors:
                os.close(descriptor)
            raise violation(f"{len(data)} bytes and {len(descriptors)} descriptors on the descriptor socket")
        number, zero, nbytes = _RECORD.unpack(data)
        descriptor = descriptors[0]
        if zero:
            os.close(descriptor)
            raise violation("a record of another shape on the descriptor socket")
        os.set_inheritable(descriptor, False)
        return number, nbytes, descriptor


def _broken(error: OSError) -> PyisolateError:
    return PyisolateError("PEER_BROKEN", f"the descriptor socket ended: {error}", cause=error)
