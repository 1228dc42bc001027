"""A worker as a process of its own, dialled in over both sockets: tensors of its nodes, nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile

import numpy
import pytest

from packs import write_pack
from peers import TIMEOUT_S
from pyisolate import PyisolateError, Tensor
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.rpc.values import Transfer
from pyisolate.tensor.host import DescriptorRoute, HostTensors, PathRoute
from pyisolate.tensor.snapshot import SegmentMemory
from segments import MIB, OWN_PREFIX, open_things, wait_until
from wire import ROOT

PACK = """
    import asyncio, os
    import numpy
    import pyisolate
    from pyisolate import ExtensionBase

    kept = []

    async def later(x):
        await asyncio.sleep(0)
        return x + 1

    async def in_place_later(x):
        result = pyisolate.empty(x.shape, x.dtype.name)
        await asyncio.sleep(0)
        numpy.add(x, 1, out=result)
        return result

    def in_place(x):
        result = pyisolate.empty(x.shape, x.dtype.name)
        numpy.add(x, 1, out=result)
        return result

    def keep(x):
        kept.append(x)
        return len(kept)

    NODES = {
        "Echo": lambda x: x,
        "Add": lambda x: x + 1,
        "InPlace": in_place,
        "Later": later,
        "InPlaceLater": in_place_later,
        "Keep": keep,
        "Forget": lambda x: kept.clear(),
        "Type": lambda x: [type(x).__module__, str(x.dtype), bool(x.flags.writeable)],
        "Die": lambda x: os._exit(3),
    }

    class Probe(ExtensionBase):
        def get_node_ids(self):
            return list(NODES)

        def get_node_schema(self, node_id):
            return {"inputs": [{"name": "x", "type": "*"}], "outputs": [{"type": "*"}]}

        def execute_node(self, node_id, x):
            returned = NODES[node_id](x)
            if hasattr(type(returned), "__await__"):
                async def wait():
                    return (await returned,)
                return wait()
            return (returned,)
"""


class RunningPack:
    def __init__(self, peer, tensors, process):
        self.peer, self.tensors, self.process = peer, tensors, process

    def run(self, node, x=None, transfer=None):
        return self.peer.call("execute", node, {"x": x}, timeout=TIMEOUT_S, transfer=transfer)["outputs"][0]


@contextlib.contextmanager
def running(host: HostTensors, tmp_path, route="descriptor", domain=None, name="a"):
    folder = write_pack(tmp_path / "pack", {"__init__.py": PACK})
    run_folder = tmp_path / name
    run_folder.mkdir()
    with contextlib.ExitStack() as stack:
        env = {"PYTHONPATH": str(ROOT / "runtime-python/src"), "PYTHONDONTWRITEBYTECODE": "1"}
        names = ["control.sock"]
        if route == "descriptor":
            names.append("segments.sock")
        elif route == "path":
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=OWN_PREFIX, dir="/dev/shm"))
            env["PYISOLATE_SEGMENTS"] = directory
        listeners = {}
        for each in names:
            listener = listeners[each] = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(run_folder / each))
            listener.listen()
            listener.settimeout(TIMEOUT_S)
        command = [sys.executable, "-m", "pyisolate.worker", str(run_folder / "control.sock"), "--pack", folder]
        process = subprocess.Popen(command, cwd="/", env=env)
        connections = {each: listener.accept()[0] for each, listener in listeners.items()}
        for connection in connections.values():
            connection.settimeout(None)
        host_route = {
            "descriptor": lambda: DescriptorRoute(connections["segments.sock"]),
            "path": lambda: PathRoute(directory),
            "inline": lambda: None,
        }[route]()
        tensors = host.connect("probe", domain=domain or host.domain(), max_shm=64 * MIB, route=host_route)
        peer = Peer(
            SocketTransport(connections["control.sock"]), tensors.methods, extension=tensors, features=tensors.features
        )
        tensors.bind(peer)
        peer.start()
        try:
            peer.call("load", {"share_torch": False}, timeout=TIMEOUT_S)
            yield RunningPack(peer, tensors, process)
        finally:
            peer.close()
            tensors.close()
            process.kill()
            process.wait()


@pytest.fixture
def host():
    host = HostTensors(512 * MIB)
    yield host
    host.close()


def picture(host=None, seed=1, domain=None):
    data = numpy.random.default_rng(seed).random((1, 512, 512, 3), dtype="float32")
    if host is None:
        return data
    tensor = host.empty(data.shape, domain=domain)
    numpy.asarray(tensor)[...] = data
    return tensor


@pytest.mark.parametrize("route", ["descriptor", "path", "inline"])
@pytest.mark.parametrize("node", ["Echo", "Add", "InPlace", "Later", "InPlaceLater"])
def test_pictures_go_there_and_back(host, tmp_path, route, node):
    with running(host, tmp_path, route) as pack:
        for seed in range(5):
            transfer = Transfer()
            x = picture(seed=seed)
            back = pack.run(node, x, transfer)
            assert (numpy.asarray(back) == (x if node == "Echo" else x + 1)).all()
            assert (transfer.bytes_copied, transfer.routes) == (x.nbytes, [route])
            assert isinstance(back.memory, SegmentMemory) is (route != "inline")


def test_nodes_get_writable_arrays_of_numpy_and_tensors_for_what_it_lacks(host, tmp_path):
    with running(host, tmp_path) as pack:
        assert pack.run("Type", picture(host)) == ["numpy", "float32", True]
        assert pack.run("Echo", Tensor("bfloat16", [100_000], bytes(200_000))).dtype == "bfloat16"


def test_between_packs_of_a_group_nothing_is_copied(host, tmp_path):
    domain = host.domain()
    with running(host, tmp_path, domain=domain) as first, running(host, tmp_path, domain=domain, name="b") as second:
        transfer = Transfer()
        middle = first.run("InPlace", picture(host), transfer)
        assert transfer.bytes_copied == 0
        end = second.run("InPlace", middle, transfer)
        assert transfer.bytes_copied == 0
        assert (numpy.asarray(end) == picture() + 1 + 1).all()


@pytest.mark.parametrize("route", ["descriptor", "path"])
@pytest.mark.parametrize("end", ["close", "kill", "die in a call"])
def test_nothing_stays_behind_when_the_connection_ends(tmp_path, route, end):
    before = open_things()
    host = HostTensors(512 * MIB)
    with running(host, tmp_path, route) as pack:
        kept = pack.run("Add", picture(host))
        pack.run("Keep", picture(host, 2))
        pack.run("Keep", picture(seed=3))
        seen = numpy.asarray(pack.run("InPlace", picture(seed=4)))
        assert open_things() > before
        if end == "close":
            pack.peer.close()
        elif end == "kill":
            os.kill(pack.process.pid, signal.SIGKILL)
        else:
            with pytest.raises(PyisolateError):
                pack.run("Die", picture())
        pack.process.wait(TIMEOUT_S)
        wait_until(lambda peer=pack.peer: peer.has_ended)
        assert (numpy.asarray(kept) == picture() + 1).all() and (seen == picture(seed=4) + 1).all()
    host.close()
    del kept, seen, pack
    wait_until(lambda: open_things() == before)
    wait_until(lambda: host.stats() == {"segments": 0, "bytes": 0, "warm_bytes": 0, "total_bytes": 512 * MIB})


def test_many_calls_leave_as_much_as_few(host, tmp_path):
    domain = host.domain()
    with running(host, tmp_path, domain=domain) as pack:

        def calls(count):
            for at in range(count):
                assert (numpy.asarray(pack.run("Add", picture(host, domain=domain))) == picture() + 1).all()
                if at % 3 == 0:
                    pack.run("Keep", picture())
                    pack.run("Forget")
            wait_until(lambda: host.stats()["bytes"] == host.stats()["warm_bytes"])
            return open_things(), host.stats()["segments"], len(os.listdir(f"/proc/{pack.process.pid}/fd"))

        calls(10)
        assert calls(10) == calls(40)
