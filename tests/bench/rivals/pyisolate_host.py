"""The rival's own host: pyisolate 0.10.2 from PyPI, driven by the bench over stdin and stdout, one JSON object a line.

{"do": "start"}                        loads the extension and makes the first call; answers {"ms": [x]}
{"do": "calls", "node": …, "count": …} that many calls, one after the other; answers {"ms": [x, …]}
{"do": "pin", "host_cpu": n, "pack_cpu": n} moves host and extension to these CPUs; answers {"ms": []}
{"do": "stop"}                         ends the extension; answers {"ms": []}

The extension runs in the mode that puts least in its way: its own SealedNodeExtension, execution_model
"sealed_worker" (JSON over a Unix socket, no torch to import), without bubblewrap.
"""

import asyncio
import json
import os
import sys
import time

import pyisolate
from pyisolate.sealed import SealedNodeExtension


class Bench:
    def __init__(self, pack, environments):
        self.pack = pack
        self.manager = pyisolate.ExtensionManager(SealedNodeExtension, {"venv_root_path": environments})
        self.extension = None

    async def start(self):
        started = time.perf_counter()
        self.extension = self.manager.load_extension(
            {
                "name": "bench_noop",
                "module_path": self.pack,
                "isolated": True,
                "dependencies": [],
                "share_torch": False,
                "execution_model": "sealed_worker",
                "sandbox_mode": "disabled",
            }
        )
        await self.extension.execute_node("NoOp")
        return [(time.perf_counter() - started) * 1000]

    async def calls(self, node, count):
        execute, clock = self.extension.execute_node, time.perf_counter
        milliseconds = []
        for _ in range(count):
            started = clock()
            await execute(node)
            milliseconds.append((clock() - started) * 1000)
        return milliseconds

    async def pin(self, host_cpu, pack_cpu):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), [host_cpu])
        await self.extension.execute_node("Affinity", cpu=pack_cpu)
        return []

    async def stop(self):
        self.manager.stop_all_extensions()
        self.extension = None
        return []


async def main(pack, environments):
    # pyisolate and its children log to stdout: that becomes stderr, and the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    bench = Bench(pack, environments)
    for line in sys.stdin:
        request = json.loads(line)
        milliseconds = await getattr(bench, request.pop("do"))(**request)
        answers.write(json.dumps({"ms": milliseconds}) + "\n")
        answers.flush()
    await bench.stop()


asyncio.run(main(*sys.argv[1:]))
