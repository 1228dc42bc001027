"""The Python import table of docs/architecture.md, held against the code; imports inside the package are relative."""

from __future__ import annotations

import ast
import sys
from pathlib import PurePosixPath

from wire import ROOT

SOURCE = ROOT / "runtime-python/src/pyisolate"
FILES = {str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}


def read_table() -> dict[str, set[str]]:
    """folder → folders it may import, as the document says."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    block = page.split("<!-- import table: Python -->")[1].split("<!-- end -->")[0]
    rows = [line.split("|")[1:-1] for line in block.strip().splitlines()[2:]]
    return {folder.strip(): set(allowed.split()) - {"–"} for folder, allowed in rows}


def folder_of(parts) -> str:
    return "/".join(parts[:2]) if parts[:1] == ("comfy",) and len(parts) > 1 else "".join(parts[:1])


def edges(file: str, tree: ast.AST):
    """(folder or top-level file imported) for each relative import of a file."""
    package = PurePosixPath(file).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = (*base, *node.module.split(".")) if node.module else base
            for each in [(*target, alias.name) for alias in node.names]:
                yield folder_of(each) if (SOURCE / each[0]).is_dir() else f"{each[0]}.py"


def forbidden(files, table) -> list[str]:
    found = []
    for file, tree in files.items():
        own = folder_of(PurePosixPath(file).parts[:-1])
        if own == "":
            continue  # __init__.py is the package's door, errors.py imports nothing
        allowed = {own, "errors.py", *table.get(own, ())}
        found += [f"{file} imports {to}" for to in edges(file, tree) if to not in allowed]
    return found


def test_every_folder_has_a_row_and_every_row_a_folder():
    folders = {folder_of(PurePosixPath(file).parts[:-1]) for file in FILES} - {"", "comfy"}
    assert set(read_table()) == folders


def test_no_folder_imports_what_the_table_does_not_allow():
    assert forbidden(FILES, read_table()) == []


def test_the_check_sees_a_forbidden_edge():
    wrong = {
        "rpc/x.py": ast.parse("from ..tensor.tensor import Tensor"),
        "worker/y.py": ast.parse("from ..comfy import shim"),
    }
    assert forbidden(wrong, read_table()) == ["rpc/x.py imports tensor", "worker/y.py imports comfy/shim"]


def test_inside_the_package_imports_are_relative_and_outside_they_are_the_standard_library():
    modules = {
        (file, name.split(".")[0])
        for file, tree in FILES.items()
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    standard = getattr(sys, "stdlib_module_names", None)  # Python 3.10+
    if standard is not None:
        # numpy and torch are imported where arrays are made; typing_extensions only while types are checked.
        allowed = {("tensor/arrays.py", "numpy"), ("tensor/arrays.py", "torch"), ("rpc/values.py", "typing_extensions")}
        assert {each for each in modules - allowed if each[1] not in standard} == set()
    assert not {each for each in modules if each[1] == "pyisolate"}
