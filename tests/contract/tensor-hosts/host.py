"""The Python host of the tensor suite: one pack's worker, one job a line, one outcome a line.

Usage: host.py RUN_DIRECTORY descriptor|path|inline [DIRECTORY_OF_SEGMENTS]
"""

import gc
import hashlib
import json
import os
import socket
import sys
import time

from pyisolate.errors import PyisolateError
from pyisolate.rpc.peer import Peer
from pyisolate.rpc.transport import SocketTransport
from pyisolate.rpc.values import Transfer
from pyisolate.tensor.host import DescriptorRoute, HostTensors, PathRoute
from pyisolate.tensor.layout import check_shape
from pyisolate.tensor.tensor import Tensor

MAX_SHM = 64 << 20


def main(directory: str, route_name: str, segments: str = "") -> None:
    control = listen(os.path.join(directory, "control.sock"))
    descriptors = listen(os.path.join(directory, "segments.sock")) if route_name == "descriptor" else None
    say({"ready": True})
    route = None
    if descriptors is not None:
        route = DescriptorRoute(descriptors.accept()[0])
        descriptors.close()
    elif route_name == "path":
        route = PathRoute(segments)
    host = HostTensors(1 << 30, keep_bytes=64 << 20)
    pack = host.connect("tensor_probe", domain=host.domain(), max_shm=MAX_SHM, route=route)
    connection = control.accept()[0]
    control.close()
    peer = Peer(
        SocketTransport(connection),
        pack.methods,
        extension=pack,
        features=pack.features,
        on_end=lambda reason: pack.close(),
    )
    pack.bind(peer)
    peer.start()
    peer.call("load", {"share_torch": False}, timeout=60)
    say({"loaded": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(answer(host, peer, request))
        except PyisolateError as error:
            say({"error": f"{error.code}: {error.message}"})
    peer.close()
    wait_for_garbage()
    host.close()
    wait_for_garbage()
    say({"leftovers": leftovers()})


def answer(host, peer, request):
    if request.get("ask") == "bytes in use":
        wait_for_garbage()
        stats = host.stats()
        return {"bytes": stats["bytes"] - stats["warm_bytes"]}
    dtype, shape = request["dtype"], request["shape"]
    data = ramp(dtype, check_shape(dtype, shape))
    if request.get("isShared"):
        x = host.empty(shape, dtype)
        x.data[:] = data
    else:
        x = Tensor(dtype, shape, data)
    transfer = Transfer()
    output = peer.call("execute", request["node"], {"x": x}, timeout=60, transfer=transfer)["outputs"][0]
    if isinstance(output, Tensor):
        described = {"dtype": output.dtype, "shape": list(output.shape), "sha256": sha256(output.data)}
        output.release()
    else:
        described = output
    outcome = {
        "output": described,
        "bytesCopied": transfer.bytes_copied,
        "route": "+".join(transfer.routes),
        "inputAfter": sha256(x.data),
    }
    x.release()
    return outcome


def ramp(dtype, count):
    modulus = 2 if dtype == "bool" else 251
    return bytearray(index % modulus for index in range(count))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def wait_for_garbage():
    """Releases of the worker are under way for a moment after its answer."""
    gc.collect()
    time.sleep(0.1)


def leftovers():
    """Descriptors and mappings of shared memory of this process."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            pass
    with open("/proc/self/maps") as maps:
        found += maps.read().splitlines()
    return [each for each in found if "memfd:pyisolate" in each or "/dev/shm/pyisolate" in each]


def listen(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, 0o666)
    server.listen(1)
    return server


def say(message):
    print(json.dumps(message), flush=True)


main(*sys.argv[1:])
