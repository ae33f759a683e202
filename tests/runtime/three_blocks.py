"""A camera walks past three blocks on a table; where each of them is, in each frame and in the world, is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from tests.runtime.analytic_scene import CAMERA, NOISE, TABLE, Block, cast, seen
from tests.runtime.block_walk import BLOCK, FLOOR, PAINT, poses

from scene_r1.frame import RgbdFrame

BLOCKS = (BLOCK, Block((0.12, 0.40, 0.0), (0.28, 0.56, 0.14)), Block((0.12, -0.56, 0.0), (0.26, -0.40, 0.18)))
COUNT, PERIOD_NS = 8, 1_000_000_000
TOWARDS = slice(3, 3 + COUNT)
"""The part of the walk in which no block hides another."""


@dataclass(frozen=True)
class Walk:
    """frames: one a second from the clock's 50 s on. boxes[frame][block]: xyxy, pixels."""

    frames: tuple[RgbdFrame, ...]
    boxes: tuple[tuple[tuple[float, float, float, float], ...], ...]


@cache
def walk() -> Walk:
    solids = (*BLOCKS, TABLE, FLOOR)
    paint = np.concatenate([PAINT[:1], [(40, 90, 190), (60, 150, 60)], PAINT[1:]])
    frames, boxes = [], []
    for index, T_world_camera in enumerate(poses(COUNT + 6)[TOWARDS]):
        back = T_world_camera.copy()
        back[:3, 3] -= 0.35 * back[:3, 2]  # further away, so that all three are in the picture
        _, which = cast(solids, CAMERA, back)
        color = np.clip(paint[which] + np.random.default_rng(index).normal(0.0, 4.0, (*which.shape, 1)), 0, 255)
        frame = seen(solids, back, index, NOISE).frame
        frames.append(replace(frame, color=color.astype(np.uint8), timestamp_ns=50_000_000_000 + index * PERIOD_NS))
        boxes.append(tuple(_extent(which == block) for block in range(len(BLOCKS))))
    return Walk(tuple(frames), tuple(boxes))


def _extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
