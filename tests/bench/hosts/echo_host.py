"""Limit of a call from Python: a blocking client of limits/echo.py, and of limits/echo_asyncio.py."""

import json
import os

from listener import accept, listen
from serve import Host, serve

#: About as long as a small call and its result.
_MESSAGE = {"method": "execute", "args": ["NoOp", {}], "timeoutMs": 300_000, "padding": "x" * 100}
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class EchoHost(Host):
    async def listen(self, directory):
        self.listener = listen(os.path.join(directory, "control.sock"))

    async def accept(self):
        self.connection = accept(self.listener)

    async def call(self, node, **inputs):
        return self._send({**_MESSAGE, **inputs})

    def _send(self, message):
        self.connection.sendall((_encode(message) + "\n").encode())
        received = ""
        while not received.endswith("\n"):
            received += self.connection.recv(65536).decode()
        return _decode(received)


if __name__ == "__main__":
    serve(EchoHost())
