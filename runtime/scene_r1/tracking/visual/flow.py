"""Optical flow from one picture to the next, there and back."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.tracking.visual.picture import Picture

BACK_PX: Final = 1.0
"""Pixels of the half-size picture that a point may miss its beginning by on the way back."""
WINDOW: Final = (15, 15)
LEVELS: Final = 3
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03)


def flow(
    before: Picture, now: Picture, pixels: NDArray[np.float64], expected: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Follow points with the pyramidal Lucas-Kanade method (Bouguet 2000), forwards and backwards.

    pixels: (N, 2) in `before`. expected: (N, 2) in `now`, where to begin. Both pictures are followed at half size:
    places are good to about a quarter of a pixel, for a first pose. Returns ((N, 2) pixels in `now`, (N,) bool found).
    """
    if not len(pixels):
        return np.empty((0, 2)), np.zeros(0, np.bool_)
    # Pixel centres are whole numbers; pyrDown puts pixel 2 u of the whole picture at u of the half.
    start = (0.5 * pixels).astype(np.float32).reshape(-1, 1, 2)
    guess = (0.5 * expected).astype(np.float32).reshape(-1, 1, 2)
    options: dict[str, Any] = {"winSize": WINDOW, "maxLevel": LEVELS, "criteria": _CRITERIA}
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        before.half, now.half, start, guess.copy(), flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **options
    )
    back, returned, _ = cv2.calcOpticalFlowPyrLK(
        now.half, before.half, there, start.copy(), flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **options
    )
    missed = np.abs(back - start).reshape(-1, 2).max(axis=1)
    found = (status.reshape(-1) == 1) & (returned.reshape(-1) == 1) & (missed < BACK_PX)
    h, w = now.half.shape
    out = there.reshape(-1, 2).astype(np.float64)
    found &= (out > 3.0).all(axis=1) & (out[:, 0] < w - 4) & (out[:, 1] < h - 4)
    return 2.0 * out, found
