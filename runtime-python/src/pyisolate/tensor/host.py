"""Host: the tensors of a program that has packs, and its pool of segments. Must not know containers."""

from __future__ import annotations

from .layout import check_shape
from .pack import PackTensors
from .payload import INLINE_BYTES
from .pool import MIB, Pool
from .route import DescriptorRoute, PathRoute
from .segment import Domain, MemorySegment
from .snapshot import SegmentMemory
from .tensor import Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lease import Holding
    from .route import Route

__all__ = ["DescriptorRoute", "Domain", "HostTensors", "PathRoute"]


class HostTensors:
    """One per program."""

    def __init__(
        self, total_bytes: int, keep_bytes: int = 256 * MIB, idle_s: float = 10.0, wait_s: float = 5.0
    ) -> None:
        """`total_bytes`: of all shared memory of this program.

        `keep_bytes`: of shared memory that no tensor lies in and that is kept for the next one; `idle_s`: for how long.
        `wait_s`: how long a tensor waits for memory that others release.
        """
        self._pool = Pool(total_bytes, keep_bytes, idle_s, wait_s)

    def domain(self) -> Domain:
        """A new one: its packs read each other's tensors where they lie."""
        return Domain()

    def connect(
        self, pack: str, *, domain: Domain, max_shm: int, trust_memory: bool = False, route: Route | None = None
    ) -> PackTensors:
        """The tensors of one connection to a worker.

        `max_shm`: bytes of all segments that the pack writes. `trust_memory`: the host's code looks at its tensors
        where they lie. `route`: owned; None: inline only.
        """
        return PackTensors(
            pack, pool=self._pool, room=self, domain=domain, max_shm=max_shm, trust_memory=trust_memory, route=route
        )

    def empty(self, shape: Sequence[int], dtype: str = "float32", domain: Domain | None = None) -> Tensor:
        """A tensor to be written by the host's code. The packs of the first domain that it is sent to get it uncopied.

        With `domain` those are named at once, and warm memory of theirs is used, whose old content shows.
        Raises: PyisolateError TENSOR_INVALID, SHARED_MEMORY_EXHAUSTED.
        """
        nbytes = check_shape(dtype, shape)
        if nbytes <= INLINE_BYTES:
            return Tensor(dtype, shape, bytearray(nbytes))
        holding = self._pool.take(MemorySegment.route, domain, nbytes, will_fill=False)
        if holding is None:
            holding = self._pool.make(None, nbytes, None, lambda size: MemorySegment(size, None, domain))
        return Tensor.over(SegmentMemory(holding, 0, nbytes, self), dtype, shape)

    def take_for_snapshot(self, domain: Domain | None, nbytes: int) -> Holding | None:
        """As SnapshotRoom. Best is memory that no pack has seen: it goes to any one without a copy."""
        if not self._pool.has_ease(nbytes):
            return None
        taken = self._pool.take(MemorySegment.route, None, nbytes, will_fill=True)
        if taken is None:
            taken = self._pool.take(MemorySegment.route, domain, nbytes, will_fill=True)
        if taken is None:
            self._pool.warm_later(nbytes, lambda size: MemorySegment(size, None, None))
        return taken

    def stats(self) -> dict[str, int]:
        """As `Pool.stats`."""
        return self._pool.stats()

    def close(self) -> None:
        """Gives all memory back, that of tensors in use as soon as they are released. Connections must have ended."""
        self._pool.close()
