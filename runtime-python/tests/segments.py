"""Hosts and workers that share memory, for tests: over each route, in one process or two."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import tempfile

from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.tensor.arrays import make_tensor
from pyisolate.tensor.descriptors import DescriptorReceiver
from pyisolate.tensor.host import DescriptorRoute, HostTensors, PathRoute
from pyisolate.tensor.worker import WorkerTensors

ROUTES = ("descriptor", "path")
MIB = 1024 * 1024
TIMEOUT_S = 20
#: Of directories in /dev/shm: other test runs may be under way.
OWN_PREFIX = f"pyisolate-test-{os.getpid()}-"


def wait_until(condition, timeout_s=TIMEOUT_S):
    import time

    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


class Pack:
    """One connection, both of its ends in this process."""

    def __init__(self, host: HostTensors, route: str, name: str, domain, methods, stack, **options):
        make_worker = options.pop("worker", WorkerTensors)
        ours, theirs = socket.socketpair()
        if route == "descriptor":
            sender, receiver = socket.socketpair()
            self.worker_end = receiver
            host_route, self.worker = DescriptorRoute(sender), make_worker(DescriptorReceiver(receiver, wait_s=0.2))
        elif route == "path":
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=OWN_PREFIX, dir="/dev/shm"))
            host_route, self.worker = PathRoute(directory), make_worker(None, directory)
            self.directory = directory
        else:
            host_route, self.worker = None, make_worker()
        self.worker.make = options.pop("make", make_tensor)
        self.tensors = host.connect(
            name, domain=domain, max_shm=options.pop("max_shm", 64 * MIB), route=host_route, **options
        )
        self.peer = Peer(
            SocketTransport(ours), self.tensors.methods, extension=self.tensors, features=self.tensors.features
        )
        self.tensors.bind(self.peer)
        self.worker_peer = Peer(
            SocketTransport(theirs), methods, extension=self.worker, features=self.worker.features, is_stoppable=True
        )
        self.worker.bind(self.worker_peer)
        self.peer.start()
        self.worker_peer.start()
        self.call = self.peer.call
        self.call("nop")
        stack.callback(self.close)

    def close(self):
        self.peer.close()
        self.worker_peer.close()
        self.tensors.close()


class Machine:
    """A host program and the packs that it starts."""

    def __init__(self, route, stack, total=512 * MIB, keep=256 * MIB, idle_s=10.0, wait_s=TIMEOUT_S):
        self.host = HostTensors(total, keep, idle_s, wait_s)
        self._route = route
        self._stack = stack
        stack.callback(self.host.close)

    def start(self, methods=None, *, domain=None, name="pack", route=None, **options) -> Pack:
        methods = {"nop": lambda *_: None, "echo": lambda value: value, **(methods or {})}
        domain = domain or self.host.domain()
        return Pack(self.host, route or self._route, name, domain, methods, self._stack, **options)


@contextlib.contextmanager
def machine(route="descriptor", **options):
    with contextlib.ExitStack() as stack:
        yield Machine(route, stack, **options)
    gc.collect()


def open_things() -> tuple[int, int, list[str]]:
    """Descriptors of segments, mappings of segments, and what lies in /dev/shm."""
    gc.collect()
    descriptors = 0
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{each}")
            descriptors += "memfd:pyisolate" in target or target.startswith("/dev/shm/pyisolate")
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mappings = sum("memfd:pyisolate" in line or "/dev/shm/pyisolate" in line for line in maps)
    return descriptors, mappings, sorted(each for each in os.listdir("/dev/shm") if each.startswith(OWN_PREFIX))
