"""Nodes that take pictures and arrays, for the bench: numpy arrays, or torch tensors where those arrive.

The rivals run this very file too: what is ours is imported by the nodes that only ours runs.
"""

import os
import time


class NoOp:
    CATEGORY = "bench"
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return (1,)


class Affinity(NoOp):
    """Moves every thread of this process to one CPU."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"cpu": ("INT", {"min": 0})}}

    def run(self, cpu):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), [cpu])
        return (cpu,)


class Half(NoOp):
    """Gives a new array."""

    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        return (image * 0.5,)


class HalfInPlace(Half):
    """Writes the result where the next reader reads it."""

    def run(self, image):
        import pyisolate

        return (_halve(image, pyisolate.empty(tuple(image.shape), "float32")),)


class Step(HalfInPlace):
    """As HalfInPlace, with the milliseconds that the arithmetic took."""

    RETURN_TYPES = ("IMAGE", "FLOAT")

    def run(self, image):
        import pyisolate

        target = pyisolate.empty(tuple(image.shape), "float32")
        started = time.perf_counter()
        _halve(image, target)
        return (target, (time.perf_counter() - started) * 1000)


class Work(NoOp):
    """Milliseconds of halving a picture of this shape from warm memory into warm memory."""

    RETURN_TYPES = ("FLOAT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"shape": ("SHAPE",)}}

    def __init__(self):
        self.arrays = {}

    def run(self, shape):
        import numpy

        key = tuple(shape)
        if key not in self.arrays:
            self.arrays[key] = numpy.ones(key, numpy.float32), numpy.ones(key, numpy.float32)
        source, target = self.arrays[key]
        started = time.perf_counter()
        _halve(source, target)
        return ((time.perf_counter() - started) * 1000,)


class Echo(NoOp):
    """Gives back what it was given."""

    RETURN_TYPES = ("ARRAY",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("ARRAY",)}}

    def run(self, value):
        return (value,)


class Length(NoOp):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("BYTES",)}}

    def run(self, value):
        return (len(value),)


class Die(NoOp):
    """Kills its process."""

    def run(self):
        os.kill(os.getpid(), 9)


def _halve(image, target):
    if hasattr(image, "data_ptr"):
        import torch

        return torch.mul(image, 0.5, out=target)
    import numpy

    return numpy.multiply(image, 0.5, out=target)


NODE_CLASS_MAPPINGS = {
    "NoOp": NoOp,
    "Affinity": Affinity,
    "Half": Half,
    "HalfInPlace": HalfInPlace,
    "Step": Step,
    "Work": Work,
    "Echo": Echo,
    "Length": Length,
    "Die": Die,
}
