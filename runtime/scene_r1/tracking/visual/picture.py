"""What the tracker looks at of one frame: its grey picture, its pyramid, its depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.backproject.projector import RayTables
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.tracking.visual.surface import Surface, surface_of
from scene_r1_engines.intrinsics import Intrinsics

ICP_STEP: Final = 4
"""Every so-many-th cell of the surface, in rows and columns, is aligned to a keyframe's."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One frame, prepared once.

    grey: (H, W) uint8. half: (H / 2, W / 2) uint8, for optical flow. surface: its depth's points.
    """

    frame: RgbdFrame
    grey: NDArray[np.uint8]
    half: NDArray[np.uint8]
    surface: Surface

    @property
    def camera(self) -> Intrinsics:
        return self.frame.color_intrinsics

    def depth_points(self) -> NDArray[np.float64]:
        """(M, 3) float64 metres, colour camera: points spread over the depth image."""
        points = self.surface.points[ICP_STEP // 2 :: ICP_STEP, ICP_STEP // 2 :: ICP_STEP].reshape(-1, 3)
        return points[np.isfinite(points[:, 2])].astype(np.float64)

    def depth_at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """How deep the frame's surface is where points (N, 3) of its camera would be seen: (N,) metres, 0 = unknown.

        It is looked up in the depth image itself, wherever that camera is; a cell is a mean of STEP x STEP pixels.
        """
        p = pose.apply(self.surface.T_depth_color, points)
        fx, fy, cx, cy = self.surface.pinhole
        rows, columns = self.surface.points.shape[:2]
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = p[:, 0] / p[:, 2] * fx + cx, p[:, 1] / p[:, 2] * fy + cy
        inside = (p[:, 2] > 0.0) & (u > -0.5) & (v > -0.5) & (u < columns - 0.5) & (v < rows - 0.5)
        out = np.zeros(len(points))
        row, column = (v[inside] + 0.5).astype(np.int64), (u[inside] + 0.5).astype(np.int64)
        out[inside] = np.nan_to_num(self.surface.points[row, column, 2])
        return out

    def depth_along(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth of what rays (N, 2) at z = 1 meet: (N,) metres, 0 = unknown.

        With two cameras a ray crosses the depth image along a line; where it lies is found by stepping from a guess.
        """
        depth = np.full(len(rays), 1.5)
        ones = np.ones((len(rays), 1))
        for _ in range(1 if self.frame.one_camera else 4):
            found = self.depth_at(np.concatenate([rays, ones], axis=1) * np.where(depth > 0.0, depth, 1.5)[:, None])
            depth = found
        return depth


def picture_of(frame: RgbdFrame, depth_range: DepthRange, rays: RayTables) -> Picture:
    """Prepare a frame. rays: tables kept from frame to frame."""
    grey = np.asarray(cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY), np.uint8)
    half = np.asarray(cv2.pyrDown(grey), np.uint8)
    return Picture(frame, grey, half, surface_of(frame, depth_range, rays, normals=False))
