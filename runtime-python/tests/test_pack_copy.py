"""The writable copy of a pack follows its source and keeps what the user changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
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


@pytest.mark.parametrize("what", ["link", "dangling link", "file"])
def test_a_pack_folder_that_was_replaced_is_made_anew_and_nothing_outside_is_touched(what, source, data, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    copy = Path(refresh_copy(source, data))
    shutil.rmtree(copy)
    if what == "file":
        copy.write_text("no folder")
    else:
        copy.symlink_to(outside if what == "link" else tmp_path / "nowhere")
    for _ in range(2):
        refresh_copy(source, data)
        assert not copy.is_symlink()
        assert content(copy) == content(source)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("target", ["outside", "nowhere", "data/nowhere"])
def test_a_folder_of_the_copy_that_leads_out_or_nowhere_is_made_anew(target, source, data, tmp_path):
    outside = tmp_path / "outside/deep"
    outside.mkdir(parents=True)
    (outside / "b.txt").write_text("b")  # as the source had it: a removal must not reach it
    copy = Path(refresh_copy(source, data))
    shutil.rmtree(copy / "lib")
    (copy / "lib").symlink_to(tmp_path / target)
    Path(source, "lib/deep/b.txt").unlink()
    refresh_copy(source, data)
    assert not (copy / "lib").is_symlink()
    assert content(copy) == {"__init__.py": "one", "lib/a.py": "a"}
    assert content(tmp_path / "outside") == {"deep/b.txt": "b"}


def test_a_folder_of_the_copy_may_lie_elsewhere_in_the_data(source, data):
    copy = Path(refresh_copy(source, data))
    (copy / "lib").rename(Path(data, "moved"))
    (copy / "lib").symlink_to("../moved")
    Path(source, "lib/a.py").write_text("a2")
    refresh_copy(source, data)
    assert (copy / "lib").is_symlink()
    assert Path(data, "moved/a.py").read_text() == "a2"


@pytest.mark.parametrize("what", ["folder", "link"])
def test_what_lies_in_the_place_of_our_own_files_makes_way(what, source, data, tmp_path):
    copy = Path(refresh_copy(source, data))
    record = Path(data, ".pyisolate-pack.json")
    record.unlink()
    for place in [record, Path(f"{record}.new"), copy / "a.py.pyisolate-new"]:
        if what == "link":
            place.symlink_to(tmp_path / "outside.txt")
        else:
            place.mkdir()
    Path(source, "a.py").write_text("new")
    refresh_copy(source, data)
    assert (copy / "a.py").read_text() == "new"
    assert record.is_file()
    assert not (tmp_path / "outside.txt").exists()


def test_a_linked_cache_does_not_stop_a_removal(source, data, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("kept")
    copy = Path(refresh_copy(source, data))
    (copy / "lib/deep/__pycache__").symlink_to(tmp_path / "outside")
    Path(source, "lib/deep/b.txt").unlink()
    refresh_copy(source, data)
    assert not (copy / "lib/deep").exists()
    assert (tmp_path / "outside/kept").exists()


def test_pipes_in_the_place_of_files_hold_nothing_up(source, data):
    copy = Path(refresh_copy(source, data))
    for place in [copy / "lib/a.py", Path(data, ".pyisolate-pack.json")]:
        place.unlink()
        os.mkfifo(place)
    refresh_copy(source, data)
    assert (copy / "__init__.py").read_text() == "one"


@pytest.mark.parametrize("path", ["../outside.txt", "/outside.txt", "lib/../../../outside.txt"])
def test_a_forged_record_reaches_nothing_outside(path, source, data, tmp_path):
    refresh_copy(source, data)
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    path = str(outside) if path.startswith("/") else f"../{path}"
    mark = hashlib.sha256(b"kept").hexdigest()
    Path(data, ".pyisolate-pack.json").write_text(json.dumps({"files": {path: mark}}))
    refresh_copy(source, data)
    assert outside.exists()
