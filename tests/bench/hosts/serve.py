"""What every Python host of the bench is: a program that the bench asks over stdin, one JSON object a line.

{"do": NAME, …}  runs the host's coroutine NAME, else the workload of that name, with the other keys as arguments;
                 answers {"result": …} or {"error": "TypeError: …"}. The end of stdin ends it.
"""

import asyncio
import json
import os
import sys

import workloads


class Host:
    """A contestant. What it leaves out it cannot do.

    Attributes:
        handed: The tensor that was handed over last.
    """

    handed = None

    async def start(self):
        """Starts the worker and makes the first call; milliseconds."""
        raise NotImplementedError

    async def call(self, node, **inputs):
        """Runs one node of the pack and gives its first output."""
        raise NotImplementedError

    async def call_beside(self, node, **inputs):
        """As `call`, while other calls go on."""
        return await self.call(node, **inputs)

    def fresh(self, array):
        """A new picture with these values, in memory of this process alone, as its users would hold it."""
        return array.copy()

    async def shared(self, nbytes):
        """A tensor of so many bytes that already lies where the worker can read it."""
        raise NotImplementedError

    def worker_pid(self):
        raise NotImplementedError

    async def kill(self):
        """Kills the worker."""
        os.kill(self.worker_pid(), 9)

    async def stop(self):
        """Ends the worker; nothing happens when there is none."""

    async def pin(self, host_cpu, pack_cpu):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), [host_cpu])
        await self.call("Affinity", cpu=pack_cpu)


async def _serve(host):
    # Rivals and their children log to stdout: that becomes stderr, and the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("do")
        try:
            run = getattr(host, name, None)
            result = await (run(**request) if run else getattr(workloads, name)(host, **request))
            answer = {"result": result}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".split("\n")[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    await host.stop()


def serve(host):
    asyncio.run(_serve(host))
