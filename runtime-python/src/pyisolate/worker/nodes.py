"""The one place where a node class becomes a schema, and where what a node returns becomes outputs.

Must not know sockets or modules. V3 classes are known by their methods, never by a base class: any `comfy_api` will do.
"""

from __future__ import annotations

from ..errors import PyisolateError
from ..rpc.values import Encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: The default of every key of a schema but `id`.
_SCHEMA_DEFAULTS = {"category": "", "description": "", "inputs": (), "outputs": (), "output_node": False}


def is_v3(node_class: Any) -> bool:
    return hasattr(node_class, "define_schema") or hasattr(node_class, "DEFINE_SCHEMA")


def v3_schema(node_class: Any) -> Any:
    """The `Schema` object of a V3 class. `DEFINE_SCHEMA` is the spelling of a draft."""
    define = getattr(node_class, "DEFINE_SCHEMA", None) or node_class.define_schema
    return define()


def schema_of(node_id: str, node_class: Any, display_name: str | None = None) -> dict[str, Any]:
    """The schema of docs/protocol.md for a V1 or V3 node class."""
    if is_v3(node_class):
        return complete_schema(node_id, v3_schema(node_class), display_name)
    return {
        "id": node_id,
        "display_name": _text(display_name or node_id),
        "category": _text(getattr(node_class, "CATEGORY", "")),
        "description": _text(getattr(node_class, "DESCRIPTION", "")),
        "inputs": _v1_inputs(node_id, node_class),
        "outputs": _v1_outputs(node_class),
        "output_node": bool(getattr(node_class, "OUTPUT_NODE", False)),
    }


def complete_schema(node_id: str, schema: Any, display_name: str | None = None) -> dict[str, Any]:
    """A schema with every key, from a V3 `Schema` or from a dict that may lack some. Raises PACK_LOAD_FAILED."""
    if isinstance(schema, dict):
        complete = {"id": node_id, "display_name": display_name or node_id, **_SCHEMA_DEFAULTS, **schema}
        complete["inputs"] = [_complete_input(each) for each in complete["inputs"]]
        complete["outputs"] = [
            _output(each.get("name"), each["type"], each.get("is_list", False)) for each in complete["outputs"]
        ]
        return complete
    if not hasattr(schema, "node_id"):
        raise PyisolateError(
            "PACK_LOAD_FAILED",
            f'the schema of node "{node_id}" is a {type(schema).__name__}, expected a dict or a V3 Schema',
        )
    return {
        "id": node_id,
        "display_name": _text(display_name or schema.display_name or node_id),
        "category": _text(schema.category or ""),
        "description": _text(schema.description or ""),
        "inputs": [_v3_input(each) for each in schema.inputs or ()],
        "outputs": [_v3_output(each) for each in schema.outputs or ()],
        "output_node": bool(schema.is_output_node),
    }


def _v1_inputs(node_id: str, node_class: Any) -> list[dict[str, Any]]:
    declared = node_class.INPUT_TYPES()
    return [
        _v1_input(name, spec, required=group == "required")
        for group in ("required", "optional")
        for name, spec in (declared.get(group) or {}).items()
    ]


def _v1_input(name: str, spec: Any, required: bool) -> dict[str, Any]:
    """`spec`: (type, options), (type,) or, as some packs write, the type alone."""
    type_, *rest = spec if isinstance(spec, (tuple, list)) else (spec,)
    options = dict(rest[0]) if rest and isinstance(rest[0], dict) else {}
    if isinstance(type_, (list, tuple)):
        type_, options = "COMBO", {**options, "choices": list(type_)}
    elif type_ == "COMBO" and "options" in options:
        options["choices"] = list(options.pop("options"))
    return _input(name, type_, required, options)


def _v1_outputs(node_class: Any) -> list[dict[str, Any]]:
    types = getattr(node_class, "RETURN_TYPES", ())
    types = (types,) if isinstance(types, str) else types
    names = getattr(node_class, "RETURN_NAMES", None) or ()
    names = (names,) if isinstance(names, str) else names
    lists = getattr(node_class, "OUTPUT_IS_LIST", ())
    return [
        _output(names[at] if at < len(names) else None, type_, at < len(lists) and bool(lists[at]))
        for at, type_ in enumerate(types)
    ]


def _v3_input(declared: Any) -> dict[str, Any]:
    options = dict(declared.as_dict())
    type_ = declared.io_type
    if type_ == "COMBO" and "options" in options:
        options["choices"] = list(options.pop("options") or ())
    return _input(declared.id, type_, not declared.optional, options)


def _v3_output(declared: Any) -> dict[str, Any]:
    name = declared.display_name or declared.id
    return _output(name, declared.io_type, bool(declared.is_output_list))


def _input(name: Any, type_: Any, required: bool, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _text(name),
        "type": _text(type_),
        "required": required,
        "options": {_text(key): _wire_form(value) for key, value in options.items()},
    }


def _complete_input(given: dict[str, Any]) -> dict[str, Any]:
    return _input(given["name"], given["type"], given.get("required", True), given.get("options", {}))


def _output(name: Any, type_: Any, is_list: bool) -> dict[str, Any]:
    type_ = "COMBO" if isinstance(type_, (list, tuple)) else _text(type_)
    return {"name": _text(name or type_), "type": type_, "is_list": is_list}


def _text(value: Any) -> str:
    """Plain text; packs use subclasses of str that compare equal to anything."""
    return str.__str__(value) if isinstance(value, str) else str(value)


def _wire_form(value: Any) -> Any:
    """What a pack declared, as text where it has no wire form (functions, classes)."""
    encoder = Encoder()
    try:
        encoder.value(value, depth=8)
    except PyisolateError:
        return str(value)
    return value


def function_of(node_class: Any) -> Any:
    """What `run` calls, as the class declares it."""
    function = node_class.execute if is_v3(node_class) else getattr(node_class, node_class.FUNCTION)
    return getattr(function, "__func__", function)


def run(node_id: str, node_class: Any, inputs: Mapping[str, Any], instances: dict[str, Any]) -> Any:
    """Calls the node's function; gives what it returns, awaitable when async. V1 instances live in `instances`."""
    instance = instances.get(node_id)
    if type(instance) is not node_class:
        if is_v3(node_class):
            return node_class.execute(**inputs)
        if instance is None:
            instance = instances.setdefault(node_id, node_class())
    return getattr(instance, node_class.FUNCTION)(**inputs)


def outputs_of(returned: Any) -> dict[str, Any]:
    """`{outputs, ui}` of docs/protocol.md, from whatever a node may return."""
    if type(returned) is tuple:
        return {"outputs": list(returned), "ui": None}
    if hasattr(returned, "ui") and hasattr(returned, "result"):  # a V3 NodeOutput
        outputs, ui = returned.result, returned.ui
    elif isinstance(returned, dict):
        outputs, ui = returned.get("result"), returned.get("ui")
    else:
        outputs, ui = returned, None
    if outputs is None:
        outputs = ()
    if hasattr(ui, "as_dict"):
        ui = ui.as_dict()
    return {"outputs": list(outputs) if isinstance(outputs, (tuple, list)) else [outputs], "ui": ui}
