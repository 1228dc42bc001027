"""What is measured, in Python hosts: the same for all of them. Milliseconds, unless it says otherwise.

A call is a coroutine because one rival's is; where the host's own call blocks, awaiting it costs nothing.
"""

import asyncio
import ctypes
import gc
import os
from time import perf_counter

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


async def calls(host, node, count):
    """One after the other."""
    call = host.call
    milliseconds = []
    for _ in range(count):
        started = perf_counter()
        await call(node)
        milliseconds.append((perf_counter() - started) * 1000)
    return milliseconds


async def rate(host, node, in_flight, count, beside=None):
    """Calls per second with so many in flight; `beside`: a node that runs meanwhile and is waited for afterwards."""
    slow = asyncio.ensure_future(host.call_beside(beside)) if beside else None
    await asyncio.sleep(0.05 if beside else 0)
    call = host.call

    async def caller():
        for _ in range(count // in_flight):
            await call(node)

    started = perf_counter()
    await asyncio.gather(*[caller() for _ in range(in_flight)])
    seconds = perf_counter() - started
    if slow:
        await slow
    return count // in_flight * in_flight / seconds


async def hand_over(host, nbytes, count):
    """Gives a node that looks at nothing but the shape a tensor that already lies in shared memory."""
    if host.handed is None or host.handed.shape[0] != nbytes:
        host.handed = None  # first: there may be no room for both
        host.handed = await host.shared(nbytes)
    call, tensor = host.call, host.handed
    milliseconds = []
    for _ in range(count):
        started = perf_counter()
        await call("Accept", tensor=tensor)
        milliseconds.append((perf_counter() - started) * 1000)
    return milliseconds


async def picture(host, node, shape, count):
    """A fresh picture there, halved, and back, until every byte of the result was compared."""
    import numpy

    values = numpy.random.default_rng(4).random(shape, dtype=numpy.float32)
    expected = values * numpy.float32(0.5)
    milliseconds = []
    for _ in range(count):
        fresh = host.fresh(values)
        started = perf_counter()
        result = await host.call(node, image=fresh)
        is_equal = _is_equal(result, expected)
        milliseconds.append((perf_counter() - started) * 1000)
        del result, fresh
        if not is_equal:
            raise ValueError("the picture that came back is another one")
    return milliseconds


async def array(host, count):
    """8 MB of float64 in a numpy array there and back, until every byte of the result was compared."""
    import numpy

    values = numpy.random.default_rng(4).random(1 << 20)
    milliseconds = []
    for _ in range(count):
        fresh = values.copy()
        started = perf_counter()
        result = await host.call("Echo", value=fresh)
        is_equal = _is_equal(result, values)
        milliseconds.append((perf_counter() - started) * 1000)
        host.arrived = type(result).__name__
        del result, fresh
        if not is_equal:
            raise ValueError("the array that came back is another one")
    return milliseconds


async def arrived(host):
    """As what the last array came back."""
    return host.arrived


async def blob(host, nbytes, count):
    """Bytes one way."""
    value = os.urandom(nbytes)
    milliseconds = []
    for _ in range(count):
        started = perf_counter()
        length = await host.call("Length", value=value)
        milliseconds.append((perf_counter() - started) * 1000)
        if length != nbytes:
            raise ValueError(f"{length} bytes came, expected {nbytes}")
    return milliseconds


async def copy(host, nbytes, count):
    """`bytes()` of so many bytes: what one copy into new memory costs here."""
    value = bytearray(os.urandom(nbytes))
    milliseconds = []
    for _ in range(count):
        started = perf_counter()
        copied = bytes(value)
        milliseconds.append((perf_counter() - started) * 1000)
        del copied
    return milliseconds


async def memory(host, nbytes, count):
    """[copy, comparison] of so many bytes in warm memory."""
    import numpy

    values = numpy.random.default_rng(4).integers(0, 256, nbytes, dtype=numpy.uint8)
    target = values.copy()
    milliseconds = []
    for _ in range(count):
        started = perf_counter()
        numpy.copyto(target, values)
        copied = perf_counter()
        _is_equal(target, values)
        milliseconds.append([(copied - started) * 1000, (perf_counter() - copied) * 1000])
    return milliseconds


async def outputs(host, node, inputs, count):
    """What the node gives, each time."""
    return [await host.call(node, **inputs) for _ in range(count)]


async def left_after(host, node, shape, kills):
    """Bytes of shared memory that is new, one second after twenty pictures there and back were dropped.

    `kills`: the worker is killed after them.
    """
    before = _shared_files()
    await picture(host, node, shape, 20)
    if kills:
        await host.kill()
    gc.collect()
    await asyncio.sleep(1)
    return sum(nbytes for file, nbytes in _shared_files().items() if file not in before)


def _shared_files():
    """Bytes of each file in shared memory that this process, its descendants and /dev/shm hold."""
    files = {}
    shm = "/dev/shm"
    for directory, _, names in os.walk(shm):
        for name in names:
            _note(files, os.path.join(directory, name))
    for pid in _family(os.getpid()):
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            path = f"/proc/{pid}/fd/{descriptor}"
            try:
                target = os.readlink(path)
            except OSError:
                continue
            if target.startswith(("/memfd:", shm)):
                _note(files, path)
    return files


def _note(files, path):
    try:
        found = os.stat(path)
    except OSError:
        return
    files[found.st_dev, found.st_ino] = found.st_blocks * 512


def _family(pid):
    """A process and all that descend from it."""
    yield pid
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as children:
                found = children.read().split()
        except OSError:
            continue
        for child in found:
            yield from _family(int(child))


def _is_equal(result, expected):
    """Whether both hold the same bytes; reads all of them. `result`: a torch tensor or what numpy takes."""
    if hasattr(result, "data_ptr"):
        address = result.data_ptr()
        nbytes = result.numel() * result.element_size() if result.is_contiguous() else -1
    else:
        import numpy

        result = numpy.ascontiguousarray(result)
        address, nbytes = result.ctypes.data, result.nbytes
    return nbytes == expected.nbytes and _memcmp(address, expected.ctypes.data, nbytes) == 0
