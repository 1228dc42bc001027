"""The writable copy of a pack follows its source and keeps what the user changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from packs import write_pack
from pyisolate.worker.pack_copy import refresh_copy


@pytest.fixture
def source(tmp_path):
    return write_pack(tmp_path / "source", {"__init__.py": "one", "lib/a.py": "a", "lib/deep/b.txt": "b"})


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return str(tmp_path / "data")


def content(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_copy_is_writable_and_whole(source, data):
    os.chmod(os.path.join(source, "lib/a.py"), 0o555)
    copy = refresh_copy(source, data)
    assert copy == os.path.join(data, "pack")
    assert content(copy) == content(source)
    mode = os.stat(os.path.join(copy, "lib/a.py")).st_mode
    assert mode & 0o200 and mode & 0o111


def test_what_changed_in_the_source_follows_what_the_user_changed_stays(source, data):
    copy = Path(refresh_copy(source, data))
    (copy / "lib/a.py").write_text("mine")
    (copy / "new.txt").write_text("my own")
    Path(source, "__init__.py").write_text("two")
    Path(source, "lib/a.py").write_text("a2")
    Path(source, "lib/deep/b.txt").unlink()
    Path(source, "added/c.py").parent.mkdir()
    Path(source, "added/c.py").write_text("c")
    for _ in range(2):  # a second refresh changes nothing, and forgets nothing
        refresh_copy(source, data)
        assert content(copy) == {"__init__.py": "two", "lib/a.py": "mine", "new.txt": "my own", "added/c.py": "c"}
        assert not (copy / "lib/deep").exists()


def test_a_file_of_the_user_survives_its_deletion_in_the_source(source, data):
    copy = Path(refresh_copy(source, data))
    (copy / "lib/a.py").write_text("mine")
    Path(source, "lib/a.py").unlink()
    refresh_copy(source, data)
    assert (copy / "lib/a.py").read_text() == "mine"


def test_a_file_that_the_user_changed_back_follows_the_source_again(source, data):
    copy = Path(refresh_copy(source, data))
    (copy / "lib/a.py").write_text("mine")
    refresh_copy(source, data)
    (copy / "lib/a.py").write_text("a")
    refresh_copy(source, data)
    Path(source, "lib/a.py").write_text("a2")
    refresh_copy(source, data)
    assert (copy / "lib/a.py").read_text() == "a2"


def test_a_deleted_file_comes_back(source, data):
    copy = Path(refresh_copy(source, data))
    (copy / "__init__.py").unlink()
    refresh_copy(source, data)
    assert (copy / "__init__.py").read_text() == "one"


def test_compiled_code_is_dropped(source, data):
    Path(source, "lib/__pycache__").mkdir()
    Path(source, "lib/__pycache__/a.pyc").write_text("x")
    copy = Path(refresh_copy(source, data))
    assert not (copy / "lib/__pycache__").exists()
    (copy / "lib/deep/__pycache__").mkdir()
    (copy / "lib/deep/__pycache__/b.pyc").write_text("x")
    Path(source, "lib/deep/b.txt").unlink()
    refresh_copy(source, data)
    assert not (copy / "lib/deep").exists()


def test_links_inside_are_kept_and_links_out_are_left_out(source, data, tmp_path):
    (tmp_path / "secret").write_text("s")
    os.symlink("a.py", os.path.join(source, "lib/alias.py"))
    os.symlink("lib", os.path.join(source, "folder"))
    os.symlink("../secret", os.path.join(source, "out"))
    os.symlink("nowhere", os.path.join(source, "dead"))
    os.symlink(str(tmp_path), os.path.join(source, "outside"))
    for _ in range(2):
        copy = refresh_copy(source, data)
        assert sorted(os.listdir(copy)) == ["__init__.py", "folder", "lib"]
        assert os.readlink(os.path.join(copy, "lib/alias.py")) == "a.py"
        assert os.readlink(os.path.join(copy, "folder")) == "lib"


def test_a_broken_record_costs_nobody_his_changes(source, data):
    copy = Path(refresh_copy(source, data))
    (copy / "lib/a.py").write_text("mine")
    Path(data, ".pyisolate-pack.json").write_text("{")
    Path(source, "lib/a.py").write_text("a2")
    refresh_copy(source, data)
    assert (copy / "lib/a.py").read_text() == "mine"
