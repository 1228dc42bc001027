"""Snapshot: tensors that lie in segments, and what the host's code sees of them. Where a pack may still write, that is
a copy made once: nothing that was read changes afterwards. Must not know connections.
"""

from __future__ import annotations

import threading

from .payload import INLINE_BYTES
from .tensor import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .lease import Holding
    from .segment import Domain

    class SnapshotRoom(Protocol):
        """Where snapshots go."""

        def take_for_snapshot(self, domain: Domain | None, nbytes: int) -> Holding | None:
            """A use of a warm segment that this host writes; None: ordinary memory must do."""


class SegmentMemory(Memory):
    """A part of a segment that one tensor lies in.

    Attributes:
        holding: None: it was released, or lies in ordinary memory by now.
        start: Byte in the segment.
        nbytes: All that the tensor may touch.
        lock: Held while it is moved.
    """

    __slots__ = ("_room", "holding", "lock", "nbytes", "start")

    def __init__(self, holding: Holding, start: int, nbytes: int, room: SnapshotRoom) -> None:
        super().__init__(None)
        self._room = room
        self.holding: Holding | None = holding
        self.start = start
        self.nbytes = nbytes
        self.lock = threading.Lock()

    def look(self) -> memoryview:
        with self.lock:
            if self._view is None and self.holding is not None:
                self._view = self._settle(self.holding)
        return super().look()

    def _settle(self, holding: Holding) -> memoryview:
        """With the lock: where the host's code may look."""
        segment = holding.segment
        if segment.is_open:
            whole: memoryview = segment.mapping.lend(holding, is_read_only=segment.writer is not None)
            return whole[self.start : self.start + self.nbytes]
        taken = self._room.take_for_snapshot(segment.domain, self.nbytes) if self.nbytes > INLINE_BYTES else None
        room = memoryview(bytearray(self.nbytes)) if taken is None else taken.segment.mapping.lend(taken)
        view: memoryview = room[: self.nbytes]
        segment.read_into(view, self.start)
        self.holding, self.start = taken, 0
        return view

    def move_to(self, taken: Holding) -> None:
        """With the lock: makes the snapshot there, at the start. Raises TENSOR_INVALID."""
        assert self.holding is not None
        taken.segment.copy_from(self.holding.segment, self.start, self.nbytes)
        self.holding, self.start, self._view = taken, 0, None

    def release(self) -> None:
        with self.lock:
            self.holding = None
        super().release()
