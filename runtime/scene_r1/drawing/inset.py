"""A small thing shown large in a corner of its picture, as a map shows a city."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1.drawing import lines
from scene_r1.drawing.palette import INK

SMALL = 0.2
"""A thing is small when it is less than this share of the picture's width across."""
SHARE = 0.42
"""Side of the inset as a share of the picture's shorter side."""
AROUND = 1.5
"""How much is shown of the thing's surroundings: the side of what is enlarged, over the thing's own."""
MOST_TIMES = 8.0
EDGE_PX = 6


def enlarged_part(thing: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The square around a small thing to be enlarged: x0, y0, x1, y1 whole pixels of a frame of `size` (width, height).

    thing: its extent in continuous pixel coordinates. None for a thing that is large enough as it is.
    """
    across = max(thing[2] - thing[0], thing[3] - thing[1])
    if across >= SMALL * size[0]:
        return None
    side = min(max(round(across * AROUND), round(SHARE * min(size) / MOST_TIMES), 2), *size)
    x0, y0 = (
        int(np.clip(round((low + high - side) / 2.0), 0, whole - side))
        for low, high, whole in ((thing[0], thing[2], size[0]), (thing[1], thing[3], size[1]))
    )
    return x0, y0, x0 + side, y0 + side


def side_px(height: int, width: int) -> int:
    """Side of the inset of a picture, pixels."""
    return round(SHARE * min(height, width))


def paste(image: NDArray[np.uint8], inset: NDArray[np.uint8], shown: NDArray[np.float64]) -> None:
    """Put the inset into the corner farthest from what it shows, and mark that with a frame.

    shown: (2, 2) upper left and lower right corner in pixels of `image`.
    """
    (h, w), side = image.shape[:2], len(inset)
    (x0, y0), (x1, y1) = shown
    x = EDGE_PX if x0 + x1 > w else w - EDGE_PX - side
    y = EDGE_PX if y0 + y1 > h else h - EDGE_PX - side
    lines.solid(image, [_square(x0, y0, x1, y1)], INK, 1, closed=True)
    image[y : y + side, x : x + side] = inset
    lines.solid(image, [_square(x, y, x + side - 1.0, y + side - 1.0)], INK, 2, closed=True)


def _square(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float64]:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
