"""The whole scene as one cloud: what the keyframes saw, one point a voxel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scene_r1.backproject import BackProjector, Points, kernels
from scene_r1.frame import DepthRange, RgbdFrame

VOXEL_M = 0.02
MOST_POINTS = 400_000
"""Six megabytes; viewers on a tablet still turn it smoothly."""
COARSER = 1.4
TOGETHER = 16
"""Frames that are merged at a time, so that a thousand keyframes need no more memory than these."""


def scene_cloud(
    frames: Iterable[RgbdFrame],
    voxel_m: float = VOXEL_M,
    most: int = MOST_POINTS,
    depth_range: DepthRange | None = None,
) -> Points:
    """The coloured points of several posed frames, world frame; of each voxel the first point that fell into it.

    voxel_m: side in metres; larger ones are taken until no more than `most` points are left. Raises BadFrame for a
    frame without a pose or an impossible voxel.
    """
    project = BackProjector(depth_range, voxel_m=voxel_m)
    clouds: list[Points] = []
    for frame in frames:
        clouds.append(project(frame).copy())
        if len(clouds) >= TOGETHER:
            clouds = [_thinned(clouds, voxel_m)]
    cloud = _thinned(clouds, voxel_m)
    while len(cloud) > max(1, most):
        voxel_m *= COARSER
        cloud = _thinned([cloud], voxel_m)
    return cloud


def _thinned(clouds: list[Points], voxel_m: float) -> Points:
    """All the clouds, and of each voxel the first point only."""
    if not clouds:
        return Points(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    xyz = np.concatenate([cloud.xyz for cloud in clouds])
    rgb = np.concatenate([cloud.rgb for cloud in clouds])
    n = len(xyz)
    table = np.zeros(1 << (2 * n + 4).bit_length(), np.uint64)  # never half full
    kept = kernels.first_of_voxels(xyz.reshape(-1), rgb.reshape(-1), n, np.float32(1.0 / voxel_m), table, 1)
    return Points(xyz[:kept].copy(), rgb[:kept].copy())
