"""Film look: warm tones and a vignette, by functions that numpy has only since 2.0."""

import numpy as np
from comfy_api.v3 import ComfyNodeV3, io

from pyisolate import ExtensionBase


class FilmLook(ComfyNodeV3):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FilmLook",
            display_name="Film look (numpy 2)",
            category="image/effects",
            inputs=[
                io.Image.Input("image"),
                io.Float.Input("strength", default=0.5, min=0.0, max=1.0, tooltip="0 leaves the picture as it is"),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    async def execute(cls, image, strength):
        """image: float32 [N, H, W, 3], 0..1, RGB. Gives the same shape."""
        height, width = image.shape[1:3]
        y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        distance = np.linalg.vector_norm(np.stack([y, x]), axis=0)  # numpy >= 2
        vignette = 1 - strength * 0.5 * np.clip(distance - 0.3, 0, 1) ** 2
        warmth = 1 + strength * np.array([0.12, 0.02, -0.15])
        toned = np.clip(image * vignette[..., np.newaxis] * warmth, 0, 1)
        return io.NodeOutput(np.astype(toned, np.float32))  # numpy >= 2.1


class FilmLookExtension(ExtensionBase):
    def on_module_loaded(self, module):
        self.nodes = {"FilmLook": FilmLook}

    async def execute_node(self, node_id: str, **inputs):
        node_class = self.nodes[node_id]
        return await node_class.execute(**inputs)
