"""Nodes that do nothing, for the bench. The rival runs this very file too, so no class of ours may appear here."""

import os


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


NODE_CLASS_MAPPINGS = {"NoOp": NoOp, "NoOpAsync": NoOpAsync, "Affinity": Affinity}
