import asyncio
import os
import signal
import time

from pyisolate import cancelled


class Node:
    FUNCTION = "run"
    RETURN_TYPES = ("*",)
    CATEGORY = "tests"
    INPUTS = {}

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": cls.INPUTS}


class Raise(Node):
    INPUTS = {"text": ("STRING", {"default": "as asked"})}

    def run(self, text):
        raise ValueError(text)


class Exit(Node):
    def run(self):
        print("last words")
        os._exit(7)


class KillItself(Node):
    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


class EatMemory(Node):
    def run(self):
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1) * 2**20))


class Sleep(Node):
    INPUTS = {"seconds": ("FLOAT", {"default": 60.0, "min": 0.0})}

    def run(self, seconds):
        time.sleep(seconds)
        return (seconds,)


class SleepUntilCancelled(Node):
    def run(self):
        while not cancelled():
            time.sleep(0.01)
        return (None,)


class SleepAsync(Node):
    INPUTS = Sleep.INPUTS

    async def run(self, seconds):
        await asyncio.sleep(seconds)
        return (seconds,)


class Echo(Node):
    """Gives back what it was given, each by its declared type."""

    RETURN_TYPES = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")
    INPUTS = {
        "integer": ("INT", {"default": 0}),
        "number": ("FLOAT", {"default": 0.0, "min": -1e30, "max": 1e30}),
        "flag": ("BOOLEAN", {"default": False}),
        "text": ("STRING", {"default": ""}),
        "choice": (["first", "second"],),
    }

    def run(self, integer, number, flag, text, choice):
        assert type(integer) is int and type(number) is float and type(flag) is bool
        return (integer, number, flag, text, choice)


class Picture(Node):
    """Needs a picture and gives its shape."""

    RETURN_TYPES = ("STRING",)
    INPUTS = {"image": ("IMAGE",)}

    def run(self, image):
        return (str(tuple(image.shape)),)


NODE_CLASS_MAPPINGS = {
    node.__name__: node for node in (Raise, Exit, KillItself, EatMemory, Sleep, SleepUntilCancelled, SleepAsync, Echo, Picture)
}
