"""How good a frame is as a picture: sharpness against its recent neighbours, valid depth, exposure."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.jit import JIT
from scene_r1_engines.errors import BadConfig

FLOOR = 0.1
"""Least value of each term: a bad frame of an unseen place is still worth keeping."""

SIDE_PX = 320
BRIGHT, DARK = 250, 5


@dataclass(frozen=True, slots=True)
class Quality:
    """score: product of the three terms, each in [FLOOR, 1]. sharpness: variance of the Laplacian, grey levels squared.

    relative_sharpness: sharpness over the running median. depth_share: valid depth pixels, a grid of samples.
    exposure: share of pixels neither blown out nor crushed.
    """

    score: float
    sharpness: float
    relative_sharpness: float
    depth_share: float
    exposure: float


class QualityMeter:
    """Judges frames in the order in which they come; scenes differ, so sharpness is judged against a running median.

    window: frames in the running median. The terms are multiplied: an additive bonus rewards a sharp frame that
    shows nothing new. Raises BadConfig for a window without a frame.
    """

    def __init__(self, window: int = 61, depth_range: DepthRange | None = None) -> None:
        if window < 1:
            raise BadConfig(f"window must be 1 frame or more, got {window}")
        self._recent: deque[float] = deque(maxlen=window)
        self._range = depth_range or DepthRange()
        self._grey = np.empty((0, 0), np.float32)

    def __call__(self, frame: RgbdFrame) -> Quality:
        h, w = frame.color.shape[:2]
        step = max(1, -(-w // SIDE_PX))
        if self._grey.shape != (h // step, w // step):
            self._grey = np.empty((h // step, w // step), np.float32)
        sharpness, exposure = picture_quality(frame.color.reshape(h, 3 * w), step, self._grey)
        self._recent.append(sharpness)
        median = statistics.median(self._recent)
        relative = sharpness / median if median > 0.0 else 1.0
        depth_share = self._depth_share(frame.depth_raw, frame.depth_scale)
        # Half of the pixels without depth is usual indoors (glass, black, far): only below that it costs.
        score = _clip(relative) * _clip(2.0 * depth_share) * _clip(exposure)
        return Quality(score, sharpness, relative, depth_share, exposure)

    def _depth_share(self, depth_raw: NDArray[np.uint16], depth_scale: float) -> float:
        lowest, highest = self._range.counts(depth_scale)
        sample = depth_raw[4::8, 4::8] if min(depth_raw.shape) > 8 else depth_raw
        return np.count_nonzero((sample >= lowest) & (sample <= highest)) / sample.size


def _clip(value: float) -> float:
    return min(1.0, max(FLOOR, value))


@njit(**JIT)
def picture_quality(color, step, grey):  # type: ignore[no-untyped-def]
    """(variance of the Laplacian, share of well-exposed pixels) of an image (H, 3 W) uint8.

    Judged on the green channel (most of the luminance), averaged in step x step blocks.
    grey: (H // step, W // step) float32 scratch.
    """
    rows, columns = grey.shape
    width = 3 * columns * step
    sums = np.empty(width, np.uint16)
    per_block = np.float32(1.0 / (step * step))
    extreme = 0
    for v in range(rows):
        out = grey[v]
        sums[:] = np.uint16(0)
        for dv in range(step):  # down the rows first, all three channels: that is vector code
            row = color[v * step + dv, :width]
            for i in range(width):
                sums[i] += np.uint16(row[i])
        for u in range(columns):
            total = np.int32(0)
            for du in range(step):
                total += np.int32(sums[3 * (u * step + du) + 1])
            out[u] = np.float32(total) * per_block
        for u in range(columns):
            extreme += np.int32((out[u] >= np.float32(BRIGHT)) | (out[u] <= np.float32(DARK)))
    total = 0.0
    squares = 0.0
    for v in range(1, rows - 1):
        above, here, below = grey[v - 1], grey[v], grey[v + 1]
        row_total = np.float32(0.0)
        row_squares = np.float32(0.0)
        for u in range(1, columns - 1):
            laplacian = above[u] + below[u] + here[u - 1] + here[u + 1] - np.float32(4.0) * here[u]
            row_total += laplacian
            row_squares += laplacian * laplacian
        total += row_total
        squares += row_squares
    n = max(1, (rows - 2) * (columns - 2))
    return squares / n - (total / n) ** 2, 1.0 - extreme / max(1, rows * columns)
