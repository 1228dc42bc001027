"""Nodes that hand tensors back in every way a pack can. One input `x`, one output."""

import hashlib

import numpy as np

import pyisolate
from pyisolate import ExtensionBase

kept = []


def half_in_place(x):
    result = pyisolate.empty(x.shape, x.dtype.name)
    np.multiply(x, 0.5, out=result)
    return result


def spoil(x):
    """Writes into its input; gives what it read there before, as a digest."""
    digest = digest_of(x)
    x[...] = 7
    return digest


def keep(x):
    kept.append(x)
    return len(kept)


def view_of_empty(x):
    """A slice with a step and a negative stride, of memory made by `empty`."""
    whole = pyisolate.empty((2 * len(x), *x.shape[1:]), x.dtype.name)
    whole[::2] = x
    return whole[-2::-2]


def digest_of(x):
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


NODES = {
    "Echo": lambda x: x,
    "Digest": digest_of,
    "HalfInPlace": half_in_place,
    "HalfCopied": lambda x: x * np.float32(0.5),
    "Batch": lambda x: x[1:3],
    "Reversed": lambda x: x[::-1],
    "Transposed": lambda x: x.T,
    "Every2nd": lambda x: x[::2],
    "Broadcast": lambda x: np.broadcast_to(x, (3, *x.shape)),
    "BroadcastNew": lambda x: np.broadcast_to(x + 0, (3, *x.shape)),
    "ViewOfEmpty": view_of_empty,
    "Spoil": spoil,
    "Keep": keep,
    "Forget": lambda x: kept.clear(),
    "TooMuch": lambda x: [pyisolate.empty((32 << 20,), "uint8") for _ in range(4)],
}


class Probe(ExtensionBase):
    def get_node_ids(self):
        return list(NODES)

    def get_node_schema(self, node_id):
        return {"inputs": [{"name": "x", "type": "*"}], "outputs": [{"type": "*"}]}

    def execute_node(self, node_id, **inputs):
        return (NODES[node_id](**inputs),)
