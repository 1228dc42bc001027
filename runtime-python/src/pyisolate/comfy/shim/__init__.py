"""The host's modules as far as a pack in a container needs them, written by us: `comfy_api` in all its spellings.

Must not know sockets. `install()` is the only door; the worker calls it by this module's name.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

#: module → name in it → where it really is: "module of the shim" or "module of the shim:name in it".
#: v3 and ComfyNodeV3 were drafts that packs still spell; latest is what ComfyUI ships.
MODULES = {
    "comfy_api": {},
    "comfy_api.latest": {
        "io": "io",
        "IO": "io",
        "ComfyExtension": "extension:ComfyExtension",
        "ComfyNode": "io:ComfyNode",
        "ComfyNodeV3": "io:ComfyNode",
    },
    "comfy_api.v3": {
        "io": "io",
        "IO": "io",
        "ComfyExtension": "extension:ComfyExtension",
        "ComfyNode": "io:ComfyNode",
        "ComfyNodeV3": "io:ComfyNode",
    },
    "comfy_api.latest.io": {"*": "io"},
    "comfy_api.v3.io": {"*": "io"},
}


def install() -> None:
    """Makes the modules importable where the pack's environment has none of that name. Installing twice is fine."""
    if not any(isinstance(finder, _ShimFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ShimFinder())


class _ShimFinder:
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in MODULES:
            return None
        return ModuleSpec(name, _ShimLoader(), is_package=True)  # type: ignore[arg-type]


class _ShimLoader:
    """No subclass of importlib.abc.Loader, whose import costs 30 ms on Python 3.11."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from importlib import import_module

        for name, home in MODULES[module.__name__].items():
            where, _, attribute = home.partition(":")
            source = import_module(f"{__name__}.{where}")
            if name == "*":
                module.__dict__.update({each: getattr(source, each) for each in source.__all__})
            else:
                setattr(module, name, getattr(source, attribute) if attribute else source)
