"""ComfyExtension, as packs with a `comfy_entrypoint` subclass it."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .io import ComfyNode


class ComfyExtension(ABC):
    async def on_load(self) -> None:  # noqa: B027 (a hook that may stay as it is)
        """Called once, before the nodes are listed."""

    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]:
        """The node classes of the pack."""
