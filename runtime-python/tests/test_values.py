"""Values: golden texts in both directions, and every value survives the way there and back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wire
from pyisolate.errors import PyisolateError
from pyisolate.rpc.values import Decoder, Encoder, read_object, write_text
from pyisolate.tensor.arrays import make_tensor
from pyisolate.tensor.inline import InlineTensors
from pyisolate.tensor.tensor import Tensor

VALUES = wire.load("values.json")
INVALID = wire.load("invalid.json")
TENSORS = InlineTensors(make=make_tensor)


def decode(text: str, attachments, extension=None):
    """The value of a JSON text, as a session decodes it: through the fast path where that applies."""
    body, needs_look = read_object(b'{"value":%s}' % text.encode("utf-8", "surrogatepass"))
    if not needs_look and not attachments:
        return body["value"]
    decoder = Decoder([memoryview(bytearray.fromhex(each)) for each in attachments], extension)
    value = decoder.value(body["value"])
    decoder.finish()
    return value


def encode(value, extension=None):
    encoder = Encoder(extension)
    text = write_text(encoder.value(value)).decode()
    return text, [bytes(each).hex() for each in encoder.attachments]


def same(a, b) -> bool:
    """Equal in type and content; nan equals nan, 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, a.items(), b.items()))
    if isinstance(a, set):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    if isinstance(a, Tensor):
        return (a.dtype, a.shape, bytes(a.data)) == (b.dtype, b.shape, bytes(b.data))
    return a == b


@pytest.mark.parametrize("case", wire.cases(VALUES["values"] + VALUES["tensors"]))
def test_golden_values_in_both_directions(case):
    value = eval(case["python"], {"Tensor": Tensor})
    texts = {case["json"], *case.get("also", [])}
    attachments = case.get("attachments", [])
    text, encoded = encode(value, TENSORS)
    assert text in texts
    assert sorted(encoded) == sorted(attachments)
    for each in texts:
        decoded = decode(each, attachments, TENSORS)
        assert same(decoded, value), decoded
        assert encode(decoded, TENSORS)[0] in texts


@pytest.mark.parametrize("case", wire.cases(INVALID["values"]))
def test_invalid_values_are_refused(case):
    with pytest.raises(PyisolateError) as raised:
        decode(case["json"], case.get("attachments", []))
    assert raised.value.code == "PROTOCOL_VIOLATION"


@pytest.mark.parametrize("case", wire.cases(INVALID["tensors"]))
def test_invalid_tensors_are_refused(case):
    with pytest.raises(PyisolateError) as raised:
        decode(case["json"], case.get("attachments", []), TENSORS)
    assert raised.value.code == "PROTOCOL_VIOLATION"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=3)


def containers(inner):
    return (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
    )


@given(st.recursive(scalars, containers, max_leaves=20))
@example({(float("nan"), False), (float("nan"), False)})
def test_every_value_survives_the_way_there_and_back(value):
    text, attachments = encode(value)
    decoded = decode(text, attachments)
    assert same(decoded, value)


@given(st.text(alphabet=st.characters()) | st.text(alphabet='"$_0\\ue.-n'))
def test_the_fast_path_gives_what_the_decoder_gives(text):
    body, needs_look = read_object(write_text({"value": [text, {"a": text}]}))
    if not needs_look:
        assert Decoder().value(body["value"]) == body["value"]


def test_a_bare_number_without_fraction_is_an_integer():
    for text in ("1.0", "1e0", "10e-1"):
        assert same(decode(text, []), 1)


@pytest.mark.parametrize("value", [object(), lambda: 0, 1j, {object(): 1}, {frozenset({1})}, range(3)])
def test_what_has_no_form_is_named_by_its_type(value):
    with pytest.raises(PyisolateError) as raised:
        encode([{"a": value}])
    assert raised.value.code == "VALUE_UNSUPPORTED"
    kind = type(next(iter(value))) if isinstance(value, (dict, set)) else type(value)
    assert kind.__qualname__ in raised.value.message


def test_a_list_that_holds_itself_is_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(PyisolateError) as raised:
        encode(endless)
    assert raised.value.code == "VALUE_UNSUPPORTED"


def test_subclasses_travel_as_what_they_derive_from():
    class AnyType(str):
        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    class Options(dict):
        pass

    class Size(tuple):
        pass

    text, _ = encode(Options(a=AnyType("*"), b=Size((1, 2)), c=True))
    assert json.loads(text) == {"a": "*", "b": {"$tuple": [1, 2]}, "c": True}
