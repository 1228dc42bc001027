# Limit of a call: a blocking Python that parses JSON, one message a line, and sends it back as JSON.
# Runs inside the same container as ours, by the same interpreter. {"cpu": n} moves it to that CPU.
import json
import os
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
encode = json.JSONEncoder(separators=(",", ":")).encode
decode = json.JSONDecoder().decode
buffer = ""
while True:
    received = connection.recv(65536)
    if not received:
        break
    buffer += received.decode()
    if not buffer.endswith("\n"):
        continue
    message = decode(buffer)
    buffer = ""
    if "cpu" in message:
        os.sched_setaffinity(0, [message["cpu"]])
    connection.sendall((encode(message) + "\n").encode())
