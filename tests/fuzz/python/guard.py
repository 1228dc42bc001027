"""Guard: what one input may do to this process. Whatever it is, it ends as the protocol says, and takes little memory.

Must not know targets. Mirrors typescript/guard.ts.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Callable

import atheris

KIB = 1024
MIB = 1024 * KIB

#: The longest body is 16 MiB; the rest is room for what the interpreter does meanwhile.
GROWTH_BYTES = 18 * MIB

_CLEAR_REFERENCES = os.open("/proc/self/clear_refs", os.O_WRONLY)


def fuzz(run: Callable[[bytes], object]) -> None:
    """Runs a target until the fuzzer says that it is enough, as the command line says; does not return."""
    atheris.Setup(sys.argv, _guarded(run))
    atheris.Fuzz()


def _guarded(run: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """A fuzz target from what is to be done with one input: its errors are findings, and growth beyond 18 MiB."""

    def target(data: bytes) -> None:
        if _growth_of(run, data) <= GROWTH_BYTES:
            return
        gc.collect()  # the garbage of others may have been the cause; this input's own growth comes back
        grown = _growth_of(run, data)
        if grown > GROWTH_BYTES:
            raise MemoryError(f"this input makes the process grow by {grown // MIB} MiB")

    return target


def _growth_of(run: Callable[[bytes], object], data: bytes) -> int:
    """By how many bytes the process is at most larger while `run` runs."""
    os.write(_CLEAR_REFERENCES, b"5")  # the peak is now what the process has
    before: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(data)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * KIB


def keeps_protocol(run: Callable[[], object]) -> bool:
    """Runs it; one of our errors that says that the other side broke the protocol is a good end. True: none came."""
    from pyisolate.errors import PyisolateError

    try:
        run()
    except PyisolateError as error:
        if error.code not in ("PROTOCOL_VIOLATION", "PROTOCOL_MISMATCH"):
            raise
        return False
    return True


def random_steps(seed: int) -> Callable[[int], int]:
    """The same small numbers for the same seed, in both languages: a step of the generator of Park and Miller."""
    state = seed + 1

    def step(below: int) -> int:
        nonlocal state
        state = state * 48_271 % 2_147_483_647
        return state % below

    return step
