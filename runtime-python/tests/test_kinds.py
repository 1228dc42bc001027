"""The tables of docs/protocol.md and docs/errors.md against the code."""

from __future__ import annotations

import json
import re

import pytest

from pyisolate.errors import CODES, PyisolateError
from pyisolate.rpc import kinds
from pyisolate.rpc.frame import FrameReader, encode_head
from pyisolate.rpc.kinds import FLAG_NAMES, HELLO, KINDS
from pyisolate.rpc.remote import remote_error
from pyisolate.rpc.session import Session
from wire import ROOT

PAGE = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def table(name: str) -> list[list[str]]:
    return rows(PAGE.split(f"<!-- {name} -->")[1].split("<!-- end -->")[0])


def test_kinds_are_those_of_the_protocol_page():
    documented = table("kinds")
    assert len(documented) == len(KINDS)
    for (number, name, id, flags, body, meaning), kind in zip(documented, KINDS):
        assert (int(number), name) == (kind.number, kind.name)
        assert id == {"connection": "0", "sender": "sender's", "receiver": "receiver's"}[kind.id]
        assert read_flags(flags) == set(kind.flags)
        assert body == kind.body
        feature = re.search(r"feature `(\w+)`", meaning)
        assert (feature.group(1) if feature else None) == kind.feature


def read_flags(cell: str) -> set[int]:
    """`reply, reply+last, +more`: each sum, and with `+more` also each with more."""
    words = [word.strip() for word in cell.split(",")]
    sums = {
        sum(FLAG_NAMES[name] for name in word.split("+")) for word in words if word not in ("none", "more", "+more")
    }
    sums |= {0} if "none" in words else set()
    if "more" in words or "+more" in words:
        sums |= {each | FLAG_NAMES["more"] for each in sums}
    return sums


def test_bounds_are_those_of_the_protocol_page():
    assert {name: int(value) for name, value in table("limits")} == {
        "header bytes": kinds.HEADER_BYTES,
        "step of body bytes": kinds.BODY_STEP_BYTES,
        "body bytes": kinds.BODY_BYTES,
        "body bytes of hello": kinds.HELLO_BYTES,
        "step of attachments": kinds.ATTACHMENT_STEP_BYTES,
        "attachment bytes of one frame": kinds.ATTACHMENT_BYTES,
        "nesting of arrays and objects in a body": kinds.NESTING,
        "errors in a chain of causes": kinds.CAUSES,
        "characters of an error's message, and traceback": kinds.ERROR_TEXT_CHARS,
        "highest id": kinds.MAX_ID,
        "highest `limits.calls`": kinds.MAX_CALLS,
        "highest `limits.items`": kinds.MAX_ITEMS,
        "highest protocol version": kinds.MAX_VERSION,
        "step of a segment's bytes": kinds.SEGMENT_STEP_BYTES,
    }


def test_features_are_those_of_the_protocol_page():
    coded = [(f"`{kind.feature}`", kind.name) for kind in KINDS if kind.feature]
    assert [(feature, of) for feature, of, _ in table("features")] == coded


def test_codes_that_only_this_side_can_judge():
    match = re.search(r"^- (.*) are what a side says of the other; as the `code`", PAGE, re.MULTILINE)
    codes = re.split(", | and ", match.group(1))
    assert len(codes) > 5
    error = {"type": "E", "message": "", "args": [], "traceback": ""}
    assert {remote_error("m", {**error, "code": code}).code for code in codes} == {"REMOTE_ERROR"}
    assert remote_error("m", {**error, "code": "PACK_LOAD_FAILED"}).code == "PACK_LOAD_FAILED"


SAMPLES = {
    "protocol": [1, 1],
    "features": ["segments"],
    "limits": {"calls": 64, "messageBytes": 2**31},
    "method": "m",
    "args": [],
    "timeoutMs": 5,
    "attachments": [],
    "value": 1,
    "type": "E",
    "message": "",
    "traceback": "",
    "code": "USAGE",
    "cause": {"type": "E", "message": "", "args": [], "traceback": ""},
    "event": "log",
    "data": None,
    "nbytes": 4096,
    "writable": True,
    "path": "s1",
}


def receive(kind, body):
    """Feeds a session, a worker with one call of its own, one frame of that kind."""
    session = Session(is_stoppable=True, features=["segments"])
    reader = FrameReader(session)

    def feed(frame):
        reader.space()[: len(frame)] = frame
        reader.advance(len(frame))
        while reader.read():
            pass

    if kind.number != HELLO:
        hello = {key: SAMPLES[key] for key in ("protocol", "features", "limits")}
        feed(encode_head(HELLO, 0, 0, json.dumps(hello).encode(), 0))
        session.open_call()
    feed(
        encode_head(
            kind.number, 3 if 3 in kind.flags else kind.flags[0], int(kind.has_id), json.dumps(body).encode(), 0
        )
    )


@pytest.mark.parametrize("name", sorted({row[0] for row in table("bodies")}))
def test_bodies_hold_what_the_protocol_page_says(name):
    (kind,) = [each for each in KINDS if each.name == name]
    keys = {row[1].strip("`"): row[2] == "yes" for row in table("bodies") if row[0] == name}
    required = {key: SAMPLES[key] for key, is_required in keys.items() if is_required}
    receive(kind, {key: SAMPLES[key] for key in keys})
    receive(kind, required)
    refused = [{key: value for key, value in required.items() if key != left} for left in required]
    if name == "hello":
        receive(kind, {**required, "later": 1})
    else:
        refused.append({**required, "later": 1})
    for body in refused:
        with pytest.raises(PyisolateError) as raised:
            receive(kind, body)
        assert raised.value.code == "PROTOCOL_VIOLATION"


def test_codes_are_those_of_the_errors_page():
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE)) == CODES
