"""A Peer that gives back what it gets, and that sends arbitrary values of its own and looks at what comes back.

Runs where hypothesis and numpy are. Usage: python generate.py SOCKET
"""

from __future__ import annotations

import sys

import numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.tensor.inline import InlineTensors
from same import is_same

UNITS = "Y M W D h m s ms us ns ps fs as".split()
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=3)


def containers(inner):
    return (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(st.characters()), inner)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
    )


values = st.recursive(scalars, containers, max_leaves=20)
dtypes = (
    arrays.boolean_dtypes()
    | arrays.integer_dtypes(endianness="<")
    | arrays.unsigned_integer_dtypes(endianness="<")
    | arrays.floating_dtypes(endianness="<", sizes=(16, 32, 64))
    | arrays.complex_number_dtypes(endianness="<", sizes=(64, 128))
    | st.sampled_from([numpy.dtype(f"<{kind}8[{unit}]") for kind in "Mm" for unit in UNITS])
)


@st.composite
def views(draw):
    """An array of any dtype, shape and strides: also reversed, skipping, transposed, repeated."""
    array = draw(arrays.arrays(draw(dtypes), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)))
    steps = [slice(None, None, draw(st.sampled_from([1, 2, -1, -2]))) for _ in array.shape]
    array = array[(*steps, ...)].transpose(draw(st.permutations(range(array.ndim))))
    if draw(st.booleans()):
        array = numpy.broadcast_to(array, (3, *array.shape))
    return array


def echo(value):
    return value


def generate(what, count):
    """Sends `count` values and raises what hypothesis found, if one came back as another."""

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given({"values": values, "arrays": views() | st.lists(views(), max_size=3)}[what])
    def survives(value):
        back = peer.call("echo", value)
        assert is_same(back, value), f"{value!r} came back as {back!r}"

    survives()


def scalars_of_numpy():
    """What numpy's scalars come back as, beside what they should."""
    given_values = [numpy.int64(-5), numpy.uint64(2**64 - 1), numpy.float32(0.5), numpy.bool_(True), numpy.str_("x")]
    dates = [numpy.datetime64("2026-11-25", "ns"), numpy.timedelta64(5, "s")]
    back = peer.call("echo", given_values + dates)
    expected = [value.item() for value in given_values] + [numpy.asarray(value) for value in dates]
    return is_same(back, expected) or repr(back)


peer = Peer(
    SocketTransport.dial(sys.argv[1]),
    {method.__name__: method for method in (echo, generate, scalars_of_numpy)},
    extension=InlineTensors(),
    is_stoppable=True,
)
peer.serve()
