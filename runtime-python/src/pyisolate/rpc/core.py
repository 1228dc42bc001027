"""Core: what both directions of a peer share. A part of peer.py. Must not know containers or tensors."""

from __future__ import annotations

from ..errors import PyisolateError
from .frame import area_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Any

    from .loop import LoopThread
    from .outbox import Outbox
    from .pool import Pool
    from .session import Session
    from .values import Encoder, OnEnd, ValueExtension


class Core:
    """
    Attributes:
        ended: Why no more calls can be made; None while they can.
        loop: Runs the coroutines that methods give.
    """

    ended: PyisolateError | None
    loop: LoopThread
    _session: Session
    _outbox: Outbox
    _pool: Pool
    _extension: ValueExtension | None
    #: Guards `ended` and the opening of ids.
    _lock: threading.Lock

    def _open_lease(self, on_end: OnEnd) -> int:
        with self._lock:
            if self.ended is None:
                return self._session.open_lease(on_end)
        on_end()
        return 0  # nothing is sent any more

    def _end_leases(self, encoder: Encoder) -> None:
        """The message is not sent after all."""
        if encoder.transfer is not None:
            for id in encoder.transfer.leases:
                self._session.end_lease(id)

    def _encode(self, encoder: Encoder, key: str, value: Any) -> dict[str, Any]:
        body = {key: encoder.value(value)}
        if encoder.attachments:
            body["attachments"] = [attachment.nbytes for attachment in encoder.attachments]
        return body

    def _check_size(self, encoder: Encoder) -> None:
        remote = self._session.remote
        total = area_bytes([attachment.nbytes for attachment in encoder.attachments])
        if remote is not None and total > remote.message_bytes:
            raise PyisolateError(
                "VALUE_UNSUPPORTED", f"{total} attachment bytes, the other side accepts {remote.message_bytes}"
            )
