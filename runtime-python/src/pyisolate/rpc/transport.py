"""Transport: a connected Unix stream socket, blocking. Must not know frames."""

from __future__ import annotations

import socket
import struct

from ..errors import PyisolateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .frame import Bytes

#: Up to here one copy and one system call are cheaper than several calls.
_JOIN_BYTES = 65_536


def dial(path: str) -> socket.socket:
    """A connection to whoever listens there. Raises: PyisolateError PEER_BROKEN when nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise PyisolateError("PEER_BROKEN", f"cannot dial {path}: {error}", cause=error) from error
    return connection


class SocketTransport:
    """Owns the socket. One thread may receive while another sends."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def dial(cls, path: str) -> SocketTransport:
        """Raises: PyisolateError PEER_BROKEN when nobody listens."""
        return cls(dial(path))

    def fileno(self) -> int:
        return self._socket.fileno()

    def limit_waiting(self, seconds: float) -> None:
        """A receive that may wait gives -1 when nothing came for so long."""
        microseconds = int(seconds * 1_000_000)
        timeval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def receive_into(self, space: memoryview, may_wait: bool = True) -> int:
        """Bytes received, 0 at the end of the stream (a reset ends it, too), -1 if there are none."""
        try:
            return self._socket.recv_into(space, 0, 0 if may_wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return -1
        except OSError:
            return 0

    def send_now(self, frame: bytes) -> memoryview | None:
        """Sends what the system takes at once; gives the rest. Raises: PyisolateError PEER_BROKEN."""
        try:
            sent = self._socket.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _broken(error) from error
        return None if sent == len(frame) else memoryview(frame)[sent:]

    def send(self, parts: Sequence[Bytes]) -> None:
        """Sends all of it, waiting for the other side to take it. Raises: PyisolateError PEER_BROKEN."""
        try:
            if len(parts) > 1 and sum(map(len, parts)) <= _JOIN_BYTES:
                parts = [b"".join(parts)]
            for part in parts:
                self._socket.sendall(part)
        except OSError as error:
            raise _broken(error) from error

    def close(self) -> None:
        """Ends both directions and wakes whoever waits. What was sent still arrives."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it had ended


def _broken(error: OSError) -> PyisolateError:
    return PyisolateError("PEER_BROKEN", f"the connection ended from the other side: {error}", cause=error)
