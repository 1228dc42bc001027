"""Packs in temporary folders, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import textwrap

from pyisolate.comfy.shim import install
from pyisolate.tensor.inline import InlineTensors
from pyisolate.worker.loader import PACK_MODULE, load_extension
from pyisolate.worker.methods import WorkerMethods


def write_pack(folder, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(folder)


@contextlib.contextmanager
def clean_imports():
    """Forgets the pack that was imported, the finders that found it, and its working directory."""
    finders, modules, bytecode = list(sys.meta_path), set(sys.modules), sys.dont_write_bytecode
    folder = os.getcwd()
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        os.chdir(folder)
        sys.meta_path[:] = finders
        sys.dont_write_bytecode = bytecode
        for name in set(sys.modules) - modules:
            if name.split(".")[0] in (PACK_MODULE, "comfy_api"):
                del sys.modules[name]


def run_awaitable(awaitable):
    async def wait():
        return await awaitable

    return asyncio.run(wait())


def load(folder: str):
    install()
    return load_extension(folder, lambda value: run_awaitable(value) if hasattr(type(value), "__await__") else value)


def methods(folder, data_folder=None) -> WorkerMethods:
    return WorkerMethods(
        pack_folder=os.fspath(folder),
        data_folder=data_folder,
        shim="pyisolate.comfy.shim",
        tensors=InlineTensors(),
        run_awaitable=run_awaitable,
    )


def execute(worker: WorkerMethods, node_id: str, inputs: dict):
    result = worker.execute(node_id, inputs)
    return run_awaitable(result) if hasattr(type(result), "__await__") else result
