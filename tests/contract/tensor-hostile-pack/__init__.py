"""One node that evaluates what a test says, beside the tools of a pack that reaches into the worker it runs in."""

import ctypes
import hashlib
import mmap
import os
import socket
import threading

import numpy as np

import pyisolate
from pyisolate import ExtensionBase
from pyisolate.rpc.frame import encode_head
from pyisolate.rpc.kinds import RELEASE
from pyisolate.tensor import worker

tensors = worker._of_process[0]
peer = tensors._peer
libc = ctypes.CDLL(None, use_errno=True)
MiB = 1 << 20

#: What outlives a call.
kept = {}
#: The text form of every tensor that came in a segment, the latest at the end.
came = []


class Lie:
    """Goes out as `$tensor` with whatever it is told; a lease of None becomes a new one."""

    def __init__(self, **payload):
        self.payload = payload


_encode, _decode = tensors.encode, tensors.decode


def _encode_lie(value, sink):
    if not isinstance(value, Lie):
        return _encode(value, sink)
    payload = dict(value.payload)
    if payload["lease"] is None:
        payload["lease"] = sink.lease(lambda: None)
    return {"$tensor": payload}


def _decode_noted(tag, payload, source):
    if type(payload) is dict and "segment" in payload:
        came.append(payload)
    return _decode(tag, payload, source)


tensors.encode, tensors.decode = _encode_lie, _decode_noted


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def keep(name, value):
    kept[name] = value
    return value


def segment_of(array):
    address = array.__array_interface__["data"][0]
    found = tensors._mappings.find(address, address + array.nbytes)
    return getattr(found, "segment", found)


def place_of(array, **lies):
    """What the worker would say of an array of bytes in a segment of its own, but for the lies."""
    number = segment_of(array).number
    return {"dtype": "uint8", "shape": [array.size], "segment": number, "offset": 0, "lease": None, **lies}


def release(*ids):
    """Says that it no longer uses what has these ids, whatever they are."""
    peer._session.outbound.extend(encode_head(RELEASE, 0, id, b"", 0) for id in ids)
    peer._outbox.flush()


def never_give_back():
    tensors.on_give_back = lambda id: None


def shared(descriptor):
    return mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def scrawl(descriptor):
    shared(descriptor)[:4] = b"evil"


def punch(descriptor):
    if libc.fallocate(descriptor, 3, ctypes.c_long(0), ctypes.c_long(os.fstat(descriptor).st_size)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def cut(descriptor):
    """Back to its size afterwards, so that what looks at it there lives on."""
    size = os.fstat(descriptor).st_size
    os.ftruncate(descriptor, 0)
    os.ftruncate(descriptor, size)


def again(descriptor):
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)


def forever(act):
    """Does it again and again, in a thread."""

    def run():
        while True:
            act()

    threading.Thread(target=run, daemon=True).start()


def dial(name):
    """A connection to a socket beside the control socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(f"/run/pyisolate/{name}")
    connection.close()
    return "connected"


class Hostile(ExtensionBase):
    def get_node_ids(self):
        return ["Run"]

    def get_node_schema(self, node_id):
        code = {"name": "code", "type": "STRING"}
        return {"inputs": [code, {"name": "x", "type": "*", "required": False}], "outputs": [{"type": "*"}]}

    def execute_node(self, node_id, code, x=None):
        try:
            return (eval(code, {**globals(), "x": x}),)
        except OSError as error:
            return (type(error).__name__,)
