"""ExtensionBase: what a pack may subclass to decide itself how its nodes are made and run. Hooks are sync or async."""

from __future__ import annotations

from . import nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any


class ExtensionBase:
    """The defaults serve every pack whose node classes stand in `nodes`. A subclass need not call `super().__init__`.

    Attributes:
        nodes: Node class by node id; usually set in `on_module_loaded`.
        display_names: Name for people by node id.
    """

    nodes: Mapping[str, Any] = {}
    display_names: Mapping[str, str] = {}

    def before_module_loaded(self) -> Any:
        """Before the pack's module is imported, if the class stands in a file extension.py of its own.

        A class that stands in the pack's module itself exists only after that import: then it is called right before
        `on_module_loaded`.
        """

    def on_module_loaded(self, module: ModuleType) -> Any:
        """The pack's module is imported."""

    def get_node_ids(self) -> Any:
        """The node ids, in the order in which they are listed."""
        return list(self.nodes)

    def get_node_schema(self, node_id: str) -> Any:
        """A schema as in docs/protocol.md (missing keys get defaults), or a V3 `Schema`."""
        return nodes.schema_of(node_id, self.nodes[node_id], self.display_names.get(node_id))

    def execute_node(self, node_id: str, /, **inputs: Any) -> Any:
        """Runs one node: a tuple or list of outputs, a V3 `NodeOutput`, a dict of `ui` and `result`, or one value."""
        instances = self.__dict__.get("_instances")
        if instances is None:
            instances = self.__dict__.setdefault("_instances", {})
        return nodes.run(node_id, self.nodes[node_id], inputs, instances)

    def stop(self) -> Any:
        """The worker is about to exit."""


#: Set in the code of every function that stands after `async def` (CO_COROUTINE of `inspect`, which is slow to import).
_COROUTINE_FLAG = 0x80


def makes_coroutine(extension: ExtensionBase, node_id: str) -> bool:
    """Whether `execute_node` of an async node that was called before runs none of the pack's code before an await."""
    function = getattr(extension.execute_node, "__func__", None)
    if function is ExtensionBase.execute_node:
        function = nodes.function_of(extension.nodes[node_id])
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _COROUTINE_FLAG)
