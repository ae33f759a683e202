"""A tracker's first steps before a painted wall, so that its kernels are compiled and in numba's cache."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from scene_r1.frame import RgbdFrame
from scene_r1.tracking.visual.tracker import VisualTracker
from scene_r1_engines.intrinsics import Intrinsics

FRAMES: Final = 16
STEP_PX: Final = 3
CAMERA: Final = Intrinsics(120.0, 120.0, 79.5, 59.5, 160, 120)


def rehearse() -> VisualTracker:
    """A tracker that has walked along a wall a metre away and taken a few keyframes, which runs every kernel."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.uniform(0.0, 255.0, (120, 160 + FRAMES * STEP_PX)), (0, 0), 1.2)
    wall = np.asarray(np.clip(128.0 + 3.0 * (wall - wall.mean()), 0, 255), np.uint8)
    tracker = VisualTracker()
    for index in range(FRAMES):
        part = wall[:, index * STEP_PX : index * STEP_PX + 160]
        frame = RgbdFrame(
            index=index,
            timestamp_ns=index * 33_333_333,
            color=np.repeat(part[..., None], 3, axis=2),
            color_intrinsics=CAMERA,
            depth_raw=np.full((120, 160), 1000, np.uint16),
            depth_scale=0.001,
            depth_intrinsics=CAMERA,
        )
        tracker.track(frame)
    return tracker
