import os

print("farewell from the pack")
os._exit(42)
