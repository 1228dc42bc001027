"""torch.multiprocessing: a spawned process and a duplex pipe, with nothing else on top. Usage: torch_host.py PACK"""

import importlib
import sys
import time
from os.path import basename, dirname

import torch
from serve import Host, serve


def work(connection, pack):
    sys.path.insert(0, dirname(pack))
    nodes = importlib.import_module(basename(pack)).NODE_CLASS_MAPPINGS
    instances = {name: each() for name, each in nodes.items()}
    while True:
        try:
            node, inputs = connection.recv()
        except EOFError:
            return
        connection.send(instances[node].run(**inputs)[0])
        del inputs


class TorchHost(Host):
    def __init__(self, pack):
        self.pack = pack
        self.process = None

    async def start(self):
        started = time.perf_counter()
        context = torch.multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.pack), daemon=True)
        self.process.start()
        other.close()
        await self.call("NoOp")
        return (time.perf_counter() - started) * 1000

    async def call(self, node, **inputs):
        self.connection.send((node, inputs))
        return self.connection.recv()

    def fresh(self, array):
        return torch.from_numpy(array).clone()

    async def shared(self, nbytes):
        return torch.zeros(nbytes, dtype=torch.uint8).share_memory_()

    def worker_pid(self):
        return self.process.pid

    async def stop(self):
        if self.process is not None:
            self.connection.close()
            self.process.join()
            self.process = None


if __name__ == "__main__":
    serve(TorchHost(*sys.argv[1:]))
