"""Nodes that do nothing, for the bench. The rivals run this very file too, so no class of ours may appear here."""

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


class NoOpAsync(NoOp):
    async def run(self):
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


class Sleep(NoOp):
    """Holds its thread for two seconds."""

    def run(self):
        time.sleep(2)
        return (1,)


class Accept(NoOp):
    """Takes a tensor and looks at its shape only."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"tensor": ("TENSOR",)}}

    def run(self, tensor):
        return (tensor.shape[0],)


NODE_CLASS_MAPPINGS = {
    "NoOp": NoOp,
    "NoOpAsync": NoOpAsync,
    "Affinity": Affinity,
    "Sleep": Sleep,
    "Accept": Accept,
}
