"""The process in a container that runs one pack.

Must not know the ComfyUI shim, which is reached by a module name given at start.
"""
