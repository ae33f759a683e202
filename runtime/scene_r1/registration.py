"""A frame as one picture with depth, as engines see it. Built for the few frames asked about, not for the stream."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.backproject.projector import RayTables, color_pixels
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.jit import JIT
from scene_r1_engines.view import View


def view_of(frame: RgbdFrame, view_id: int | None = None) -> View:
    """The frame's colour image with its depth registered to it; the id is the frame's index unless given."""
    depth_m = frame.depth_m if frame.one_camera else registered_depth(frame)
    number = frame.index if view_id is None else view_id
    return View(number, frame.color, depth_m, frame.color_intrinsics, frame.T_world_camera)


def registered_depth(frame: RgbdFrame, depth_range: DepthRange | None = None) -> NDArray[np.float32]:
    """Depth seen from the colour camera: (H, W) float32 metres along its optical axis, 0 = nothing known.

    Every depth pixel covers the square that its solid angle has in the colour image, and on a surface all that lies
    up to its neighbours, however much its slant stretches it; the nearest wins. Parts that only the colour camera sees
    stay 0.
    """
    pixel = color_pixels(frame, depth_range or DepthRange(), 0.0)
    camera, depth_camera = frame.color_intrinsics, frame.depth_intrinsics
    side = max(1, math.ceil(max(camera.fx / depth_camera.fx, camera.fy / depth_camera.fy)))
    out = np.zeros((camera.height, camera.width), np.float32)
    axis = np.ascontiguousarray(frame.T_color_depth[2], dtype=np.float32)
    rays_x, rays_y = RayTables().of(depth_camera)
    shape = frame.depth_raw.shape
    splat(frame.depth_raw, pixel, np.broadcast_to(rays_x, shape), np.broadcast_to(rays_y, shape), axis,
          np.float32(frame.depth_scale), side, out)  # fmt: skip
    return out


SURFACE_RATIO = 0.05
"""Neighbours whose depth differs by less than this share lie on one surface, with no hole between them."""

STRETCH = 4
"""A depth pixel covers at the most this many times its own square along rows or columns."""


@njit(**JIT)
def splat(depth, pixel, rays_x, rays_y, axis, scale, side, out):  # type: ignore[no-untyped-def]
    """Write each depth pixel's distance from the colour camera into side x side pixels around `pixel`, or as many as
    lie before the pixels of the neighbours to the right and below; nearest wins."""
    h, w = depth.shape
    H, W = out.shape
    before = (side - 1) // 2
    for v in range(h):
        for u in range(w):
            q = pixel[v, u]
            if q < 0:
                continue
            z = np.float32(depth[v, u]) * scale
            z = (axis[0] * rays_x[v, u] + axis[1] * rays_y[v, u] + axis[2]) * z + axis[3]
            row, column = q // W, q % W
            bottom, right = row - before + side, column - before + side
            count = np.int64(depth[v, u])
            near = SURFACE_RATIO * count
            if u + 1 < w and pixel[v, u + 1] >= 0 and abs(np.int64(depth[v, u + 1]) - count) <= near:
                right = min(max(right, pixel[v, u + 1] % W), right + (STRETCH - 1) * side)
            if v + 1 < h and pixel[v + 1, u] >= 0 and abs(np.int64(depth[v + 1, u]) - count) <= near:
                bottom = min(max(bottom, pixel[v + 1, u] // W), bottom + (STRETCH - 1) * side)
            for r in range(max(0, row - before), min(H, bottom)):
                for c in range(max(0, column - before), min(W, right)):
                    if out[r, c] == 0.0 or z < out[r, c]:
                        out[r, c] = z
