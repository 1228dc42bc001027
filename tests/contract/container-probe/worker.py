"""A worker for tests of the container layer: runs the Python code its tests send, one JSON line a request.

Stands where the real worker stands (`python -m pyisolate.worker SOCKET`). PROBE in the environment says what it does
instead of dialling in: "exit", "sleep" or "memory".
"""

import json
import os
import socket
import sys
import time
import traceback


def main(socket_path: str) -> None:
    mode = os.environ.get("PROBE")
    print("probe starts", flush=True)
    if mode == "exit":
        print("probe gives up", file=sys.stderr)
        sys.exit(3)
    if mode == "memory":
        hoard = [bytearray(1 << 20) for _ in range(10_000)]
        print(len(hoard))
    if mode == "sleep":
        time.sleep(600)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(socket_path)
    for line in connection.makefile("r"):
        connection.sendall(json.dumps(run(json.loads(line))).encode() + b"\n")


def run(code: str) -> dict:
    scope = {"__name__": "probe"}
    try:
        exec(code, scope)
    except BaseException as error:
        return {"error": "".join(traceback.format_exception_only(type(error), error)).strip()}
    return {"result": scope.get("result")}


main(sys.argv[1])
