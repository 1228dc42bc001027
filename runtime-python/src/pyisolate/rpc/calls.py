"""Calls of the other side that run here, and what the running code may ask: progress, cancelled.

Must not know threads, loops or sockets: what a call sends goes through its peer.
"""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .peer import Peer

#: The call that this thread or task runs.
current_call: ContextVar[Call | None] = ContextVar("pyisolate_current_call", default=None)


class Call:
    """One call of the other side.

    Attributes:
        is_cancelled: The caller no longer wants the result, or the connection has ended.
        is_answered: Its last message is sent or being sent; no event may follow.
        task: The asyncio task that runs it, if one does.
        credits: Of the stream that it gives, if it does.
    """

    __slots__ = ("args", "credits", "id", "is_answered", "is_cancelled", "method", "peer", "task")

    def __init__(self, peer: Peer, id: int, method: str, args: list[Any]) -> None:
        self.peer = peer
        self.id = id
        self.method = method
        self.args = args
        self.is_cancelled = False
        self.is_answered = False
        self.task: Any = None
        self.credits: Any = None

    def event(self, name: str, data: Any) -> None:
        """Tells the caller. Dropped when the call or the connection has ended. Raises VALUE_UNSUPPORTED."""
        if not self.is_answered:
            self.peer.send_event(self, name, data)


#: What methods and nodes usually give: nothing to await, no stream. Python builds the text of an AttributeError for
#: each look at a class in vain.
PLAIN = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict})


def is_awaitable(value: Any) -> bool:
    return type(value) not in PLAIN and hasattr(type(value), "__await__")


def progress(value: float, total: float) -> None:
    """Tells the host how far the running node is. Does nothing outside a call, e.g. while the pack is imported."""
    call = current_call.get()
    if call is not None:
        call.event("progress", {"value": value, "total": total})


def cancelled() -> bool:
    """Whether the host no longer wants the result of the running node; a long sync node may ask and return early."""
    call = current_call.get()
    return call is not None and call.is_cancelled
