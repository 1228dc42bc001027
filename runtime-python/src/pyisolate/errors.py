"""The one error class of pyisolate. Codes are API, the same as in src/errors.ts (a test compares)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CODES = frozenset(
    """
    USAGE MANIFEST_NOT_FOUND MANIFEST_INVALID POLICY_INVALID POLICY_REFUSED
    ENGINE_UNAVAILABLE ENGINE_NOT_PERMITTED ENGINE_UNSUPPORTED ENGINE_FAILED
    BASE_UNAVAILABLE DEPENDENCY_UNRESOLVED IMAGE_BUILD_FAILED IMAGE_TOO_LARGE SOURCE_INVALID
    LIMIT_NOT_ENFORCED ISOLATION_UNAVAILABLE PACK_START_FAILED PACK_START_TIMEOUT PACK_LOAD_FAILED
    PACK_DIED PACK_OUT_OF_MEMORY PACK_UNRESPONSIVE PACK_STOPPED
    NODE_UNKNOWN INPUT_MISSING INPUT_INVALID PICTURE_INVALID
    NODE_FAILED CALL_TIMEOUT CALL_CANCELLED
    VALUE_UNSUPPORTED TENSOR_INVALID TENSOR_RELEASED SHARED_MEMORY_EXHAUSTED METHOD_UNKNOWN REMOTE_ERROR
    PROTOCOL_MISMATCH PROTOCOL_VIOLATION PEER_BROKEN PEER_CLOSED
    """.split()
)


class RemoteException:
    """An exception as text, as it goes over the wire. Nothing of it is ever constructed on the other side.

    Attributes:
        type: Class name, e.g. "ValueError".
        args: Values of the wire; text where an argument has no wire form.
        traceback: Formatted, without pyisolate's own frames; "" when there is none.
    """

    __slots__ = ("args", "cause", "message", "traceback", "type")

    def __init__(
        self,
        type: str,
        message: str,
        args: Sequence[Any] = (),
        traceback: str = "",
        cause: RemoteException | None = None,
    ) -> None:
        self.type = type
        self.message = message
        self.args = list(args)
        self.traceback = traceback
        self.cause = cause


class PyisolateError(Exception):
    """The message says what failed, which thing, expected and got.

    Attributes:
        code: One of CODES.
        next: The next step for a person, or None.
        remote: The exception that was raised on the other side, or that the other side is to be told of.
    """

    def __init__(
        self,
        code: str,
        message: str,
        next: str | None = None,
        cause: BaseException | None = None,
        remote: RemoteException | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next = next
        self.remote = remote
        self.__cause__ = cause

    def __repr__(self) -> str:
        return f"PyisolateError({self.code!r}, {self.message!r})"
