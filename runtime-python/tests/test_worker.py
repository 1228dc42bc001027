"""A worker as a process of its own, dialled in over a real socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from packs import write_pack
from peers import TIMEOUT_S
from pyisolate.errors import PyisolateError
from pyisolate.rpc.kinds import STOP
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.tensor.arrays import make_tensor
from pyisolate.tensor.inline import InlineTensors
from pyisolate.tensor.tensor import Tensor
from wire import ROOT

PACK = """
    import asyncio, os, signal, sys, time
    import pyisolate
    from pyisolate import Tensor
    signal.signal(signal.SIGUSR1, lambda *_: None)  # possible in the main thread only
    print("imported in", os.path.basename(os.path.dirname(__file__)))

    class Node:
        FUNCTION = "run"
        RETURN_TYPES = ("*",)
        @classmethod
        def INPUT_TYPES(cls):
            return {"optional": {"value": ("*",)}}

    class Echo(Node):
        def run(self, value=None):
            return (value,)

    class Progress(Node):
        async def run(self):
            pyisolate.progress(1, 2)
            await asyncio.sleep(0)
            pyisolate.progress(2, 2)

    class Sleep(Node):
        def run(self):
            print("sleeping")
            time.sleep(3600)

    class Spin(Node):
        def run(self):
            while True:
                pass

    class Path(Node):
        def run(self):
            return (sys.path, sys.argv, os.getcwd())

    class Exit(Node):
        def run(self):
            os._exit(7)

    NODE_CLASS_MAPPINGS = {each.__name__: each for each in (Echo, Progress, Sleep, Spin, Path, Exit)}
"""


@contextlib.contextmanager
def worker(tmp_path, source: str = PACK, env=None, files=None):
    """The host's peer and the process, which says hello but has loaded nothing."""
    folder = write_pack(tmp_path / "pack", {"__init__.py": source, **(files or {})})
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(TIMEOUT_S)
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pyisolate.worker", path, "--pack", folder],
            cwd="/",
            env={"PYTHONPATH": str(ROOT / "runtime-python/src"), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        connection, _ = listener.accept()
    connection.settimeout(None)
    host = Peer(SocketTransport(connection), extension=InlineTensors(make=make_tensor))
    host.start()
    try:
        yield host, process
    finally:
        host.close()
        process.kill()
        process.wait()
        process.stdout.close()


def execute(host: Peer, node_id: str, timeout=TIMEOUT_S, **inputs):
    return host.call("execute", node_id, inputs, timeout=timeout)["outputs"]


def test_it_loads_runs_and_exits_with_0_when_it_is_told_to_stop(tmp_path):
    with worker(tmp_path) as (host, process):
        loaded = host.call("load", {"share_torch": False}, timeout=TIMEOUT_S)
        assert [node["id"] for node in loaded["nodes"]] == ["Echo", "Progress", "Sleep", "Spin", "Path", "Exit"]
        assert execute(host, "Echo", value=2**70) == [2**70]
        seen = []
        host.call("execute", "Progress", {}, on_event=lambda _, data: seen.append(data["value"]))
        assert seen == [1, 2]
        host._outbox.send(STOP, 0, 0, b"")
        assert process.wait(TIMEOUT_S) == 0
        assert process.stdout.read() == "imported in pack\n"


@pytest.mark.parametrize("busy", ["", "Sleep", "Spin"])
def test_it_exits_with_0_when_the_host_hangs_up_whatever_it_is_doing(tmp_path, busy):
    with worker(tmp_path) as (host, process):
        host.call("load", {}, timeout=TIMEOUT_S)
        if busy:
            with pytest.raises(PyisolateError):
                execute(host, busy, timeout=0.2)
            assert execute(host, "Echo", value=1) == [1]
        host.close()
        assert process.wait(TIMEOUT_S) == 0


def test_a_violation_ends_it_with_1_and_a_line_in_its_log(tmp_path):
    with worker(tmp_path) as (host, process):
        host.call("load", {}, timeout=TIMEOUT_S)
        host._transport.send([b"\xff" * 16])
        assert process.wait(TIMEOUT_S) == 1
        assert "pyisolate: peer broke the protocol: unknown frame kind 255" in process.stdout.read()


def test_tensors_of_the_host_reach_the_node_and_come_back(tmp_path):
    data = bytes(range(256)) * 30_000
    with worker(tmp_path) as (host, _):
        host.call("load", {}, timeout=TIMEOUT_S)
        (back,) = execute(host, "Echo", value=Tensor("uint8", [1, 30_000, 256], data))
        assert (back.shape, bytes(back.data)) == ((1, 30_000, 256), data)


def test_a_pack_that_dies_in_a_call_breaks_the_connection_at_once(tmp_path):
    with worker(tmp_path) as (host, process):
        host.call("load", {}, timeout=TIMEOUT_S)
        with pytest.raises(PyisolateError) as raised:
            execute(host, "Exit")
        assert raised.value.code == "PEER_BROKEN"
        assert process.wait(TIMEOUT_S) == 7


def test_the_packs_files_shadow_no_module_of_ours_or_of_the_standard_library(tmp_path):
    files = dict.fromkeys(
        ("json.py", "re.py", "threading.py", "socket.py", "select.py"), "raise ImportError('shadowed')\n"
    )
    with worker(tmp_path, files=files) as (host, _):
        host.call("load", {}, timeout=TIMEOUT_S)
        path, argv, working_directory = execute(host, "Path")
        assert str(tmp_path / "pack") not in path and "/" not in path and len(argv) == 1
        assert working_directory == str(tmp_path / "pack")


def test_the_extension_is_told_to_stop(tmp_path):
    source = """
        from pyisolate import ExtensionBase
        class Told(ExtensionBase):
            async def stop(self):
                print("told")
    """
    with worker(tmp_path, source) as (host, process):
        host.call("load", {}, timeout=TIMEOUT_S)
        host.close()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stdout.read() == "told\n"


def test_an_extension_that_does_not_stop_ends_all_the_same(tmp_path):
    source = """
        import time
        from pyisolate import ExtensionBase
        class Stubborn(ExtensionBase):
            def stop(self):
                time.sleep(3600)
    """
    with worker(tmp_path, source) as (host, process):
        host.call("load", {}, timeout=TIMEOUT_S)
        host.close()
        assert process.wait(TIMEOUT_S) == 0


def test_with_a_data_folder_the_pack_runs_from_its_writable_copy(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    source = (
        "import os\nopen(os.path.join(os.path.dirname(__file__), 'cache'), 'w').close()\nNODE_CLASS_MAPPINGS = {}\n"
    )
    for _ in range(2):
        with worker(tmp_path, source, env={"PYISOLATE_DATA": str(data)}) as (host, _):
            host.call("load", {}, timeout=TIMEOUT_S)
        (tmp_path / "s").unlink()
    assert (data / "pack/cache").exists() and not (tmp_path / "pack/cache").exists()


def test_wrong_arguments_and_nobody_who_listens(tmp_path):
    def run(*arguments):
        env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime-python/src")}
        command = [sys.executable, "-m", "pyisolate.worker", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert run().returncode == 1 and "usage" in run().stderr
    nobody = run(str(tmp_path / "none"))
    assert nobody.returncode == 1 and "cannot dial" in nobody.stderr and "Traceback" not in nobody.stderr


def test_a_signal_handler_of_the_pack_runs_while_the_worker_waits(tmp_path):
    with worker(tmp_path) as (host, process):
        host.call("load", {}, timeout=TIMEOUT_S)
        process.send_signal(signal.SIGUSR1)
        assert execute(host, "Echo", value=1) == [1]
