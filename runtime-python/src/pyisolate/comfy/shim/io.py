"""`comfy_api`'s `io`: how a V3 node declares itself and returns its outputs. Must not know how a schema travels."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "AnyType",
    "Boolean",
    "Clip",
    "Combo",
    "ComfyNode",
    "ComfyNodeV3",
    "ComfyType",
    "Conditioning",
    "Custom",
    "Float",
    "Image",
    "Int",
    "Latent",
    "Mask",
    "Model",
    "NodeOutput",
    "Schema",
    "String",
    "Vae",
]


class _Input:
    """A declared input. Options that are None were not given."""

    io_type = "*"

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        default: Any = None,
        **options: Any,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.optional = optional
        self._options = {"display_name": display_name, "tooltip": tooltip, "default": default, **options}

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in self._options.items() if value is not None}


class _Output:
    io_type = "*"

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.tooltip = tooltip
        self.is_output_list = is_output_list


class ComfyType:
    """A type of ComfyUI, with its `.Input(…)` and `.Output(…)`."""

    io_type: str
    Input: type[_Input]
    Output: type[_Output]

    def __init_subclass__(cls, io_type: str = "*", input: type[_Input] = _Input, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.io_type = io_type
        cls.Input = type("Input", (input,), {"io_type": io_type})
        cls.Output = type("Output", (_Output,), {"io_type": io_type})


class _NumberInput(_Input):
    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        default: Any = None,
        min: Any = None,
        max: Any = None,
        step: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, default, min=min, max=max, step=step, **options)


class _StringInput(_Input):
    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        multiline: bool = False,
        placeholder: str | None = None,
        default: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, default, placeholder=placeholder, **options)
        if multiline:
            self._options["multiline"] = True


class _ComboInput(_Input):
    """`options`: the choices, or an Enum class."""

    def __init__(
        self,
        id: str,
        options: Any = None,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        default: Any = None,
        **more: Any,
    ) -> None:
        choices = None if options is None else [getattr(choice, "value", choice) for choice in options]
        super().__init__(
            id, display_name, optional, tooltip, getattr(default, "value", default), options=choices, **more
        )


class Image(ComfyType, io_type="IMAGE"):
    """float32 [N, H, W, 3], 0..1."""


class Mask(ComfyType, io_type="MASK"):
    """float32 [N, H, W], 0..1."""


class Int(ComfyType, io_type="INT", input=_NumberInput): ...


class Float(ComfyType, io_type="FLOAT", input=_NumberInput): ...


class Boolean(ComfyType, io_type="BOOLEAN"): ...


class String(ComfyType, io_type="STRING", input=_StringInput): ...


class Combo(ComfyType, io_type="COMBO", input=_ComboInput): ...


class Latent(ComfyType, io_type="LATENT"): ...


class Conditioning(ComfyType, io_type="CONDITIONING"): ...


class Model(ComfyType, io_type="MODEL"): ...


class Clip(ComfyType, io_type="CLIP"): ...


class Vae(ComfyType, io_type="VAE"): ...


class AnyType(ComfyType, io_type="*"): ...


def Custom(io_type: str) -> type[ComfyType]:
    """A type of the pack's own, e.g. `Custom("PIL_IMAGE").Input("image")`."""

    class CustomType(ComfyType, io_type=io_type): ...

    return CustomType


class Schema:
    """What a V3 node declares about itself."""

    def __init__(
        self,
        node_id: str,
        display_name: str | None = None,
        category: str = "sd",
        inputs: Sequence[_Input] | None = None,
        outputs: Sequence[_Output] | None = None,
        hidden: Sequence[Any] | None = None,
        description: str = "",
        is_input_list: bool = False,
        is_output_node: bool = False,
        **flags: Any,
    ) -> None:
        self.node_id = node_id
        self.display_name = display_name
        self.category = category
        self.inputs = list(inputs or ())
        self.outputs = list(outputs or ())
        self.hidden = list(hidden or ())
        self.description = description
        self.is_input_list = is_input_list
        self.is_output_node = is_output_node
        self.flags = flags


class NodeOutput:
    """What a V3 node returns: its outputs in order, and what a user interface may show."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None, block_execution: str | None = None
    ) -> None:
        self.args = args
        self.ui = ui
        self.expand = expand
        self.block_execution = block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None


class ComfyNode:
    """Base of V3 nodes: class methods `define_schema` and `execute` (sync or async)."""

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError(f"{cls.__name__} does not define define_schema")

    @classmethod
    def execute(cls, **inputs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} does not define execute")


ComfyNodeV3 = ComfyNode
