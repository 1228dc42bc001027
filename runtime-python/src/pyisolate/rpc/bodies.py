"""Bodies: the JSON objects of frames, checked key by key. Mirrors bodies.ts. Must not know ids, credits or sockets.

All of these raise PROTOCOL_VIOLATION.
"""

from __future__ import annotations

import re

from ..errors import PyisolateError
from .frame import violation
from .kinds import (
    CALL,
    CAUSES,
    ERROR,
    EVENT,
    MAX_CALLS,
    MAX_INTEGER,
    MAX_ITEMS,
    MAX_VERSION,
    RESULT,
    SEGMENT_STEP_BYTES,
    VERSIONS,
    Limits,
)
from .values import Decoder, is_count, read_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EVENTS = frozenset({"progress", "log", "preview"})
_CALL_KEYS = frozenset({"method", "args", "timeoutMs", "attachments"})
_RESULT_KEYS = frozenset({"value", "attachments"})
_EVENT_KEYS = frozenset({"event", "data", "attachments"})
_ATTACH_KEYS = frozenset({"nbytes", "writable", "path"})
_ERROR_KEYS = frozenset({"type", "message", "args", "traceback", "code", "cause"})
_FILE_NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,255}").fullmatch
_INFINITY = float("inf")


def read_hello(body: bytes | bytearray) -> tuple[Limits, frozenset[str]]:
    tree, _ = read_object(body)
    protocol, features, limits = tree.get("protocol"), tree.get("features"), tree.get("limits")
    if not (
        type(protocol) is list
        and len(protocol) == 2
        and all(is_count(version) and version <= MAX_VERSION for version in protocol)
        and protocol[0] <= protocol[1]
        and type(features) is list
        and all(type(feature) is str for feature in features)
        and type(limits) is dict
    ):
        raise violation("a hello of another shape")
    calls, message_bytes, items = limits.get("calls"), limits.get("messageBytes"), limits.get("items", 0)
    if not (
        is_count(calls)
        and 1 <= calls <= MAX_CALLS
        and is_count(message_bytes)
        and message_bytes <= MAX_INTEGER
        and is_count(items)
        and items <= MAX_ITEMS
    ):
        raise violation("a hello with other limits than the wire has")
    low, high = VERSIONS
    if protocol[0] > high or protocol[1] < low:
        raise PyisolateError(
            "PROTOCOL_MISMATCH",
            f"the peer speaks protocol {protocol[0]} to {protocol[1]}, this side {low} to {high}",
            next="Rebuild the pack's image with this version of pyisolate.",
        )
    return Limits(calls, message_bytes, items), frozenset(features)


def read_attach(body: bytes | bytearray) -> tuple[int, bool, str | None] | None:
    """nbytes, writable and path of a new segment; None: one is wanted back."""
    tree, _ = read_object(body)
    nbytes, writable, path = tree.get("nbytes"), tree.get("writable"), tree.get("path")
    if not (
        tree.keys() <= _ATTACH_KEYS
        and is_count(nbytes)
        and nbytes % SEGMENT_STEP_BYTES == 0
        and nbytes <= MAX_INTEGER
        and type(writable) is bool
        and ("path" not in tree or (type(path) is str and _FILE_NAME(path)))
    ):
        raise violation("an attach of another shape")
    if nbytes > 0:
        return nbytes, writable, path
    if writable or path is not None:
        raise violation("an attach of 0 bytes that is more than the wish to have it back")
    return None


def _check_call_body(body: dict[str, Any]) -> None:
    timeout_ms = body.get("timeoutMs", 0)
    is_time = (type(timeout_ms) is int or type(timeout_ms) is float) and 0 <= timeout_ms < _INFINITY
    if not (is_time and type(body.get("method")) is str and type(body.get("args")) is list):
        raise violation("a call of another shape")
    if len(body) != 2 + ("timeoutMs" in body):
        if not body.keys() <= _CALL_KEYS:
            raise violation("a call of another shape")
        _check_lengths_shape(body)


def _check_result_body(body: dict[str, Any]) -> None:
    if not (body.keys() <= _RESULT_KEYS and "value" in body):
        raise violation("a result of another shape")
    if "attachments" in body:
        _check_lengths_shape(body)


def _check_event_body(body: dict[str, Any]) -> None:
    event = body.get("event")
    if not (body.keys() <= _EVENT_KEYS and "data" in body and type(event) is str and event in _EVENTS):
        raise violation("an event of another shape")
    if "attachments" in body:
        _check_lengths_shape(body)


def _check_lengths_shape(body: dict[str, Any]) -> None:
    lengths = body["attachments"]
    if not (type(lengths) is list and all(map(is_count, lengths))):
        raise violation("attachments that are not a list of lengths")


def _check_error_body(body: dict[str, Any], depth: int = 0) -> None:
    texts = (body.get("type"), body.get("message"), body.get("traceback"), body.get("code", ""))
    if not (body.keys() <= _ERROR_KEYS and type(body.get("args")) is list and all(type(text) is str for text in texts)):
        raise violation("an error of another shape")
    if "cause" in body:
        if type(body["cause"]) is not dict or depth == CAUSES - 1:
            raise violation(f"the cause of an error is no error, or there are more than {CAUSES}")
        _check_error_body(body["cause"], depth + 1)


def decode_error(body: dict[str, Any]) -> dict[str, Any]:
    decoded = {**body, "args": Decoder().value(body["args"])}
    if "cause" in body:
        decoded["cause"] = decode_error(body["cause"])
    return decoded


#: Raises PROTOCOL_VIOLATION when the body of that kind is not as docs/protocol.md says.
CHECKS = {CALL: _check_call_body, RESULT: _check_result_body, EVENT: _check_event_body, ERROR: _check_error_body}
