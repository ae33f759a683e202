"""Pictures as the model was trained to see them: stretched to whole patches, never letterboxed."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadFrame, MissingExtra

WIDEST = 200
"""The widest aspect ratio that Qwen's own preprocessing takes."""


def fit(height: int, width: int, multiple: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(height, width) that a picture is resized to: multiples of `multiple`, area within the limits, aspect kept as
    far as these allow. The rule of Qwen2-VL's `smart_resize`. Raises BadFrame for a picture that is too narrow."""
    if min(height, width) < 1 or max(height, width) > WIDEST * min(height, width):
        raise BadFrame(f"a picture of {width} x {height} pixels: its aspect ratio must be below {WIDEST}")
    new_height = max(multiple, round(height / multiple) * multiple)
    new_width = max(multiple, round(width / multiple) * multiple)
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = max(multiple, math.floor(height / shrink / multiple) * multiple)
        new_width = max(multiple, math.floor(width / shrink / multiple) * multiple)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / multiple) * multiple
        new_width = math.ceil(width * grow / multiple) * multiple
    return new_height, new_width


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB stretched to size (height, width), by Pillow's antialiased bicubic, as in training."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("vlm", "resizing pictures for a vision-language model", str(error)) from None
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.uint8)


def check_picture(image: object, keyframe_id: int) -> NDArray[np.uint8]:
    """The image itself. Raises BadFrame unless it is (H, W, 3) uint8."""
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return image
    got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
    raise BadFrame(f"keyframe {keyframe_id}: image must be (H, W, 3) uint8 RGB, got {got}")


def digest(image: NDArray[np.uint8]) -> str:
    """sha256 of a picture's shape and pixels, hex: equal pictures have equal embeddings."""
    whole = hashlib.sha256(repr(image.shape).encode())
    whole.update(np.ascontiguousarray(image).data)
    return whole.hexdigest()
