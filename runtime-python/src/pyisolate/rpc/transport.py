"""Transport: a connected Unix stream socket, blocking. Must not know frames."""

from __future__ import annotations

import socket

from ..errors import PyisolateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .frame import Bytes

#: Up to here one copy and one system call are cheaper than several calls.
_JOIN_BYTES = 65_536


class SocketTransport:
    """Owns the socket. One thread may receive while another sends."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def dial(cls, path: str) -> SocketTransport:
        """Raises: PyisolateError PEER_BROKEN when nobody listens."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            raise PyisolateError("PEER_BROKEN", f"cannot dial {path}: {error}", cause=error) from error
        return cls(connection)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_into(self, space: memoryview) -> int:
        """Bytes received, 0 at the end of the stream (a reset ends it, too)."""
        try:
            return self._socket.recv_into(space)
        except OSError:
            return 0

    def send(self, parts: Sequence[Bytes], before_waiting: Callable[[], object] | None = None) -> None:
        """Sends all of it; `before_waiting` is called when the other side does not take it at once.

        Raises: PyisolateError PEER_BROKEN.
        """
        try:
            if len(parts) > 1 and sum(map(len, parts)) <= _JOIN_BYTES:
                parts = [b"".join(parts)]
            if before_waiting is not None:
                parts = self._send_some(parts)
                if parts:
                    before_waiting()
            for part in parts:
                self._socket.sendall(part)
        except OSError as error:
            raise PyisolateError(
                "PEER_BROKEN", f"the connection ended from the other side: {error}", cause=error
            ) from error

    def _send_some(self, parts: Sequence[Bytes]) -> Sequence[Bytes]:
        """Gives what the system does not take without waiting."""
        for at, part in enumerate(parts):
            try:
                sent = self._socket.send(part, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            if sent < len(part):
                return [memoryview(part)[sent:], *parts[at + 1 :]]
        return ()

    def close(self) -> None:
        """Ends both directions and wakes whoever waits. What was sent still arrives."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it had ended
