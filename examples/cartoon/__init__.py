"""Cartoon: flat colours and dark outlines, by OpenCV 4 on numpy 1.26. A ComfyUI V1 pack."""

import cv2
import numpy as np

import pyisolate


class Cartoon:
    CATEGORY = "image/effects"
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"image": ("IMAGE",)},
            "optional": {
                "smoothing": ("INT", {"default": 3, "min": 0, "max": 20, "tooltip": "passes of the colour filter"}),
                "outline": ("FLOAT", {"default": 0.8, "min": 0.0, "max": 1.0, "tooltip": "darkness of the lines"}),
            },
        }

    def draw(self, image, smoothing=3, outline=0.8):
        """image: float32 [N, H, W, 3], 0..1, RGB. Gives the same shape."""
        drawn = pyisolate.empty(image.shape, "float32")  # where the next pack reads it
        for picture, result in zip(image, drawn):
            result[:] = draw_one(picture, smoothing, outline)
        return (drawn,)


def draw_one(picture, smoothing, outline):
    colours = np.ascontiguousarray(picture)
    for _ in range(smoothing):
        colours = cv2.bilateralFilter(colours, d=9, sigmaColor=0.1, sigmaSpace=7)
    grey = cv2.medianBlur((cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8), 5)
    paper = cv2.adaptiveThreshold(grey, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, blockSize=9, C=4)
    shade = 1 - outline * (1 - paper.astype(np.float32))
    return colours * shade[..., np.newaxis]


NODE_CLASS_MAPPINGS = {"Cartoon": Cartoon}
NODE_DISPLAY_NAME_MAPPINGS = {"Cartoon": "Cartoon (OpenCV 4)"}
