# Limit of calls of coroutines, and of many calls at once: an asyncio server that parses JSON, one message a line, and
# starts a task for each, which sends it back as JSON. Runs inside the same container as ours, by the same interpreter.
# {"cpu": n} moves it to that CPU.
import asyncio
import json
import os
import sys

encode = json.JSONEncoder(separators=(",", ":")).encode
decode = json.JSONDecoder().decode


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        self.buffer = b""
        self.tasks = set()

    def data_received(self, data):
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            task = self.loop.create_task(self.answer(decode(line.decode())))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def answer(self, message):
        if "cpu" in message:
            os.sched_setaffinity(0, [message["cpu"]])
        self.transport.write((encode(message) + "\n").encode())

    def connection_lost(self, error):
        self.loop.stop()


loop = asyncio.new_event_loop()
loop.run_until_complete(loop.create_unix_connection(Echo, sys.argv[1]))
loop.run_forever()
