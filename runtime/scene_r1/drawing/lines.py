"""Anti-aliased lines at fractions of a pixel: solid with a dark halo, or thin and dashed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.drawing.palette import HALO, Color

SHIFT = 4
"""OpenCV takes whole numbers of 1/16 pixel."""
HALO_OPACITY = 0.5
DASHED_OPACITY = 0.75
DASH_PX, GAP_PX = 5.0, 4.0


def solid(
    image: NDArray[np.uint8],
    lines: Sequence[NDArray[np.float64]],
    color: Color,
    thickness: int = 2,
    closed: bool = False,
) -> None:
    """Draw lines, each (N, 2) pixels with pixel centres at whole numbers, set off by a halo."""
    if lines:
        dark = image.copy()
        _draw(dark, lines, HALO, thickness + 2, closed)
        _blend(image, dark, HALO_OPACITY)
        _draw(image, lines, color, thickness, closed)


def dashed(image: NDArray[np.uint8], lines: Sequence[NDArray[np.float64]], color: Color) -> None:
    """Draw lines, each (N, 2) pixels, thin, dashed and a little transparent."""
    if lines:
        light = image.copy()
        _draw(light, [dash for line in lines for dash in dashes(line)], color, 1, False)
        _blend(image, light, DASHED_OPACITY)


def dashes(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The dashes of one line, each (M, 2) pixels: DASH_PX of every DASH_PX + GAP_PX along it, from its start."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    out = []
    for start in np.arange(0.0, along[-1], DASH_PX + GAP_PX):
        end = min(start + DASH_PX, along[-1])
        at = np.concatenate([[start], along[(along > start) & (along < end)], [end]])
        out.append(np.column_stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])]))
    return out


def _blend(image: NDArray[np.uint8], over: NDArray[np.uint8], opacity: float) -> None:
    cv2.addWeighted(over, opacity, image, 1.0 - opacity, 0.0, dst=image)


def _draw(
    image: NDArray[np.uint8], lines: Sequence[NDArray[np.float64]], color: Color, thickness: int, closed: bool
) -> None:
    parts = [np.rint(line * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2) for line in lines]
    cv2.polylines(image, parts, closed, color, thickness, cv2.LINE_AA, SHIFT)
