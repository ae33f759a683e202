"""An object's 3D points put into another frame: is it in view, is it hidden, and where is it in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.depth_noise import SIGMA_PER_Z2
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.jit import JIT
from scene_r1.lift.grid import kernel_camera
from scene_r1.lift.kernels import pixel_of
from scene_r1_engines.errors import BadInput
from scene_r1_engines.view import Prompt


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """An object as it should appear in one frame.

    mask: (H, W) bool, pixels of the colour image where its visible points fall, gaps between them closed. xyxy: their
    extent. in_view, visible, hidden: shares of the object's points that fall into the picture; that lie on the
    surface measured there; that lie behind it. What is neither visible nor hidden should be seen and is not.
    """

    mask: NDArray[np.bool_]
    xyxy: tuple[float, float, float, float]
    in_view: float
    visible: float
    hidden: float

    def prompt(self) -> Prompt:
        """As any segmenter takes it: the coarse mask and its box."""
        return Prompt(xyxy=self.xyxy, mask=self.mask)


def reproject(
    xyz: NDArray[np.float32],
    frame: RgbdFrame,
    tolerance_m: float = 0.03,
    depth_range: DepthRange | None = None,
    fewest: int = 30,
) -> Sighting | None:
    """Where the points (N, 3) float32, world, are in a frame, or None when fewer than `fewest` of them are visible.

    A point is visible when the depth measured at its pixel agrees within tolerance_m and twice the depth noise.
    Raises BadFrame for a frame without a pose, BadInput for points of another shape.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise BadInput(f"points must be (N, 3) metres in the world, got {xyz.shape}")
    if len(xyz) == 0:
        return None
    color, depth = frame.color_intrinsics, frame.depth_intrinsics
    T_depth_world = pose.inverse(frame.T_world_depth)
    T_color_world = frame.T_color_depth @ T_depth_world
    lowest, highest = (depth_range or DepthRange()).counts(frame.depth_scale)
    mask = np.zeros((color.height, color.width), np.uint8)
    seen, visible, hidden = sight(
        np.ascontiguousarray(xyz, np.float32), np.ascontiguousarray(T_depth_world[:3]), frame.depth_raw,
        frame.depth_scale, lowest, highest, *kernel_camera(depth), np.ascontiguousarray(T_color_world[:3]),
        *kernel_camera(color), tolerance_m, 2.0 * SIGMA_PER_Z2, mask,
    )  # fmt: skip
    if visible < fewest:
        return None
    closed = _close(mask, _gap_px(mask))
    rows, columns = np.flatnonzero(closed.any(axis=1)), np.flatnonzero(closed.any(axis=0))
    xyxy = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Sighting(closed, xyxy, seen / len(xyz), visible / len(xyz), hidden / len(xyz))


def _gap_px(mask: NDArray[np.uint8]) -> int:
    """Odd side of the closing that joins neighbouring points: from how thinly they fill their own extent."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    area = float(rows[-1] - rows[0] + 1) * float(columns[-1] - columns[0] + 1)
    spacing = (area / np.count_nonzero(mask)) ** 0.5
    return int(np.clip(2 * round(spacing) + 3, 5, 15))


def _close(mask: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel).astype(np.bool_)


@njit(**JIT)
def sight(  # type: ignore[no-untyped-def]
    xyz, T, depth, scale, lowest, highest, camera, model, T_color, color_camera, color_model, tolerance, noise, mask
):
    """Set the mask at the visible points. Returns how many are in the picture, visible, hidden."""
    h, w = depth.shape
    H, W = mask.shape
    in_view, visible, hidden = 0, 0, 0
    for n in range(len(xyz)):
        x, y, z = np.float64(xyz[n, 0]), np.float64(xyz[n, 1]), np.float64(xyz[n, 2])
        r, c, _ = pixel_of(T_color, x, y, z, color_camera, color_model, H, W)
        if r < 0:
            continue
        row, column, Z = pixel_of(T, x, y, z, camera, model, h, w)
        if row < 0:
            continue
        in_view += 1
        count = np.int64(depth[row, column])
        if count < lowest or count > highest:
            continue
        measured = count * scale
        reach = tolerance + noise * measured * measured
        if measured + reach < Z:
            hidden += 1
        elif measured - reach <= Z:
            visible += 1
            mask[r, c] = 1
    return in_view, visible, hidden
