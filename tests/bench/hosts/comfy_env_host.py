"""comfy-env 0.4.46 from PyPI: its SubprocessWorker on a uv venv. Usage: comfy_env_host.py PACK WORKER_PYTHON"""

import asyncio
import sys
import time
from os.path import basename, dirname

from comfy_env.isolation.workers.subprocess import SubprocessWorker
from serve import Host, serve


class ComfyEnvHost(Host):
    def __init__(self, pack, python):
        self.pack = pack
        self.python = python
        self.worker = None

    async def start(self):
        started = time.perf_counter()
        self.worker = SubprocessWorker(self.python, working_dir=self.pack, sys_path=[dirname(self.pack)])
        await self.call("NoOp")
        return (time.perf_counter() - started) * 1000

    async def call(self, node, **inputs):
        return self.worker.call_method(basename(self.pack), node, "run", kwargs=inputs)[0]

    async def call_beside(self, node, **inputs):
        def run():
            return self.worker.call_method(basename(self.pack), node, "run", kwargs=inputs)[0]

        return await asyncio.to_thread(run)

    def fresh(self, array):
        import torch

        return torch.from_numpy(array).clone()

    async def shared(self, nbytes):
        import torch

        return torch.zeros(nbytes, dtype=torch.uint8).share_memory_()

    def worker_pid(self):
        return self.worker._process.pid

    async def stop(self):
        if self.worker is not None:
            self.worker.shutdown()
            self.worker = None


if __name__ == "__main__":
    serve(ComfyEnvHost(*sys.argv[1:]))
