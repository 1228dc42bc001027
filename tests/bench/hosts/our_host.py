"""Ours from Python: a program on the Python peer is the host, and a worker in its container dials it."""

import os
from contextlib import suppress

from listener import accept, listen
from pyisolate.errors import PyisolateError
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.rpc.values import Transfer
from pyisolate.tensor.host import DescriptorRoute, HostTensors
from serve import Host, serve

_GB = 1 << 30


class OurHost(Host):
    def __init__(self):
        self.tensors = HostTensors(8 * _GB)
        self.peer = None

    async def listen(self, directory):
        self.control = listen(os.path.join(directory, "control.sock"))
        self.segments = listen(os.path.join(directory, "segments.sock"))

    async def accept(self, trusts_memory=False):
        route = DescriptorRoute(accept(self.segments))
        pack = self.tensors.connect(
            "bench", domain=self.tensors.domain(), max_shm=2 * _GB, trust_memory=trusts_memory, route=route
        )
        self.peer = Peer(
            SocketTransport(accept(self.control)),
            pack.methods,
            extension=pack,
            features=pack.features,
            on_end=lambda reason: pack.close(),
        )
        pack.bind(self.peer)
        self.peer.start()
        self.peer.call("load", {"share_torch": False})

    async def call(self, node, **inputs):
        return self.peer.call("execute", node, inputs)["outputs"][0]

    async def call_beside(self, node, **inputs):
        return (await self.peer.call_async("execute", node, inputs))["outputs"][0]

    async def shared(self, nbytes):
        return self.tensors.empty([nbytes], "uint8")

    async def copied(self, node, shape):
        """Bytes copied to bring a fresh picture to the pack."""
        import numpy

        transfer = Transfer()
        self.peer.call("execute", node, {"image": numpy.ones(shape, numpy.float32)}, transfer=transfer)
        return transfer.bytes_copied

    async def kill(self):
        with suppress(PyisolateError):
            await self.call("Die")

    async def stop(self):
        if self.peer is not None:
            self.peer.close()
        self.tensors.close()


if __name__ == "__main__":
    serve(OurHost())
