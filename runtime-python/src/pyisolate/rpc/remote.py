"""Exceptions on the wire: of this side as an error body, of the other side as a PyisolateError. Text only.

Must not know sessions or sockets.
"""

from __future__ import annotations

import os

from ..errors import CODES, PyisolateError, RemoteException
from .kinds import CAUSES, ERROR_TEXT_CHARS
from .values import Encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

#: What this side alone can judge; from the other side such a code is a mistake or a lie.
_OWN_JUDGEMENT = frozenset(
    """CALL_TIMEOUT PACK_DIED PACK_OUT_OF_MEMORY PACK_STOPPED PACK_UNRESPONSIVE PEER_BROKEN PEER_CLOSED
    PROTOCOL_MISMATCH PROTOCOL_VIOLATION""".split()
)


def describe(error: BaseException, depth: int = 1) -> RemoteException:
    """The exception as text, without pyisolate's own frames; with its causes. Never raises."""
    cause = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__
    return RemoteException(
        type=type(error).__name__,
        message=_text_of(error),
        args=error.args,
        traceback=_format_traceback(error, is_chained=depth == 1),
        cause=describe(cause, depth + 1) if cause is not None and depth < CAUSES else None,
    )


def error_body(error: BaseException, *, is_cancelled: bool = False) -> dict[str, Any]:
    """The body of an error frame. Never raises."""
    if is_cancelled:
        message = "the method stopped because its call was cancelled"
        return {"type": "Cancelled", "message": message, "args": [], "traceback": "", "code": "CALL_CANCELLED"}
    is_ours = isinstance(error, PyisolateError)
    remote = error.remote if isinstance(error, PyisolateError) else None
    body = _body_of(remote or describe(error))
    if isinstance(error, PyisolateError) and is_ours:
        body["code"] = error.code
    return body


def remote_error(method: str, body: dict[str, Any]) -> PyisolateError:
    """The error of a checked error body. Keeps its code when it is one of ours."""
    remote = _remote_of(body)
    code = body.get("code")
    if code not in CODES or code in _OWN_JUDGEMENT:
        code = "REMOTE_ERROR"
    is_ours = remote.type == "PyisolateError" or code == "CALL_CANCELLED"
    message = remote.message if is_ours else f'"{method}" raised {remote.type}: {remote.message}'
    return PyisolateError(code, message, remote=remote)


def _remote_of(body: dict[str, Any]) -> RemoteException:
    cause = body.get("cause")
    return RemoteException(
        body["type"], body["message"], body["args"], body["traceback"], None if cause is None else _remote_of(cause)
    )


def _body_of(remote: RemoteException) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": remote.type[:ERROR_TEXT_CHARS],
        "message": remote.message[:ERROR_TEXT_CHARS],
        "args": [_encode_argument(argument) for argument in remote.args],
        "traceback": remote.traceback[-ERROR_TEXT_CHARS:],
    }
    if remote.cause is not None:
        body["cause"] = _body_of(remote.cause)
    return body


#: Arrays and objects of the body around one argument of the innermost cause.
_ARGUMENT_DEPTH = CAUSES + 1


def _encode_argument(argument: Any) -> Any:
    """The argument's JSON form; its text where it has none, or is long, or needs an attachment."""
    encoder = Encoder()
    try:
        encoded = encoder.value(argument, _ARGUMENT_DEPTH)
        if not encoder.attachments:
            return encoded[:ERROR_TEXT_CHARS] if type(encoded) is str else encoded
    except PyisolateError:
        pass
    return _text_of(argument)[:ERROR_TEXT_CHARS]


def _text_of(value: Any) -> str:
    try:
        return str.__str__(str(value))
    except Exception as error:
        return f"<{type(value).__name__} whose text cannot be had: {type(error).__name__}>"


def _format_traceback(error: BaseException, is_chained: bool) -> str:
    import traceback

    try:
        formatted = traceback.TracebackException.from_exception(error)
        _drop_own_frames(formatted)
        return "".join(formatted.format(chain=is_chained))
    except Exception:  # an exception whose own text raises
        return ""


def _drop_own_frames(formatted: Any) -> None:
    seen = set()
    while formatted is not None and id(formatted) not in seen:
        seen.add(id(formatted))
        formatted.stack[:] = [frame for frame in formatted.stack if not _is_own(frame.filename)]
        if formatted.__cause__ is not None:
            _drop_own_frames(formatted.__cause__)
        formatted = formatted.__context__


def _is_own(filename: str) -> bool:
    return filename.startswith((_OWN_FOLDER, "<frozen importlib"))
