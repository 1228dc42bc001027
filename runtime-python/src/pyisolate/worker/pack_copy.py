"""A pack's folder as a writable copy in its data directory, in step with the source, without losing the user's changes.

The hash of every file as it was copied is kept beside the copy. A file that differs from its hash is the user's and
stays as it is; all others follow the source. `__pycache__` is dropped (compiled code may be bound to paths); links
out of the folder are left out. Whatever the pack has put in the place of the copy or of a folder in it, the next start
mends it, and nothing outside the data directory is read or written through it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RECORD = ".pyisolate-pack.json"


def refresh_copy(source: str, data_folder: str) -> str:
    """Brings `data_folder`/pack in step with `source`; gives its path. A file that the user deleted comes back."""
    copy = os.path.join(data_folder, "pack")
    record_file = os.path.join(data_folder, _RECORD)
    recorded = _read_record(record_file)
    current = {path: _fingerprint(os.path.join(source, path)) for path in _list_files(source)}
    if os.path.islink(copy) or not os.path.isdir(copy):
        _clear(copy)
        os.mkdir(copy)
    _unlink_strays(copy, data_folder, [*current, *recorded])
    record = dict(current)
    for path, mark in current.items():
        target = os.path.join(copy, path)
        present = _fingerprint(target)
        if present == mark:
            continue
        if present in ("", recorded.get(path)):
            _copy_file(os.path.join(source, path), target)
        else:
            del record[path]  # the user's, for good
    for path, mark in recorded.items():
        if path not in current and _fingerprint(os.path.join(copy, path)) == mark:
            _remove(copy, path)
    _write_record(record_file, record)
    return copy


def _unlink_strays(copy: str, data_folder: str, paths: Iterable[str]) -> None:
    """Drops links in the place of folders that `paths` go through, but for those to folders of the data directory."""
    root = os.path.realpath(data_folder) + os.sep
    folders: set[str] = set()
    for path in paths:
        folder = os.path.dirname(path)
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    for folder in sorted(folders):  # outermost first: what lies below a dropped link is gone with it
        whole = os.path.join(copy, folder)
        if os.path.islink(whole) and not (os.path.isdir(whole) and os.path.realpath(whole).startswith(root)):
            os.unlink(whole)


def _clear(path: str) -> None:
    """Makes the place free. Links are removed, never followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _list_files(folder: str) -> Iterator[str]:
    """Paths, relative to the folder, of its files and of the links that stay inside it."""
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*linked, *sorted(files)]:
            path = os.path.join(parent, name)
            is_inside = os.path.realpath(path).startswith(root + os.sep)
            if is_inside and (os.path.isfile(path) or (os.path.islink(path) and os.path.exists(path))):
                yield os.path.relpath(path, folder)


def _fingerprint(path: str) -> str:
    """Of the content, or of a link's target; "" when there is nothing."""
    if os.path.islink(path):
        return f"link:{os.readlink(path)}"
    if os.path.exists(path) and not os.path.isfile(path):
        return "no file"  # a folder, a pipe (which must not be opened): the user's
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"unreadable:{error.errno}"  # no permission, or a file in a folder's place: the user's
    return digest.hexdigest()


def _copy_file(source: str, target: str) -> None:
    """Whole or not at all."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.pyisolate-new"
    _clear(temporary)
    if os.path.islink(source):
        os.symlink(os.readlink(source), temporary)
    else:
        shutil.copyfile(source, temporary)
        os.chmod(temporary, os.stat(source).st_mode & 0o777 | 0o600)
    os.replace(temporary, target)


def _remove(copy: str, path: str) -> None:
    """The file, and the folders that it leaves empty."""
    os.unlink(os.path.join(copy, path))
    folder = os.path.dirname(path)
    while folder:
        whole = os.path.join(copy, folder)
        if os.listdir(whole) == ["__pycache__"]:
            _clear(os.path.join(whole, "__pycache__"))
        try:
            os.rmdir(whole)
        except OSError:
            return  # not empty
        folder = os.path.dirname(folder)


def _read_record(file: str) -> dict[str, str]:
    """Path → hash. A missing or broken record knows nothing: every file that differs then counts as the user's."""
    if os.path.islink(file) or not os.path.isfile(file):
        return {}
    try:
        with open(file, encoding="utf-8") as record:
            files = json.load(record)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(files, dict):
        return {}
    return {path: mark for path, mark in files.items() if isinstance(mark, str) and _is_below(path)}


def _is_below(path: str) -> bool:
    """Whether a relative path stays below its start. The pack can write the record."""
    return not os.path.isabs(path) and ".." not in path.split(os.sep)


def _write_record(file: str, files: dict[str, str]) -> None:
    temporary = f"{file}.new"
    _clear(temporary)
    if os.path.isdir(file):
        _clear(file)
    with open(temporary, "w", encoding="utf-8") as record:
        json.dump({"files": files}, record)
    os.replace(temporary, file)
