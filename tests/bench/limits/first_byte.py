# Limit of a start: the least a Python in a container can do to be heard, which is to dial and send one byte.
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b"!")
connection.recv(1)
