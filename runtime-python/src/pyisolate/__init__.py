"""What a pack may import from pyisolate. Names are loaded when first asked for: the import itself stays cheap."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .errors import PyisolateError
    from .rpc.calls import cancelled, progress
    from .tensor.tensor import Tensor
    from .tensor.worker import empty
    from .worker.extension import ExtensionBase

__all__ = ["ExtensionBase", "PyisolateError", "Tensor", "cancelled", "empty", "progress"]

_HOMES = {
    "ExtensionBase": "worker.extension",
    "PyisolateError": "errors",
    "Tensor": "tensor.tensor",
    "cancelled": "rpc.calls",
    "empty": "tensor.worker",
    "progress": "rpc.calls",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
