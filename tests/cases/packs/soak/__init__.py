import asyncio
import os
import time
from collections import deque

import numpy as np

import pyisolate
from pyisolate import ExtensionBase

kept = deque(maxlen=3)


def half_in_place(x):
    result = pyisolate.empty(x.shape, x.dtype.name)
    np.multiply(x, 0.5, out=result)
    return result


def keep(x):
    kept.append(x)
    return len(kept)


def fill_input(x):
    x[...] = 7
    return x


def fail(x):
    raise ValueError("as asked")


def wait_until_cancelled(x):
    while not pyisolate.cancelled():
        time.sleep(0.002)


async def sleep(x):
    await asyncio.sleep(60)


async def count(x):
    for step in range(5):
        pyisolate.progress(step, 5)
        await asyncio.sleep(0)
    return 5


def look_at_itself(x):
    """Open descriptors, mapped segments and resident bytes of this process."""
    with open("/proc/self/maps") as maps:
        mapped = sum("memfd:" in line for line in maps)
    with open("/proc/self/statm") as sizes:
        resident = int(sizes.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"descriptors": len(os.listdir("/proc/self/fd")), "mappings": mapped, "residentBytes": resident}


NODES = {
    "Nothing": lambda x: None,
    "Echo": lambda x: x,
    "HalfInPlace": half_in_place,
    "HalfCopied": lambda x: x * np.float32(0.5),
    "Slice": lambda x: x[::-2],
    "FillInput": fill_input,
    "Keep": keep,
    "Forget": lambda x: kept.clear(),
    "Fail": fail,
    "WaitUntilCancelled": wait_until_cancelled,
    "Sleep": sleep,
    "Count": count,
    "LookAtItself": look_at_itself,
    "Exit": lambda x: os._exit(3),
}


class Soak(ExtensionBase):
    def get_node_ids(self):
        return list(NODES)

    def get_node_schema(self, node_id):
        return {"inputs": [{"name": "x", "type": "*"}], "outputs": [{"type": "*"}]}

    def execute_node(self, node_id, x):
        answer = NODES[node_id](x)
        return self._finish(answer) if asyncio.iscoroutine(answer) else (answer,)

    async def _finish(self, answer):
        return (await answer,)
