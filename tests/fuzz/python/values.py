#!/usr/bin/env python3
"""Target "values": the body of a result. What decodes must encode again, to a text that decodes to an equal value.

Input: the JSON text, whole. The attachments it lists hold a pattern. Mirrors typescript/values.ts.
"""

from __future__ import annotations

from typing import Any

import atheris
from guard import fuzz, keeps_protocol
from same import is_same

with atheris.instrument_imports(include=["pyisolate"]):
    from pyisolate.errors import PyisolateError
    from pyisolate.rpc.frame import FrameReader, area_bytes, area_parts, encode_head
    from pyisolate.rpc.kinds import HELLO, LAST, REPLY, RESULT, Limits
    from pyisolate.rpc.session import Session
    from pyisolate.rpc.values import Encoder, read_object, write_text
    from pyisolate.tensor.arrays import make_tensor
    from pyisolate.tensor.inline import InlineTensors

MAX_AREA_BYTES = 64 * 1024
HELLO_FRAME = encode_head(
    HELLO, 0, 0, write_text({"protocol": [1, 1], "features": [], "limits": {"calls": 1, "messageBytes": 0}}), 0
)
EXTENSION = InlineTensors(make_tensor)


def accepts(data: bytes) -> bool:
    """Whether the body is one."""
    values: list[Any] = []
    is_body = keeps_protocol(lambda: values.append(decode(data, pattern(data))))
    for value in values:
        text, area = encode(value)
        again = decode(text, area)
        if not is_same(value, again):  # the texts may differ: a set has no order
            raise ValueError(f"{text!r} decodes to {again!r}, it was made of {value!r}")
    return is_body


def decode(text: bytes, area: bytes) -> Any:
    session = Session(Limits(calls=1, message_bytes=MAX_AREA_BYTES), extension=EXTENSION)
    reader = FrameReader(session)
    feed(reader, HELLO_FRAME)
    stream = encode_head(RESULT, REPLY | LAST, session.open_call(), text, len(area)) + area
    (message,) = feed(reader, stream)
    return message.value


def feed(reader: FrameReader, stream: bytes) -> list[Any]:
    messages = []
    while stream:
        space = reader.space()
        count = min(len(space), len(stream))
        space[:count], stream = stream[:count], stream[count:]
        reader.advance(count)
        while (message := reader.read()) is not None:
            messages.append(message)
    return messages


def pattern(text: bytes) -> bytes:
    """An area of the size that the text says, if it says one."""
    try:
        size = area_bytes(read_object(text)[0]["attachments"])
    except (PyisolateError, TypeError, KeyError):
        return b""
    if not (isinstance(size, int) and 0 < size <= MAX_AREA_BYTES):
        return b""
    return (bytes(range(61)) * (size // 61 + 1))[:size]


def encode(value: Any) -> tuple[bytes, bytes]:
    encoder = Encoder(EXTENSION)
    body = {"value": encoder.value(value)}
    if encoder.attachments:
        body["attachments"] = [attachment.nbytes for attachment in encoder.attachments]
    return write_text(body), b"".join(area_parts(encoder.attachments))


if __name__ == "__main__":
    fuzz(accepts)
