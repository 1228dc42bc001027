"""What an import pulls in: a worker's start and `import pyisolate` stay cheap."""

from __future__ import annotations

import os
import subprocess
import sys

from wire import ROOT

HEAVY = set(
    """asyncio ctypes dataclasses fcntl hashlib importlib.metadata inspect mmap numpy torch traceback typing""".split()
)


def modules_after(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has after `code`, beyond those that it starts with."""
    source = f"import sys; before = set(sys.modules)\n{code}\nprint('\\n'.join(set(sys.modules) - before))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime-python/src")}
    return set(
        subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                f"sys_path = {env['PYTHONPATH']!r}\nimport sys; sys.path.insert(0, sys_path)\n{source}",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    )


def test_importing_pyisolate_loads_nothing_but_itself():
    assert modules_after("import pyisolate") <= {"pyisolate", "__future__"}


def test_the_public_names_are_there_when_they_are_asked_for():
    modules = modules_after("from pyisolate import ExtensionBase, PyisolateError, Tensor, cancelled, empty, progress")
    assert {
        "pyisolate.worker.extension",
        "pyisolate.errors",
        "pyisolate.tensor.tensor",
        "pyisolate.rpc.calls",
    } <= modules
    assert not modules & {"asyncio", "numpy", "torch"}


def test_an_unknown_name_is_an_attribute_error():
    import pyisolate

    assert not hasattr(pyisolate, "Unknown")
    assert {"ExtensionBase", "progress"} <= set(dir(pyisolate))


def test_a_worker_starts_without_what_it_may_never_need():
    modules = modules_after("import pyisolate.worker.__main__")
    assert not modules & HEAVY
    assert not any(name.startswith("pyisolate.comfy") for name in modules)
