"""Back-projection in plain numpy and float64: what the kernels must agree with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import DepthRange, RgbdFrame


def backproject_reference(
    frame: RgbdFrame,
    mask: NDArray[np.bool_] | None = None,
    depth_range: DepthRange | None = None,
    edge_ratio: float = 0.02,
    voxel_m: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """World points (N, 3) float64 and colours (N, 3) uint8, in reading order; arguments as BackProjector's."""
    valid = valid_depth_reference(frame.depth_raw, frame.depth_scale, depth_range or DepthRange(), edge_ratio)
    v, u = np.nonzero(valid)
    rays = frame.depth_intrinsics.rays(np.stack([u, v], axis=1))
    z = frame.depth_raw[v, u] * frame.depth_scale
    in_depth = np.concatenate([rays * z[:, None], z[:, None]], axis=1)
    in_color = pose.apply(frame.T_color_depth, in_depth)
    camera = frame.color_intrinsics
    if frame.one_camera:
        pixel = np.stack([u, v], axis=1).astype(np.float64)
    else:
        pixel = np.floor(camera.project(in_color) + 0.5)
        ideal = np.abs(in_color[:, :2] / in_color[:, 2:])
        reach = 1.2 * max(
            max(camera.cx, camera.width - camera.cx) / camera.fx, max(camera.cy, camera.height - camera.cy) / camera.fy
        )
        pixel[~(ideal < reach).all(axis=1)] = np.nan
    inside: NDArray[np.bool_] = np.all((pixel >= 0) & (pixel < (camera.width, camera.height)), axis=1)
    cu, cv = np.where(inside[:, None], pixel, 0.0).astype(np.int64).T
    if mask is not None:
        inside &= mask[cv, cu]
    points = pose.apply(frame.T_world_depth, in_depth[inside])
    colors = frame.color[cv, cu][inside]
    if voxel_m is None:
        return points, colors
    _, first = np.unique(np.floor(points / voxel_m).astype(np.int64), axis=0, return_index=True)
    first.sort()
    return points[first], colors[first]


def valid_depth_reference(
    depth_raw: NDArray[np.uint16], depth_scale: float, depth_range: DepthRange, edge_ratio: float
) -> NDArray[np.bool_]:
    """(h, w) bool: in range, and no 4-neighbour (outside the image: none) further off than edge_ratio of the depth."""
    lowest, highest = depth_range.counts(depth_scale)
    c = depth_raw.astype(np.float64)
    valid = (c >= lowest) & (c <= highest)
    if edge_ratio > 0.0:
        limit = np.float32(edge_ratio) * c.astype(np.float32)
        down = np.abs(np.diff(c, axis=0))
        valid[:-1] &= down <= limit[:-1]
        valid[1:] &= down <= limit[1:]
        across = np.abs(np.diff(c, axis=1))
        valid[:, :-1] &= across <= limit[:, :-1]
        valid[:, 1:] &= across <= limit[:, 1:]
    return valid
