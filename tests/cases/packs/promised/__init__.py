from comfy_api.v3 import io, ComfyNodeV3
from pyisolate import ExtensionBase, progress


class MyNode(ComfyNodeV3):
    @classmethod
    def DEFINE_SCHEMA(cls):
        return io.Schema(
            node_id="MyNode",
            display_name="My node",
            category="tests",
            inputs=[io.Int.Input("number", default=1)],
            outputs=[io.Int.Output(display_name="double")],
        )

    @classmethod
    async def execute(cls, number):
        progress(1, 2)
        progress(2, 2)
        return io.NodeOutput(number * 2)


class MyOtherNode(ComfyNodeV3):
    @classmethod
    def DEFINE_SCHEMA(cls):
        return io.Schema(node_id="MyOtherNode", inputs=[], outputs=[io.String.Output()])

    @classmethod
    async def execute(cls):
        return io.NodeOutput("other")


class MyNodeExtension(ExtensionBase):
    def on_module_loaded(self, module):
        self.nodes = {"MyNode": MyNode, "MyOtherNode": MyOtherNode}
    async def execute_node(self, node_id: str, **inputs):
        node_class = self.nodes[node_id]
        return await node_class.execute(**inputs)
