"""The one table of frame kinds, flags and limits, after docs/protocol.md (a test holds the two together).

Must not know what a message means to whoever sends it.
"""

from __future__ import annotations

REPLY = 1
LAST = 2
MORE = 4
FLAG_NAMES = {"reply": REPLY, "last": LAST, "more": MORE}

HELLO, CALL, RESULT, ERROR, EVENT, CANCEL, RELEASE, PING, PONG, ATTACH, DIAL, STOP = range(1, 13)


class Kind:
    """One row of the table.

    Attributes:
        id: Whose counter the id comes from: "connection" (the id is 0), "sender" or "receiver".
        flags: Every value of the flags byte that this kind may have.
        body: Name of the body; "empty": no body.
        feature: Both hellos must name it; None: part of every version.
    """

    __slots__ = ("attachments", "body", "feature", "flags", "has_body", "has_id", "id", "name", "number")

    def __init__(
        self, number: int, name: str, id: str, flags: tuple[int, ...], body: str, attachments: bool, feature: str | None
    ) -> None:
        self.number = number
        self.name = name
        self.id = id
        self.flags = flags
        self.body = body
        self.attachments = attachments
        self.feature = feature
        self.has_id = id != "connection"
        self.has_body = body != "empty"


KINDS = (
    Kind(HELLO, "hello", "connection", (0,), "hello", False, None),
    Kind(CALL, "call", "sender", (0, 4), "call", True, None),
    Kind(RESULT, "result", "receiver", (1, 3, 5, 7), "result", True, None),
    Kind(ERROR, "error", "receiver", (3,), "error", False, None),
    Kind(EVENT, "event", "receiver", (1, 5), "event", True, None),
    Kind(CANCEL, "cancel", "sender", (0,), "empty", False, None),
    Kind(RELEASE, "release", "receiver", (0, 4), "empty", False, None),
    Kind(PING, "ping", "connection", (0,), "empty", False, None),
    Kind(PONG, "pong", "connection", (0,), "empty", False, None),
    Kind(ATTACH, "attach", "sender", (0,), "attach", False, "segments"),
    Kind(DIAL, "dial", "connection", (0,), "dial", False, "dial"),
    Kind(STOP, "stop", "connection", (0,), "empty", False, None),
)
KIND_BY_NUMBER = {kind.number: kind for kind in KINDS}

KIB = 1024
MIB = 1024 * KIB

VERSIONS = (1, 1)

HEADER_BYTES = 16
BODY_STEP_BYTES = 16
BODY_BYTES = 16 * MIB
HELLO_BYTES = 4096
ATTACHMENT_STEP_BYTES = 64
#: Most attachment bytes of one frame; longer areas are cut.
ATTACHMENT_BYTES = 4 * MIB
NESTING = 64
CAUSES = 8
ERROR_TEXT_CHARS = 65_536
MAX_ID = 2**32 - 1
MAX_CALLS = 65_536
MAX_ITEMS = 65_536
MAX_VERSION = 65_535
MAX_INTEGER = 2**53 - 1
SEGMENT_STEP_BYTES = 4096


class Limits:
    """What one side accepts, stated in its hello.

    Attributes:
        calls: Calls in flight.
        message_bytes: Attachment bytes of one message.
        items: Items of one stream that were not asked for one by one; 0: no streams.
    """

    __slots__ = ("calls", "items", "message_bytes")

    def __init__(self, calls: int = 64, message_bytes: int = 2**31, items: int = 16) -> None:
        self.calls = calls
        self.message_bytes = message_bytes
        self.items = items
