"""Loads the pack: imports its folder as a package and finds its nodes. Must not know sockets.

Which form a pack has, the first that applies:
1. `extension.py` that names ExtensionBase: its subclass gets `before_module_loaded`, then the pack is imported.
2. A subclass of ExtensionBase in the pack's module.
3. NODE_CLASS_MAPPINGS (and NODE_DISPLAY_NAME_MAPPINGS), as ComfyUI reads it: V1 and V3 classes.
4. `comfy_entrypoint()`, which gives a ComfyExtension of V3 classes.
"""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

from ..errors import PyisolateError
from . import nodes
from .extension import ExtensionBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: Import name of the pack's module, whatever its folder is called.
PACK_MODULE = "pyisolate_pack"


def load_extension(folder: str, wait: Callable[[Any], Any]) -> ExtensionBase:
    """Imports the pack. `wait` gives what a hook returned, awaited when it is awaitable. Raises what the pack raises.

    Raises: PyisolateError PACK_LOAD_FAILED when there is nothing to load.
    """
    sys.meta_path.append(_PackFinder(find_module_file(folder), folder))
    extension = _make_early_extension(folder)
    if extension is not None:
        wait(extension.before_module_loaded())
    __import__(PACK_MODULE)
    module = sys.modules[PACK_MODULE]
    if extension is None:
        found = _find_class(module)
        if found is None:
            return _plain_extension(module, wait)
        extension = found()
        wait(extension.before_module_loaded())
    wait(extension.on_module_loaded(module))
    return extension


class _PackFinder:
    """Finds the pack's package; what lies in it is then found in the usual way, so relative imports work."""

    def __init__(self, file: str, folder: str) -> None:
        self._file = file
        self._folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != PACK_MODULE:
            return None
        return spec_from_file_location(name, self._file, submodule_search_locations=[self._folder])


def find_module_file(folder: str) -> str:
    """`__init__.py`, else `nodes.py`, else the only .py file. Raises PACK_LOAD_FAILED."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    for name in ("__init__.py", "nodes.py"):
        if name in names:
            return os.path.join(folder, name)
    if len(names) == 1:
        return os.path.join(folder, names[0])
    raise PyisolateError(
        "PACK_LOAD_FAILED",
        f"the pack has no __init__.py, no nodes.py and not exactly one .py file (it has {', '.join(names) or 'none'})",
        next="Add an __init__.py that defines NODE_CLASS_MAPPINGS.",
    )


def _make_early_extension(folder: str) -> ExtensionBase | None:
    file = os.path.join(folder, "extension.py")
    if not os.path.isfile(file):
        return None
    with open(file, encoding="utf-8", errors="replace") as source:
        if "ExtensionBase" not in source.read():
            return None
    found = _find_class(_import_without_package(f"{PACK_MODULE}.extension", file))
    return None if found is None else found()


def _import_without_package(name: str, file: str) -> ModuleType:
    """Imports one file of the package before the package itself (which its relative imports still bring in)."""
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # a .py file always has a loader
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _find_class(module: ModuleType) -> type[ExtensionBase] | None:
    """The one subclass of ExtensionBase in a module that is no base of another. Raises PACK_LOAD_FAILED for several."""
    values = list(vars(module).values())
    found = {value for value in values if isinstance(value, type) and issubclass(value, ExtensionBase)}
    found.discard(ExtensionBase)
    leaves = [each for each in found if not any(other is not each and issubclass(other, each) for other in found)]
    if len(leaves) > 1:
        names = ", ".join(sorted(each.__name__ for each in leaves))
        raise PyisolateError("PACK_LOAD_FAILED", f"the pack has several extension classes: {names}", next="Keep one.")
    return leaves[0] if leaves else None


def _plain_extension(module: ModuleType, wait: Callable[[Any], Any]) -> ExtensionBase:
    """For packs without an extension class."""
    extension = ExtensionBase()
    classes: Mapping[str, Any] | None = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if classes is not None:
        extension.nodes = dict(classes)
        extension.display_names = dict(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {})
        return extension
    entrypoint = getattr(module, "comfy_entrypoint", None)
    if entrypoint is None:
        raise PyisolateError(
            "PACK_LOAD_FAILED",
            "the pack defines no nodes: no NODE_CLASS_MAPPINGS, no comfy_entrypoint, no subclass of ExtensionBase",
            next="Define NODE_CLASS_MAPPINGS = {node id: class} in the pack's __init__.py.",
        )
    comfy_extension = wait(entrypoint())
    if hasattr(comfy_extension, "on_load"):
        wait(comfy_extension.on_load())
    extension.nodes = {nodes.v3_schema(each).node_id: each for each in wait(comfy_extension.get_node_list())}
    return extension
