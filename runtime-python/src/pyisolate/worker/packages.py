"""Installed packages and their versions, by the names of their metadata folders: no file is opened."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SUFFIX = ".dist-info"


def installed_packages(folders: Iterable[str]) -> dict[str, str]:
    """Version by name, spelt as indexes normalise it (`opencv-python-headless`); of two the one that is imported."""
    versions: dict[str, str] = {}
    for folder in folders:
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:
            continue  # no folder: a zip file, or a path that does not exist
        for entry in entries:
            name, dash, version = entry[: -len(_SUFFIX)].rpartition("-")
            if entry.endswith(_SUFFIX) and dash:
                versions.setdefault(name.lower().replace("_", "-").replace(".", "-"), version)
    return versions
