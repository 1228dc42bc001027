"""The Python end of the interop tests: a Peer that offers a few methods. Usage: python3 peer.py SOCKET"""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from pyisolate.rpc.calls import cancelled, progress
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.tensor.arrays import make_tensor
from pyisolate.tensor.inline import InlineTensors
from pyisolate.tensor.tensor import Tensor
from same import is_same

cancel_seen = threading.Event()


def echo(value=None):
    return value


def check(value, expression):
    """Whether `value` is what the expression gives, in type and content; else both as text."""
    expected = eval(expression, {"Tensor": Tensor})
    return is_same(value, expected) or f"{value!r} instead of {expected!r}"


def fail(message):
    try:
        raise KeyError("inner", 2**64, (1, "b"))
    except KeyError as error:
        raise ValueError(message) from error


def steps(count):
    for value in range(count):
        progress(value + 1, count)
    return count


def wait():
    """Says that it runs, then waits until the caller cancels."""
    progress(0, 1)
    while not cancelled():
        threading.Event().wait(0.005)
    cancel_seen.set()
    return "never wanted"


async def wait_async():
    progress(0, 1)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancel_seen.set()
        raise


def was_cancelled():
    seen = cancel_seen.wait(30)
    cancel_seen.clear()
    return seen


def callback(method, *args):
    return peer.call(method, *args)


async def callback_async(method, *args):
    return await peer.call_async(method, *args)


def callback_error(method):
    """What a method of the other side raised, as this side sees it."""
    try:
        peer.call(method)
    except Exception as error:
        return {"type": type(error).__name__, "code": error.code, "message": str(error)}
    return None


def crash():
    os._exit(3)


peer = Peer(
    SocketTransport.dial(sys.argv[1]),
    {
        method.__name__: method
        for method in (echo, check, fail, steps, wait, wait_async, was_cancelled, callback, callback_async, callback_error, crash)
    },
    extension=InlineTensors(make_tensor),
    is_stoppable=True,
)
peer.serve()
