"""Prints for each file of a folder its name and whether a target accepts it: `verdicts.py TARGET FOLDER`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

target, folder = sys.argv[1:]
accepts = import_module(target).accepts
for file in Path(folder).iterdir():
    print(file.name, accepts(file.read_bytes()))
