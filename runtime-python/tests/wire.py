"""Reads the golden files of tests/wire, as its README describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "tests/wire" / name).read_text(encoding="utf-8"))


def join(parts: Any, file: dict[str, Any]) -> bytes:
    """Bytes from a string of hexadecimal digits or a list of parts."""
    if isinstance(parts, str):
        return bytes.fromhex(parts)
    if isinstance(parts, list):
        return b"".join(join(part, file) for part in parts)
    if "text" in parts:
        return parts["text"].encode()
    if "part" in parts:
        return join(file["parts"][parts["part"]], file)
    return bytes.fromhex(parts["hex"]) * parts["times"]


def cases(rows: list[dict[str, Any]]) -> list[Any]:
    import pytest

    return [pytest.param(row, id=row["name"]) for row in rows]
