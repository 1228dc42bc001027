"""pyisolate's host-coupled extension: the least that runs a node. Imported on both sides."""

import inspect

from pyisolate import ExtensionBase


class Nodes(ExtensionBase):
    async def on_module_loaded(self, module):
        self.nodes = {name: each() for name, each in module.NODE_CLASS_MAPPINGS.items()}

    async def execute_node(self, node, **inputs):
        returned = self.nodes[node].run(**inputs)
        return await returned if inspect.isawaitable(returned) else returned
