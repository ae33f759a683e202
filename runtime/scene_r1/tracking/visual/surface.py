"""What a keyframe's depth says of the surfaces before it: points and normals on a coarse grid, made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.backproject.projector import RayTables
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.jit import JIT

STEP: Final = 4
"""Depth pixels on a side that make one cell of the grid: a mean of 16 has a quarter of their noise."""
SPREAD: Final = 0.03
"""Depths of a cell, and neighbouring cells, that differ by more than this share lie on two surfaces."""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Points and normals of one depth image.

    points: (h, w, 3) float32 metres, colour camera, NaN where there is none. normals: (h, w, 3) float32 unit vectors
    of the same frame, NaN where unknown. sigma: (h, w) float32 metres, of a point along its ray.
    pinhole: (4,) float64 fx, fy, cx, cy of the grid as a picture of the depth camera. T_depth_color: (4, 4).
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    pinhole: NDArray[np.float64]
    T_depth_color: NDArray[np.float64]


@njit(**JIT)
def _cells(depth, rays_x, rays_y, T, scale, lowest, highest, spread, points):  # type: ignore[no-untyped-def]
    """points[i, j] = mean of the valid pixels of cell (i, j), in the frame T leads to; NaN for less than half of them
    or for two surfaces in one cell."""
    rows, columns = points.shape[:2]
    row_y = rays_y.shape[1] == 1
    row_x = rays_x.shape[0] == 1
    for i in range(rows):
        for j in range(columns):
            n = 0
            low, high, total = 1 << 20, 0, 0.0
            for v in range(i * STEP, i * STEP + STEP):
                for u in range(j * STEP, j * STEP + STEP):
                    c = np.int64(depth[v, u])
                    if lowest <= c <= highest:
                        n += 1
                        total += c
                        low, high = min(low, c), max(high, c)
            points[i, j] = np.nan
            if 2 * n < STEP * STEP or high - low > spread * low + 2.0:
                continue
            z = total / n * scale
            x = y = 0.0
            for k in range(STEP):
                v, u = i * STEP + k, j * STEP + k
                x += rays_x[0 if row_x else v, u]
                y += rays_y[v, 0 if row_y else u]
            x, y = x / STEP * z, y / STEP * z
            for k in range(3):
                points[i, j, k] = T[k, 0] * x + T[k, 1] * y + T[k, 2] * z + T[k, 3]


@njit(**JIT)
def _normals(points, spread, normals):  # type: ignore[no-untyped-def]
    """Unit normals towards the camera from the points two cells away on either side."""
    rows, columns = points.shape[:2]
    normals[:] = np.nan
    for i in range(2, rows - 2):
        for j in range(2, columns - 2):
            z = points[i, j, 2]
            limit = 2.0 * spread * z
            a, b = points[i, j + 2], points[i, j - 2]
            c, d = points[i + 2, j], points[i - 2, j]
            # A straight surface has the same step on both sides; NaN fails each comparison.
            if not (abs(a[2] + b[2] - 2.0 * z) < limit and abs(c[2] + d[2] - 2.0 * z) < limit):
                continue
            ax, ay, az = a[0] - b[0], a[1] - b[1], a[2] - b[2]
            cx, cy, cz = c[0] - d[0], c[1] - d[1], c[2] - d[2]
            nx, ny, nz = ay * cz - az * cy, az * cx - ax * cz, ax * cy - ay * cx
            norm = np.sqrt(nx * nx + ny * ny + nz * nz)
            p = points[i, j]
            facing = nx * p[0] + ny * p[1] + nz * p[2]
            reach = np.sqrt(p[0] * p[0] + p[1] * p[1] + z * z)
            if norm <= 0.0 or abs(facing) < 0.15 * norm * reach:  # grazing: noise along the ray says little
                continue
            if facing > 0.0:
                norm = -norm
            normals[i, j, 0], normals[i, j, 1], normals[i, j, 2] = nx / norm, ny / norm, nz / norm


def surface_of(frame: RgbdFrame, depth_range: DepthRange, rays: RayTables, normals: bool = True) -> Surface:
    """The surface of a frame's depth; without normals where only the points are wanted (normals is then NaN)."""
    h, w = frame.depth_raw.shape
    rows, columns = h // STEP, w // STEP
    points = np.empty((rows, columns, 3), np.float32)
    x, y = rays.of(frame.depth_intrinsics)
    lowest, highest = depth_range.counts(frame.depth_scale)
    _cells(frame.depth_raw, x, y, np.ascontiguousarray(frame.T_color_depth), frame.depth_scale, lowest, highest,
           SPREAD, points)  # fmt: skip
    out = np.empty_like(points)
    if normals:
        _normals(points, SPREAD, out)
    else:
        out.fill(np.nan)
    camera = frame.depth_intrinsics
    centre = 0.5 * (STEP - 1)
    pinhole = np.array([camera.fx, camera.fy, camera.cx - centre, camera.cy - centre]) / STEP
    T = frame.T_color_depth
    T_depth_color = np.eye(4)
    T_depth_color[:3, :3], T_depth_color[:3, 3] = T[:3, :3].T, -T[:3, :3].T @ T[:3, 3]
    return Surface(points, out, pinhole, T_depth_color)
