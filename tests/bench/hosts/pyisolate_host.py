"""pyisolate 0.10.2 from PyPI. Usage: pyisolate_host.py sealed|coupled PACK ENVIRONMENTS

sealed: its SealedNodeExtension, execution_model "sealed_worker": JSON over a Unix socket, no torch to import.
coupled: its default model with share_torch, in which the extension shares the host's packages and CPU tensors.
Both without bubblewrap, which puts least in their way.
"""

import sys
import time
from os.path import basename

import pyisolate
from pyisolate.sealed import SealedNodeExtension
from serve import Host, serve


class PyisolateHost(Host):
    def __init__(self, model, pack, environments):
        self.model = model
        self.pack = pack
        if model == "sealed":
            extension_type = SealedNodeExtension
        else:
            from pyisolate_nodes import Nodes as extension_type
        self.manager = pyisolate.ExtensionManager(extension_type, {"venv_root_path": environments})
        self.extension = None

    async def start(self):
        is_sealed = self.model == "sealed"
        started = time.perf_counter()
        self.extension = self.manager.load_extension(
            {
                "name": f"bench_{basename(self.pack)}_{self.model}",
                "module_path": self.pack,
                "isolated": True,
                "dependencies": [],
                "share_torch": not is_sealed,
                "execution_model": "sealed_worker" if is_sealed else "host-coupled",
                "sandbox_mode": "disabled",
            }
        )
        self.execute = self.extension.execute_node
        await self.call("NoOp")
        return (time.perf_counter() - started) * 1000

    async def call(self, node, **inputs):
        return (await self.execute(node, **inputs))[0]

    def fresh(self, array):
        import torch

        return torch.from_numpy(array).clone()

    async def shared(self, nbytes):
        import torch

        return torch.zeros(nbytes, dtype=torch.uint8).share_memory_()

    def worker_pid(self):
        return self.extension.proc.pid

    async def stop(self):
        self.manager.stop_all_extensions()
        self.extension = None


if __name__ == "__main__":
    serve(PyisolateHost(*sys.argv[1:]))
