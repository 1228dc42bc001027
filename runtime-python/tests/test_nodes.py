"""Node classes become schemas, returned values become outputs."""

from __future__ import annotations

import enum

import pytest

from pyisolate.comfy.shim import io
from pyisolate.errors import PyisolateError
from pyisolate.rpc.values import Encoder
from pyisolate.worker import nodes


class AnyType(str):
    """As packs write it to be linked with anything."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = str.__hash__


class V1:
    CATEGORY = "image"
    DESCRIPTION = "text"
    FUNCTION = "run"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE", AnyType("*"), ["a", "b"])
    RETURN_NAMES = ("picture",)
    OUTPUT_IS_LIST = (False, True)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE",),
                "seed": ("INT", {"default": 0, "max": 2**64 - 1, "step": 1}),
                "mode": (["fast", "good"], {"default": "good"}),
                "choice": ("COMBO", {"options": ["x", "y"]}),
                "bare": "STRING",
            },
            "optional": {"anything": (AnyType("*"), {"check": lambda value: True})},
            "hidden": {"prompt": "PROMPT"},
        }


def by_name(schema):
    return {each["name"]: each for each in schema["inputs"]}


def test_a_v1_class():
    schema = nodes.schema_of("Node", V1, "A node")
    assert {key: schema[key] for key in ("id", "display_name", "category", "description", "output_node")} == {
        "id": "Node", "display_name": "A node", "category": "image", "description": "text", "output_node": True,
    }  # fmt: skip
    inputs = by_name(schema)
    assert list(inputs) == ["image", "seed", "mode", "choice", "bare", "anything"]
    assert inputs["image"] == {"name": "image", "type": "IMAGE", "required": True, "options": {}}
    assert inputs["seed"]["options"] == {"default": 0, "max": 2**64 - 1, "step": 1}
    assert (inputs["mode"]["type"], inputs["mode"]["options"]) == (
        "COMBO",
        {"default": "good", "choices": ["fast", "good"]},
    )
    assert (inputs["choice"]["type"], inputs["choice"]["options"]) == ("COMBO", {"choices": ["x", "y"]})
    assert inputs["bare"]["type"] == "STRING"
    assert type(inputs["anything"]["type"]) is str and inputs["anything"]["required"] is False
    assert schema["outputs"] == [
        {"name": "picture", "type": "IMAGE", "is_list": False},
        {"name": "*", "type": "*", "is_list": True},
        {"name": "COMBO", "type": "COMBO", "is_list": False},
    ]


def test_a_class_that_declares_next_to_nothing():
    class Bare:
        RETURN_TYPES = "IMAGE"

        @classmethod
        def INPUT_TYPES(cls):
            return {}

    schema = nodes.schema_of("Bare", Bare)
    assert (schema["display_name"], schema["category"], schema["inputs"], schema["output_node"]) == (
        "Bare",
        "",
        [],
        False,
    )
    assert schema["outputs"] == [{"name": "IMAGE", "type": "IMAGE", "is_list": False}]


def test_every_schema_has_a_wire_form():
    Encoder().value([nodes.schema_of("V1", V1), nodes.schema_of("V3", V3)])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class V3(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="V3",
            display_name="Third",
            category="c",
            description="d",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="a picture"),
                io.Int.Input("count", default=1, min=0, max=10, step=1, display_name="Count"),
                io.Combo.Input("colour", options=Colour, default=Colour.RED),
                io.Combo.Input("mode", options=["a", "b"], optional=True),
                io.String.Input("text", multiline=True, default=""),
                io.Custom("PIL_IMAGE").Input("pil"),
                io.AnyType.Input("any", optional=True),
            ],
            outputs=[
                io.Image.Output(),
                io.Float.Output("ratio", display_name="Ratio"),
                io.Mask.Output(is_output_list=True),
            ],
        )

    @classmethod
    def execute(cls, **inputs):
        return io.NodeOutput(inputs, ui={"text": ["t"]})


def test_a_v3_class():
    schema = nodes.schema_of("V3", V3)
    assert (schema["display_name"], schema["category"], schema["description"], schema["output_node"]) == (
        "Third",
        "c",
        "d",
        True,
    )
    inputs = by_name(schema)
    assert inputs["image"] == {"name": "image", "type": "IMAGE", "required": True, "options": {"tooltip": "a picture"}}
    assert inputs["count"]["options"] == {"display_name": "Count", "default": 1, "min": 0, "max": 10, "step": 1}
    assert (inputs["colour"]["type"], inputs["colour"]["options"]) == (
        "COMBO",
        {"default": "red", "choices": ["red", "blue"]},
    )
    assert (inputs["mode"]["required"], inputs["mode"]["options"]) == (False, {"choices": ["a", "b"]})
    assert inputs["text"]["options"] == {"default": "", "multiline": True}
    assert (inputs["pil"]["type"], inputs["any"]["type"]) == ("PIL_IMAGE", "*")
    assert schema["outputs"] == [
        {"name": "IMAGE", "type": "IMAGE", "is_list": False},
        {"name": "Ratio", "type": "FLOAT", "is_list": False},
        {"name": "MASK", "type": "MASK", "is_list": True},
    ]


def test_the_draft_spelling_of_a_schema():
    class Draft(io.ComfyNodeV3):
        @classmethod
        def DEFINE_SCHEMA(cls):
            return io.Schema(node_id="Draft", category="c")

    assert nodes.schema_of("Draft", Draft)["category"] == "c"


def test_a_schema_that_is_neither_a_dict_nor_one_of_v3():
    with pytest.raises(PyisolateError, match="int") as raised:
        nodes.complete_schema("N", 5)
    assert raised.value.code == "PACK_LOAD_FAILED"


@pytest.mark.parametrize(
    ("returned", "outputs", "ui"),
    [
        ((1, "a"), [1, "a"], None),
        ([1], [1], None),
        (5, [5], None),
        (None, [], None),
        ({"ui": {"text": ["x"]}, "result": (1,)}, [1], {"text": ["x"]}),
        ({"ui": {"images": []}}, [], {"images": []}),
        ({"result": (1, 2)}, [1, 2], None),
        (io.NodeOutput(1, [2]), [1, [2]], None),
        (io.NodeOutput(), [], None),
        (io.NodeOutput(ui={"a": 1}), [], {"a": 1}),
    ],
)
def test_whatever_a_node_returns_becomes_outputs(returned, outputs, ui):
    assert nodes.outputs_of(returned) == {"outputs": outputs, "ui": ui}


def test_a_user_interface_object_travels_as_its_dict():
    class Preview:
        def as_dict(self):
            return {"images": [1]}

    assert nodes.outputs_of(io.NodeOutput(1, ui=Preview()))["ui"] == {"images": [1]}
