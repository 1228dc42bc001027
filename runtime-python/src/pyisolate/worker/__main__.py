"""`python -m pyisolate.worker SOCKET [--pack FOLDER] [--shim MODULE]`: dials the socket and serves one pack.

The only file of the package that reads argv and the environment. Exit status 0 on `stop` or when the host hangs up.
"""

from __future__ import annotations

import os
import sys

# `python -m` puts the working directory in front of the standard library; a pack may have a file like json.py there.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

import threading

from ..errors import PyisolateError
from ..rpc.peer import Peer
from ..rpc.transport import SocketTransport
from ..tensor.worker import WorkerTensors, serve_empty
from .methods import WorkerMethods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..tensor.descriptors import DescriptorReceiver

#: A busy node yields to the thread that reads the socket this often; the default of 5 ms delays every other call.
_SWITCH_INTERVAL_S = 0.0005
#: What the pack wants to do at the end may take this long.
_STOP_LIMIT_S = 1.5
_USAGE = "usage: python -m pyisolate.worker SOCKET [--pack FOLDER] [--shim MODULE]"


def main(arguments: list[str]) -> None:
    socket_path, pack_folder, shim = _read_arguments(arguments)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    sys.argv = [sys.argv[0]]
    tensors = WorkerTensors(_dial_descriptors(socket_path), os.environ.get("PYISOLATE_SEGMENTS"))
    serve_empty(tensors)
    methods = WorkerMethods(
        pack_folder=pack_folder,
        data_folder=os.environ.get("PYISOLATE_DATA"),
        shim=shim,
        tensors=tensors,
        run_awaitable=lambda awaitable: peer.loop.run(awaitable),
    )
    peer = Peer(
        SocketTransport.dial(socket_path),
        {"load": methods.load, "execute": methods.execute},
        extension=tensors,
        features=tensors.features,
        makes_coroutine=methods.makes_coroutine,
        is_stoppable=True,
        on_end=lambda reason: _exit(methods, reason),
    )
    tensors.bind(peer)
    peer.serve()  # the main thread is the first to read: it runs `load`, and signal handlers of packs can be set
    threading.Event().wait()  # until the thread that saw the end has ended the process


def _dial_descriptors(socket_path: str) -> DescriptorReceiver | None:
    """The descriptor socket, if there is one beside the control socket. Comes first: hello says that all is there."""
    path = os.path.join(os.path.dirname(socket_path), "segments.sock")
    if not os.path.exists(path):
        return None
    from ..tensor.descriptors import DescriptorReceiver

    return DescriptorReceiver.dial(path)


def _read_arguments(arguments: list[str]) -> tuple[str, str, str]:
    options = {"--pack": "/pack", "--shim": "pyisolate.comfy.shim"}
    paths = []
    rest = iter(arguments)
    for argument in rest:
        if argument in options:
            options[argument] = next(rest, "")
        else:
            paths.append(argument)
    if len(paths) != 1 or "" in options.values():
        sys.exit(_USAGE)
    return paths[0], options["--pack"], options["--shim"]


def _exit(methods: WorkerMethods, reason: PyisolateError) -> NoReturn:
    """Ends the process, whatever its threads are doing: nobody is left to take results."""
    import atexit

    status = 1 if reason.code.startswith("PROTOCOL_") else 0
    limit = threading.Timer(_STOP_LIMIT_S, os._exit, [status])
    limit.daemon = True
    try:
        limit.start()
        if status:
            print(f"pyisolate: {reason}", file=sys.stderr)
        methods.stop()
        atexit._run_exitfuncs()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(status)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PyisolateError as error:
        sys.exit(f"pyisolate: {error}")
