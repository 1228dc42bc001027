"""The table of kinds is the one of docs/protocol.md, the error codes are those of docs/errors.md."""

from __future__ import annotations

import re

from pyisolate.errors import CODES
from pyisolate.rpc.kinds import FLAG_NAMES, KINDS
from wire import ROOT


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_kinds_are_those_of_the_protocol_page():
    page = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    table = rows(page.split("<!-- kinds -->")[1].split("<!-- end -->")[0])
    assert len(table) == len(KINDS)
    for (number, name, id, flags, body, meaning), kind in zip(table, KINDS):
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


def test_codes_are_those_of_the_errors_page():
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE)) == CODES
