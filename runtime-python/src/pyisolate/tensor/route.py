"""Route: how one pack comes to its segments, seen from the host. Must not know tensors."""

from __future__ import annotations

import os
from itertools import count

from .descriptors import DescriptorSender
from .segment import FileSegment, MemorySegment

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Union

    from .segment import Domain, Segment, SegmentUser

    Route = Union["DescriptorRoute", "PathRoute"]


class DescriptorRoute:
    """As descriptors, over a second socket of the worker. Owns the connection."""

    name = MemorySegment.route

    def __init__(self, connection: socket.socket) -> None:
        self._sender = DescriptorSender(connection)

    def make(self, writer: SegmentUser | None, domain: Domain, nbytes: int) -> Segment:
        """Slow. Raises OSError."""
        return MemorySegment(nbytes, writer, domain)

    def show(self, segment: Segment) -> bool:
        """Makes sure that the pack can open it; False: it cannot be."""
        return True

    def path_of(self, segment: Segment) -> str | None:
        """For the attach frame."""
        return None

    def send(self, segment: Segment, number: int, pack: SegmentUser) -> None:
        """What goes beside the attach frame. Raises PEER_BROKEN, PROTOCOL_VIOLATION."""
        assert isinstance(segment, MemorySegment)
        descriptor = segment.open_for(pack)
        try:
            self._sender.send(number, segment.nbytes, descriptor)
        finally:
            os.close(descriptor)

    def hide(self, segment: Segment) -> None:
        """The pack has it no more."""

    def close(self) -> None:
        self._sender.close()


class PathRoute:
    """As files of a directory that is mounted into the container. Borrowed: files are made and removed in it."""

    name = FileSegment.route
    #: Of files: links to them must not meet another in the directory of another pack.
    _numbers = count(1)

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def make(self, writer: SegmentUser | None, domain: Domain, nbytes: int) -> Segment:
        return FileSegment(nbytes, writer, domain, self._directory, f"segment-{next(self._numbers)}")

    def show(self, segment: Segment) -> bool:
        assert isinstance(segment, FileSegment)
        try:
            segment.link_into(self._directory)
        except OSError:
            return False  # the directory of the only other link went with its container
        return True

    def path_of(self, segment: Segment) -> str | None:
        assert isinstance(segment, FileSegment)
        return segment.name

    def send(self, segment: Segment, number: int, pack: SegmentUser) -> None:
        pass

    def hide(self, segment: Segment) -> None:
        assert isinstance(segment, FileSegment)
        segment.unlink_from(self._directory)

    def close(self) -> None:
        pass
