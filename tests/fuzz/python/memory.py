"""Memory: the tensors of a fuzzed session. On a worker's side the real WorkerTensors, over a memory file; on a host's
the real PackTensors, over segments of ordinary memory. Mirrors typescript/memory.ts.
"""

from __future__ import annotations

import os
from typing import Any

import atheris

with atheris.instrument_imports(include=["pyisolate"]):
    from pyisolate.rpc.frame import violation
    from pyisolate.tensor.arrays import make_tensor
    from pyisolate.tensor.inline import InlineTensors
    from pyisolate.tensor.pack import PackTensors
    from pyisolate.tensor.pages import Pagemap
    from pyisolate.tensor.pool import Pool
    from pyisolate.tensor.segment import Domain, Mappings, Segment
    from pyisolate.tensor.snapshot import SegmentMemory
    from pyisolate.tensor.tensor import Tensor
    from pyisolate.tensor.worker import WorkerTensors

SEGMENT_BYTES = 128 * 1024
#: A view may repeat one element without end; nobody copies that.
MAX_LOOKED_AT_BYTES = 256 * 1024


def look(value: Any) -> None:
    """Looks at the tensors of a value as a program would."""
    if isinstance(value, Tensor):
        if value.nbytes <= MAX_LOOKED_AT_BYTES and len(value.data) != value.nbytes:
            raise ValueError(f"{len(value.data)} bytes for {value.nbytes}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            look(item)
    elif isinstance(value, dict):
        look(list(value.values()))


class _Connection:
    """What the tensors of a connection ask of their Peer."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.release = session.release

    def has_feature(self, name: str) -> bool:
        return name in self._session.features

    def attach(self, nbytes: int, writable: bool, path: str | None, *, on_released: Any) -> int:
        id, _ = self._session.open_segment(nbytes, writable, path, on_released)
        return id

    def give_back(self, number: int) -> None:
        pass


class InlineMemory(InlineTensors):
    def __init__(self) -> None:
        super().__init__(make_tensor)

    look = staticmethod(look)

    def bind(self, session: Any) -> None:
        pass

    def gifts(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class _MemoryFile:
    """In place of the descriptor socket: every segment is the same file."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("fuzz")
        os.ftruncate(self._descriptor, 8 * SEGMENT_BYTES)

    def receive(self, number: int, nbytes: int) -> int:
        if nbytes > 8 * SEGMENT_BYTES:
            raise violation(f"segment {number} of {nbytes} bytes never comes")
        return os.dup(self._descriptor)


_FILE = _MemoryFile()
_PAGEMAP = Pagemap()


class WorkerMemory(WorkerTensors):
    def __init__(self) -> None:
        super().__init__(_FILE)
        self.make = make_tensor
        self._mappings, self._pagemap = Mappings(), _PAGEMAP  # a process has one worker, this one has thousands

    look = staticmethod(look)

    def bind(self, session: Any) -> None:
        super().bind(_Connection(session))

    def gifts(self) -> list[Any]:
        return []

    def close(self) -> None:
        for number in list(self._segments):
            self.on_give_back(number)
        for segment in self._segments.values():
            os.close(segment.descriptor)  # an error that was raised has the tensors in it


class PlainSegment(Segment):
    route = "descriptor"

    def __init__(self, data: bytearray, writer: Any, domain: Domain) -> None:
        super().__init__(len(data), writer, domain)
        self._data = data

    def read_into(self, target: memoryview, start: int) -> None:
        if start < 0 or start + len(target) > self.nbytes:
            raise ValueError(f"{len(target)} bytes at {start} of {self.nbytes}")
        target[:] = self._data[start : start + len(target)]

    def close(self) -> None:
        pass


class _Route:
    name = "descriptor"

    def show(self, segment: Segment) -> bool:
        return True

    def path_of(self, segment: Segment) -> None:
        return None

    def send(self, segment: Segment, number: int, pack: PackTensors) -> None:
        pass

    def hide(self, segment: Segment) -> None:
        pass

    def close(self) -> None:
        pass


class _Room:
    def take_for_snapshot(self, domain: Domain | None, nbytes: int) -> None:
        return None


#: What all inputs read: its content is nobody's business.
TO_PACK = bytearray(SEGMENT_BYTES)
FROM_PACK = bytearray(SEGMENT_BYTES)


class HostMemory(PackTensors):
    """Its first call brings a tensor in a segment that the host writes, and one that the pack writes."""

    def __init__(self) -> None:
        self.domain = Domain()
        pool = Pool(2**40, 2**40, 1e9, 0.0)
        super().__init__(
            "fuzz", pool=pool, room=_Room(), domain=self.domain, max_shm=2**40, trust_memory=False, route=_Route()
        )
        self.pool = pool

    look = staticmethod(look)

    def bind(self, session: Any) -> None:
        super().bind(_Connection(session))

    def gifts(self) -> list[Any]:
        return [self._gift(TO_PACK, None), self._gift(FROM_PACK, self)]

    def _gift(self, data: bytearray, writer: Any) -> Tensor:
        holding = self.pool.hold(PlainSegment(data, writer, self.domain))
        return Tensor.over(SegmentMemory(holding, 0, SEGMENT_BYTES, _Room()), "uint8", [SEGMENT_BYTES])
