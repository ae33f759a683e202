"""Pictures as SAM2's video predictor sees them: squeezed into a square, never letterboxed."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import MissingExtra

LEVELS = 256


def to_square(
    image: NDArray[np.uint8], side: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB as the image encoder takes it: (1, 3, side, side) float32, mean and std taken off.

    Resized by Pillow's bicubic, to the bit what the official predictor feeds. Raises MissingExtra without Pillow.
    """
    picture = _pillow().fromarray(np.ascontiguousarray(image))
    if picture.size != (side, side):
        picture = picture.resize((side, side))
    # 256 values can occur, so that each is worked out once: dividing in double and subtracting in single is theirs.
    tone = (np.arange(LEVELS) / 255.0).astype(np.float32)
    pixels = np.asarray(picture)
    square = np.empty((1, 3, side, side), np.float32)
    for c in range(3):
        np.take((tone - np.float32(mean[c])) / np.float32(std[c]), pixels[:, :, c], out=square[0, c])
    return square


def smoothed(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A plane (h, w) float32 resized bilinearly; where it shrinks, each pixel is the mean of what it covers (a tent).

    What torch calls antialiased interpolation. Raises MissingExtra without Pillow.
    """
    pillow = _pillow()
    picture = pillow.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.array(picture.resize((width, height), pillow.Resampling.BILINEAR), np.float32)


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("cpu", "resizing pictures for SAM2", str(error)) from None
    return Image
