"""What a worker offers: `load` and `execute` of docs/protocol.md. Must not know threads or sockets."""

from __future__ import annotations

import os
import sys

from ..errors import PyisolateError
from ..rpc.calls import is_awaitable
from ..rpc.remote import describe
from . import nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from ..tensor.inline import InlineTensors
    from .extension import ExtensionBase


class WorkerMethods:
    def __init__(
        self,
        *,
        pack_folder: str,
        data_folder: str | None,
        shim: str,
        tensors: InlineTensors,
        run_awaitable: Callable[[Awaitable[Any]], Any],
    ) -> None:
        """`data_folder`: where a writable copy of the pack is kept; None: the pack runs where it is.

        `shim`: module whose `install()` makes the host's modules importable. `run_awaitable` blocks until the result.
        """
        self._pack_folder = pack_folder
        self._data_folder = data_folder
        self._shim = shim
        self._tensors = tensors
        self._run_awaitable = run_awaitable
        self._extension: ExtensionBase | None = None
        self._node_ids: frozenset[str] = frozenset()
        #: Nodes that were called once and whose call only makes a coroutine, or does not.
        self._is_coroutine: dict[str, bool] = {}

    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """Imports the pack. Raises PACK_LOAD_FAILED, with the pack's exception as `remote`."""
        try:
            return self._load(options)
        except PyisolateError:
            raise
        except BaseException as error:
            described = describe(error)
            message = f"{described.type}: {described.message}"
            raise PyisolateError("PACK_LOAD_FAILED", message, cause=error, remote=described) from error

    def _load(self, options: dict[str, Any]) -> dict[str, Any]:
        import platform
        from importlib import import_module

        from .loader import load_extension
        from .packages import installed_packages

        folder = self._pack_folder
        if self._data_folder is not None:
            from .pack_copy import refresh_copy

            folder = refresh_copy(folder, self._data_folder)
        os.chdir(folder)
        import_module(self._shim).install()
        if options.get("share_torch"):
            from ..tensor.arrays import torch_maker

            self._tensors.make = torch_maker()
        extension = load_extension(folder, self._wait)
        node_ids = list(self._wait(extension.get_node_ids()))
        schemas = [nodes.complete_schema(id, self._wait(extension.get_node_schema(id))) for id in node_ids]
        self._extension, self._node_ids = extension, frozenset(node_ids)
        return {"python": platform.python_version(), "packages": installed_packages(sys.path), "nodes": schemas}

    def execute(self, node_id: str, inputs: dict[str, Any]) -> Any:
        """Runs a node; an awaitable when the node is async. Raises NODE_UNKNOWN, NODE_FAILED."""
        if node_id not in self._node_ids or self._extension is None:
            raise PyisolateError("NODE_UNKNOWN", f'the pack has no node "{node_id}"')
        try:
            returned = self._extension.execute_node(node_id, **inputs)
            if is_awaitable(returned):
                if node_id not in self._is_coroutine:
                    from .extension import makes_coroutine

                    self._is_coroutine[node_id] = makes_coroutine(self._extension, node_id)
                return self._finish(returned)
            return nodes.outputs_of(returned)
        except BaseException as error:
            raise _node_failed(error) from error

    async def _finish(self, returned: Awaitable[Any]) -> dict[str, Any]:
        try:
            return nodes.outputs_of(await returned)
        except BaseException as error:
            from asyncio import CancelledError

            if isinstance(error, CancelledError):
                raise
            raise _node_failed(error) from error

    def makes_coroutine(self, method: str, args: list[Any]) -> bool:
        """Whether such a call runs nothing of the pack before its first await; known once the node was called."""
        return (
            method == "execute" and len(args) == 2 and type(args[0]) is str and self._is_coroutine.get(args[0], False)
        )

    def stop(self) -> None:
        """Tells the extension that the worker is about to exit."""
        if self._extension is not None:
            self._wait(self._extension.stop())

    def _wait(self, returned: Any) -> Any:
        return self._run_awaitable(returned) if is_awaitable(returned) else returned


def _node_failed(error: BaseException) -> PyisolateError:
    described = describe(error)
    return PyisolateError("NODE_FAILED", f"{described.type}: {described.message}", remote=described)
