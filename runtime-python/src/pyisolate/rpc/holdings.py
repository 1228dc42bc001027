"""Holdings: what of one connection outlives its calls. A part of the session's state; nobody else changes it.

Leases and segments of this side, until the peer releases them, and those of the peer that this side uses.
Every method may be called from any thread and from finalizers: each is one step of a dict. Must not know frames.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEASE, SEGMENT, WANTED_BACK = "lease", "segment", "wanted back"


class Holdings:
    """
    Attributes:
        ours: What to call when the peer no longer uses it, by id. Only to be looked at from outside, as `theirs`.
    """

    __slots__ = ("ours", "theirs")

    def __init__(self) -> None:
        self.ours: dict[int, Callable[[], object]] = {}
        self.theirs: dict[int, str] = {}

    def add_ours(self, id: int, on_end: Callable[[], object]) -> None:
        self.ours[id] = on_end

    def end_ours(self, id: int) -> None:
        """Ends a lease or segment of this side; nothing happens when it has ended."""
        on_end = self.ours.pop(id, None)
        if on_end is not None:
            on_end()

    def end_all_ours(self) -> None:
        for id in list(self.ours):
            self.end_ours(id)

    def add_theirs(self, id: int, what: str) -> None:
        self.theirs[id] = what

    def remove_theirs(self, id: int) -> bool:
        """False: this side did not use it."""
        return self.theirs.pop(id, None) is not None

    def want_back(self, id: int) -> bool:
        """The peer wants a segment back; False: it is none that is here, or was wanted before."""
        is_here = self.theirs.get(id) == SEGMENT
        if is_here:
            self.theirs[id] = WANTED_BACK
        return is_here
