"""The worker's end of a descriptor socket: takes what comes, tries what it must not do, and prints what happened.

Usage: receiver.py SOCKET COUNT UID; lines on stdin are Python expressions, each answered by a line of JSON.
"""

import ctypes
import fcntl
import json
import mmap
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
records = []
fds = []
for _ in range(int(sys.argv[2])):
    data, received, _, _ = socket.recv_fds(connection, 16, 4)
    records.append(data.hex())
    fds += received
if int(sys.argv[3]):
    os.setuid(int(sys.argv[3]))


def shared(fd):
    return mmap.mmap(fd, 0)


def private(fd):
    return mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)


def punch(fd):
    if libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def seal(fd):
    fcntl.fcntl(fd, 1033, 8)


def reopen(fd):
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR))


def put(mapping, at, value):
    mapping[at] = value


kept = {}
for line in sys.stdin:
    try:
        answer = eval(line)
    except OSError as error:
        answer = type(error).__name__
    print(json.dumps(answer if isinstance(answer, (str, int, list, type(None))) else "done"), flush=True)
