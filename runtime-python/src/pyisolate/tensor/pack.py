"""Pack: the tensors of one connection to a worker. What is attached there, what is leased to it, and what it may name.

What a pack has written stays in its segment, where the pack could still change it, for as long as it only moves inside
the pack's domain. Whoever else wants to see it gets one copy made here, the snapshot; only that is seen from then on.
Nothing that a worker says is believed: all it names is looked up here. Must not know how segments are made.
"""

from __future__ import annotations

import threading

from ..errors import PyisolateError
from ..rpc.frame import violation
from ..rpc.kinds import MAX_INTEGER, Limits
from ..rpc.outbox import start_in_thread
from ..rpc.values import MustWait
from .arrays import Array, make_tensor
from .dtype import DTYPES
from .inline import decode_inline, encode_inline, scalar_or_array
from .layout import check_shape
from .payload import INLINE_BYTES, TAG, Place, is_place, read_place, write_place
from .snapshot import SegmentMemory
from .tensor import Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..rpc.peer import Peer
    from ..rpc.values import Sink, Source
    from .lease import Holding
    from .pool import Pool
    from .route import Route
    from .segment import Domain, Segment
    from .snapshot import SnapshotRoom


#: What this side takes in one message.
_MESSAGE_BYTES = Limits().message_bytes


class _Lease:
    """A lease of the host: its segment may be named by the worker for as long as it lasts."""

    __slots__ = ("_attachment", "holding")

    def __init__(self, attachment: _Attachment, holding: Holding) -> None:
        self._attachment = attachment
        self.holding: Holding | None = holding
        attachment.leases.add(self)

    def end(self) -> None:
        self._attachment.leases.discard(self)
        self.holding = None


class _Attachment:
    """A segment that the worker has.

    Attributes:
        leases: Those of it that the worker has not released. Each step on the set is one of Python's own.
    """

    __slots__ = ("leases", "number", "segment")

    def __init__(self, segment: Segment, number: int) -> None:
        self.segment = segment
        self.number = number
        self.leases: set[_Lease] = set()

    def leased(self) -> Holding | None:
        """What one of the leases rests on; None: the worker has none."""
        for lease in list(self.leases):
            holding = lease.holding
            if holding is not None:
                return holding
        return None


class PackTensors:
    """A ValueExtension. `bind` it to its Peer before the peer starts.

    Attributes:
        features: For the Peer.
        methods: For the Peer.
    """

    tags = frozenset({TAG})

    def __init__(
        self,
        pack: str,
        *,
        pool: Pool,
        room: SnapshotRoom,
        domain: Domain,
        max_shm: int,
        trust_memory: bool,
        route: Route | None,
    ) -> None:
        self.trust_memory = trust_memory
        self.features = () if route is None else ("segments",)
        self.methods: dict[str, Callable[..., Any]] = {} if route is None else {"allocate": self._allocate}
        self._pack = pack
        self._pool = pool
        self._room = room
        self._domain = domain
        self._max_shm = max_shm
        self._route = route
        self._peer: Peer | None = None
        #: Held while a segment is attached.
        self._attaching = threading.Lock()
        self._attachments: dict[int, _Attachment] = {}
        self._by_segment: dict[Segment, _Attachment] = {}

    def __str__(self) -> str:
        return f'pack "{self._pack}"'

    def bind(self, peer: Peer) -> None:
        self._peer = peer

    def close(self) -> None:
        """The connection has ended. What the pack wrote stays readable for who holds it."""
        if self._route is not None:
            self._route.close()

    @property
    def _open_route(self) -> Route | None:
        """The route of segments, when both sides take it."""
        return self._route if self._peer is not None and self._peer.has_feature("segments") else None

    # ---- to the pack

    def encode(self, value: Any, sink: Sink) -> Any:
        """Raises VALUE_UNSUPPORTED, TENSOR_RELEASED, SHARED_MEMORY_EXHAUSTED, MustWait."""
        route = self._open_route
        if route is not None and isinstance(value, Tensor) and isinstance(value.memory, SegmentMemory):
            holding = self._holding_of(value.memory, route, sink) if value.nbytes > INLINE_BYTES else None
            if holding is not None:
                offset = value.memory.start + value.offset
                return self._refer(value.dtype, value.shape, value.strides, offset, holding, route, sink)
        array = scalar_or_array(value)
        if not isinstance(array, Array):
            return array
        if route is None or array.nbytes <= INLINE_BYTES:
            return encode_inline(array, sink)
        return self._encode_array(array, route, sink)

    def _holding_of(self, memory: SegmentMemory, route: Route, sink: Sink) -> Holding | None:
        """Of a segment that this pack may read and the memory lies in; None: it lies in none such."""
        with memory.lock:
            holding = memory.holding
            if holding is None or self._can_read(holding.segment, route):
                return holding
            if holding.segment.writer is None:
                return None
            taken = self._take(memory.nbytes, route, sink)
            memory.move_to(taken)
        sink.copied(memory.nbytes, route.name)
        return taken

    def _can_read(self, segment: Segment, route: Route) -> bool:
        """Whether the pack has it, or may and can be given it."""
        if segment in self._by_segment:
            return True
        return segment.route == route.name and self._pool.claim(segment, self._domain) and route.show(segment)

    def _encode_array(self, array: Array, route: Route, sink: Sink) -> Any:
        """An array of any kind: where it lies if that is memory of the pool, else copied there."""
        if array.is_as_sent:
            first, start, end = array.addresses()
            segment = self._pool.mappings.find(start, end)
            offset = 0 if segment is None else first - segment.mapping.address
            is_aligned = not offset % DTYPES[array.dtype].item_bytes
            if segment is not None and is_aligned and self._can_read(segment, route):
                holding = self._pool.hold(segment)  # the array has one, so that it is not given back before this
                return self._refer(array.dtype, array.shape, array.strides, offset, holding, route, sink)
        plan = array.plan_copy()
        holding = self._take(plan.nbytes, route, sink)
        holding.segment.write(array, plan)
        sink.copied(plan.nbytes, route.name)
        return self._refer(array.dtype, array.shape, plan.strides, plan.offset, holding, route, sink)

    def _take(self, nbytes: int, route: Route, sink: Sink) -> Holding:
        """A segment to copy into, for this pack's domain. Raises SHARED_MEMORY_EXHAUSTED, MustWait."""
        while True:
            holding = self._pool.take(route.name, self._domain, nbytes, will_fill=True)
            if holding is None:
                break
            if route.show(holding.segment):
                return holding
            self._pool.retire(holding.segment)
        if not sink.may_wait:
            raise MustWait
        return self._pool.make(None, nbytes, None, lambda size: route.make(None, self._domain, size))

    def _refer(
        self,
        dtype: str,
        shape: Sequence[int],
        strides: Sequence[int],
        offset: int,
        holding: Holding,
        route: Route,
        sink: Sink,
    ) -> Any:
        sink.copied(0, route.name)
        attachment = self._attachment_of(holding.segment, route)
        lease = sink.lease(_Lease(attachment, holding).end)
        return write_place(Place(dtype, shape, strides, attachment.number, offset, lease))

    # ---- segments of the pack

    def _attachment_of(self, segment: Segment, route: Route) -> _Attachment:
        """The pack is given the segment if it has it not. Raises what ended the connection."""
        with self._attaching:
            return self._by_segment.get(segment) or self._attach(segment, route)

    def _attach(self, segment: Segment, route: Route) -> _Attachment:
        peer = self._peer
        assert peer is not None
        is_gone = threading.Event()

        def on_released() -> None:
            is_gone.set()
            self._detach(segment, route)

        path = route.path_of(segment)
        number = peer.attach(segment.nbytes, segment.writer is self, path, on_released=on_released)
        self._pool.attached(segment, self, number)
        attachment = self._attachments[number] = self._by_segment[segment] = _Attachment(segment, number)
        if is_gone.is_set():  # before it was noted above
            self._detach(segment, route)
        try:
            route.send(segment, number, self)
        except PyisolateError:
            peer.close()
            raise
        return attachment

    def _detach(self, segment: Segment, route: Route) -> None:
        """The worker has it no more, or the connection has ended. Twice is fine."""
        attachment = self._by_segment.pop(segment, None)
        if attachment is not None:
            self._attachments.pop(attachment.number, None)
            route.hide(segment)
        self._pool.detached(segment, self)

    def give_back(self, number: int) -> None:
        """As SegmentUser; does not wait for a worker that reads slowly."""
        if self._peer is not None:
            start_in_thread(self._peer.give_back, number)

    def _allocate(self, nbytes: Any) -> int:
        """The worker asks for a segment to write. Blocks until there is room. Raises SHARED_MEMORY_EXHAUSTED."""
        route = self._open_route
        if route is None or type(nbytes) is not int or not 0 < nbytes <= MAX_INTEGER:
            asked = f"{nbytes} bytes" if type(nbytes) is int and abs(nbytes) <= MAX_INTEGER else type(nbytes).__name__
            raise PyisolateError("TENSOR_INVALID", f"{self} asks for a segment of {asked}")
        holding = self._pool.make(self, nbytes, self._max_shm, lambda size: route.make(self, self._domain, size))
        try:
            return self._attachment_of(holding.segment, route).number
        except BaseException:
            self._pool.retire(holding.segment)
            raise

    # ---- from the pack

    def decode(self, tag: str, payload: Any, source: Source) -> Any:
        """A Tensor. Raises PROTOCOL_VIOLATION."""
        return self._decode_place(payload, source) if is_place(payload) else decode_inline(payload, source, make_tensor)

    def _decode_place(self, payload: dict[str, Any], source: Source) -> Tensor:
        place = read_place(payload)
        attachment = self._attachments.get(place.segment)
        leased = None if attachment is None else attachment.leased()
        if attachment is None or (attachment.segment.writer is not self and leased is None):
            raise violation(f"{TAG} in segment {place.segment}, which is neither the pack's own nor leased to it now")
        segment = attachment.segment
        start, end = place.check(segment.nbytes)
        nbytes = check_shape(place.dtype, place.shape)
        if nbytes > _MESSAGE_BYTES:
            raise violation(f"{TAG} of {nbytes} bytes, this side accepts {_MESSAGE_BYTES} in a message")
        end_lease = source.hold(place.lease)
        if leased is not None:
            end_lease()  # whoever wrote it keeps it for us; the pack has only read it
            end_lease = [leased].clear
        memory = SegmentMemory(self._pool.hold(segment, end_lease), start, end - start, self._room)
        return Tensor.over(memory, place.dtype, place.shape, place.strides, place.offset - start)
