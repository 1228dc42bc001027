"""Worker: tensors in the process of a pack. What came is mapped privately, what goes out is written in place.

Threads: one lock, held for short steps only. Must not know nodes.
"""

from __future__ import annotations

import os
import weakref
from functools import partial
from operator import index

from ..errors import PyisolateError
from ..rpc.frame import violation
from ..rpc.values import MustWait
from .arrays import Array
from .dtype import DTYPES
from .inline import InlineTensors, decode_inline, encode_inline, scalar_or_array
from .layout import check_shape
from .lease import Holding, Uses, keep_until_called
from .payload import INLINE_BYTES, TAG, Place, is_place, read_place, write_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..rpc.peer import Peer
    from ..rpc.values import Sink, Source
    from .descriptors import DescriptorReceiver
    from .pages import Pagemap
    from .segment import Mapping, Mappings


class _Segment:
    """One that the host has attached.

    Attributes:
        descriptor: To map it once more; owned.
        shared: What the pack writes its results into; None: the host or another pack writes it.
        idle: A private mapping that nobody uses, without private pages.
        uses: Arrays of the pack in it, private mappings in use, and leases of the host.
    """

    __slots__ = ("descriptor", "idle", "is_wanted_back", "nbytes", "number", "shared", "uses")

    def __init__(self, number: int, nbytes: int, descriptor: int, shared: Mapping | None) -> None:
        self.number = number
        self.nbytes = nbytes
        self.descriptor = descriptor
        self.shared = shared
        self.idle: _View | None = None
        self.uses = 0
        self.is_wanted_back = False


class _View:
    """A private mapping. Each lease of a segment has one of its own: what one call writes into its input shows in no
    other's.

    Attributes:
        holding: The use of it, if there is one.
        touched: Addresses that the lease showed.
        release: Tells the host that the lease has ended.
    """

    __slots__ = ("holding", "mapping", "release", "segment", "touched")

    def __init__(self, segment: _Segment, mapping: Mapping) -> None:
        self.segment = segment
        self.mapping = mapping
        self.holding: Callable[[], Holding | None] = lambda: None
        self.touched = (0, 0)
        self.release: Callable[[], None] = lambda: None


class WorkerTensors(InlineTensors):
    """A ValueExtension. `bind` it to its Peer before the peer starts.

    Attributes:
        features: For the Peer.
    """

    def __init__(self, descriptors: DescriptorReceiver | None = None, directory: str | None = None) -> None:
        """Where segments come from: a descriptor socket, or a directory of files; None and None: inline only."""
        super().__init__()
        self.features = () if descriptors is None and directory is None else ("segments",)
        self._descriptors = descriptors
        self._directory = directory
        self._route = "path" if descriptors is None else "descriptor"
        self._peer: Peer | None = None
        self._lock = Uses(self._use_ended)
        self._segments: dict[int, _Segment] = {}
        #: Segments for results, that this side has asked for and nobody uses; the one that was used last at the end.
        self._free: list[_Segment] = []
        #: Address → the _Segment of a shared mapping, the _View of a private one. Made with the first segment.
        self._mappings: Mappings | None = None
        self._pagemap: Pagemap | None = None

    def bind(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def _is_on(self) -> bool:
        return self._peer is not None and self._peer.has_feature("segments")

    # ---- segments

    def on_attach(self, id: int, nbytes: int, writable: bool, path: str | None) -> None:
        """Raises PROTOCOL_VIOLATION."""
        from .pages import Pagemap
        from .segment import PRIVATE, SHARED, Mapping, Mappings

        descriptor = self._open(id, nbytes, writable, path)
        try:
            mapping = Mapping(descriptor, nbytes, SHARED if writable else PRIVATE)
        except (OSError, ValueError) as error:
            os.close(descriptor)
            raise violation(f"segment {id} of {nbytes} bytes cannot be mapped: {error}") from None
        with self._lock:
            if self._mappings is None:
                self._mappings, self._pagemap = Mappings(), Pagemap()
            segment = self._segments[id] = _Segment(id, nbytes, descriptor, mapping if writable else None)
            if writable:
                self._mappings.add(mapping, segment)
            else:
                segment.idle = _View(segment, mapping)
                self._mappings.add(mapping, segment.idle)

    def _open(self, id: int, nbytes: int, writable: bool, path: str | None) -> int:
        if path is None:
            if self._descriptors is None:
                raise violation(f"segment {id} by descriptor, without a descriptor socket")
            return self._descriptors.receive(id, nbytes)
        if self._directory is None:
            raise violation(f"segment {id} by path, without a directory of segments")
        flags = os.O_RDWR if writable else os.O_RDONLY
        try:
            return os.open(os.path.join(self._directory, path), flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise violation(f"segment {id} cannot be opened: {error}") from None

    def on_give_back(self, id: int) -> None:
        """Nothing new is put into the segment; it is let go when nothing of it is in use."""
        with self._lock:
            segment = self._segments.get(id)
            if segment is not None:
                segment.is_wanted_back = True
                if segment in self._free:
                    self._free.remove(segment)
                self._let_go_if_unused(segment)

    def _let_go_if_unused(self, segment: _Segment) -> None:
        """With the lock."""
        if segment.uses or not segment.is_wanted_back:
            return
        del self._segments[segment.number]
        assert self._mappings is not None and self._peer is not None
        if segment.shared is not None:
            self._mappings.remove(segment.shared)
        if segment.idle is not None:
            self._mappings.remove(segment.idle.mapping)
        segment.shared = segment.idle = None
        os.close(segment.descriptor)
        self._peer.release(segment.number)

    def _use_ended(self, ended: _Segment | _View) -> None:
        """With the lock."""
        segment = ended.segment if isinstance(ended, _View) else ended
        segment.uses -= 1
        if isinstance(ended, _View):
            self._put_back(ended)
        if not segment.uses and segment.shared is not None and not segment.is_wanted_back:
            self._free.append(segment)
        self._let_go_if_unused(segment)

    def _put_back(self, view: _View) -> None:
        """The next lease of the segment must see nothing that this one wrote."""
        assert self._pagemap is not None and self._mappings is not None
        if view.segment.idle is None:
            ranges = self._pagemap.private_ranges(*view.touched)
            if ranges:
                view.mapping.forget_private(ranges)
            view.segment.idle = view
        else:
            self._mappings.remove(view.mapping)
        view.release()

    # ---- from the host

    def decode(self, tag: str, payload: Any, source: Source) -> Any:
        """An array that is writable, and whose changes nobody else sees. Raises PROTOCOL_VIOLATION."""
        if not is_place(payload):
            return decode_inline(payload, source, self.maker())
        place = read_place(payload)
        segment = self._segments.get(place.segment)
        if segment is None:
            raise violation(f"{TAG} in segment {place.segment}, which is not attached")
        start, end = place.check(segment.nbytes)
        view = self._take_view(segment)
        address = view.mapping.address
        view.touched = (address + start, address + end)
        holding = Holding(segment, partial(self._lock.end, view))
        view.holding = weakref.ref(holding)
        view.release = source.hold(place.lease)
        make = self.make or self.maker()
        return make(place.dtype, place.shape, place.strides, view.mapping.lend(holding), place.offset)

    def _take_view(self, segment: _Segment) -> _View:
        from .segment import PRIVATE, Mapping

        with self._lock:
            self._lock.count_ended()
            segment.uses += 1
            if segment in self._free:
                self._free.remove(segment)
            view, segment.idle = segment.idle, None
            if view is None:
                view = _View(segment, Mapping(segment.descriptor, segment.nbytes, PRIVATE))
                assert self._mappings is not None
                self._mappings.add(view.mapping, view)
        return view

    # ---- to the host

    def encode(self, value: Any, sink: Sink) -> Any:
        """Raises VALUE_UNSUPPORTED, SHARED_MEMORY_EXHAUSTED, MustWait."""
        array = scalar_or_array(value)
        if not isinstance(array, Array):
            return array
        if array.nbytes <= INLINE_BYTES or not self._is_on:
            return encode_inline(array, sink)
        from .memory import copy_memory

        sink.copied(0, self._route)
        offset, holding = self._find(array)
        strides: Sequence[int] = array.strides
        if holding is None:
            plan = array.plan_copy()
            holding = self._take(plan.nbytes, sink.may_wait)
            target = holding.segment.shared.view(0, plan.nbytes)
            if plan.shape is None:
                copy_memory(target, array.span_bytes())
            else:
                array.copy_into(target, plan.shape)
            sink.copied(plan.nbytes, self._route)
            offset, strides = plan.offset, plan.strides
        lease = sink.lease(keep_until_called(holding))
        return write_place(Place(array.dtype, array.shape, strides, holding.segment.number, offset, lease))

    def _find(self, array: Array) -> tuple[int, Holding | None]:
        """Byte of its first element in the segment that holds all of it, and a use of that; None: it must be copied."""
        if not array.is_as_sent or self._mappings is None or self._pagemap is None:
            return 0, None
        first, start, end = array.addresses()
        found = self._mappings.find(start, end)
        if found is None:
            return 0, None
        offset = first - (found.mapping if isinstance(found, _View) else found.shared).address
        if offset % DTYPES[array.dtype].item_bytes:
            return 0, None
        if isinstance(found, _View):
            return offset, None if self._pagemap.private_ranges(start, end) else found.holding()
        with self._lock:
            return offset, self._hold(found)

    def _hold(self, segment: _Segment) -> Holding:
        """With the lock."""
        segment.uses += 1
        return Holding(segment, partial(self._lock.end, segment))

    def _take(self, nbytes: int, may_wait: bool) -> Holding:
        """A segment for a result: one that is free, else one that the host makes."""
        with self._lock:
            self._lock.count_ended()
            segment = self._best_free(nbytes)
            if segment is not None:
                self._free.remove(segment)
                return self._hold(segment)
        if not may_wait:
            raise MustWait
        assert self._peer is not None
        number = self._peer.call("allocate", nbytes)
        with self._lock:
            segment = self._segments.get(number) if type(number) is int else None
            if segment is None or segment.shared is None or segment.nbytes < nbytes or segment.uses:
                raise PyisolateError("TENSOR_INVALID", f"the host gave segment {number!r} for {nbytes} bytes")
            return self._hold(segment)

    def _best_free(self, nbytes: int) -> _Segment | None:
        """With the lock: the smallest that is large enough and not far too large."""
        best: _Segment | None = None
        for segment in self._free:
            is_fit = nbytes <= segment.nbytes <= max(2 * nbytes, _SMALL_BYTES)
            if is_fit and (best is None or segment.nbytes <= best.nbytes):
                best = segment
        return best

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Any:
        """As `pyisolate.empty`."""
        nbytes = check_shape(dtype, shape)
        if nbytes <= INLINE_BYTES or not self._is_on:
            memory = memoryview(bytearray(nbytes))
        else:
            holding = self._take(nbytes, may_wait=True)
            memory = holding.segment.shared.lend(holding)
        return self.maker()(dtype, shape, None, memory, 0)


#: A segment up to this size is good for any smaller result.
_SMALL_BYTES = 256 * 1024

#: Of this process, if it is one: set once, when it starts.
_of_process: list[WorkerTensors] = []


def serve_empty(tensors: WorkerTensors) -> None:
    """Makes `pyisolate.empty` take its memory there."""
    _of_process[:] = [tensors]


def empty(shape: int | Sequence[int], dtype: Any = "float32") -> Any:
    """An array to be filled, of the kind that the pack works with; as a result of a node it is not copied.

    Its content is undefined. `dtype`: a name as numpy and torch spell it, or a dtype of theirs. In the thread of an
    event loop it may block while the host makes a segment. Outside of a worker it is ordinary memory.

    Raises: PyisolateError TENSOR_INVALID; SHARED_MEMORY_EXHAUSTED when the pack has as much as it may have.
    """
    tensors = _of_process[0] if _of_process else WorkerTensors()
    counts: Any = shape if hasattr(shape, "__len__") else [shape]
    return tensors.empty([index(count) for count in counts], _name_of(dtype))


def _name_of(dtype: Any) -> str:
    """Of "float32", numpy.dtype("float32"), numpy.float32 and torch.float32."""
    if isinstance(dtype, str):
        return dtype
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return str(name).replace("torch.", "").rstrip("_")
