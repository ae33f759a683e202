"""The lift's kernels: gather points into voxels, vote on them in every view, join neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit

from scene_r1.backproject.kernels import distort, undistort
from scene_r1.jit import JIT
from scene_r1.voxels import find_slot, voxel_key

SUMS = 4
"""Sums kept for a voxel: weight, and weight times x, y, z."""


@njit(**JIT)
def gather(xyz, low, high, eye, forward, noise, voxel_m, n, keys, slots, cells, sums, rows):  # type: ignore[no-untyped-def]
    """Add the points (N, 3) float32 of one view that lie between low and high to the voxels. Returns their new number.

    rows: (N,) int32, the voxel of each point, -1 for those outside. eye, forward: (3,) float64 camera centre and
    optical axis. A point at depth z weighs 1 / (s^2 + sigma(z)^2) with s the spacing inside a voxel.
    """
    s2 = voxel_m * voxel_m / 12.0
    for p in range(len(xyz)):
        x, y, z = np.float64(xyz[p, 0]), np.float64(xyz[p, 1]), np.float64(xyz[p, 2])
        rows[p] = -1
        if not (low[0] <= x <= high[0] and low[1] <= y <= high[1] and low[2] <= z <= high[2]):
            continue
        i = np.int64(np.floor(x / voxel_m))
        j = np.int64(np.floor(y / voxel_m))
        k = np.int64(np.floor(z / voxel_m))
        key = voxel_key(i, j, k)
        slot = find_slot(key, keys, slots)
        if slots[slot] == 0:
            keys[n] = key
            cells[n, 0], cells[n, 1], cells[n, 2] = i, j, k
            sums[n] = 0.0
            n += 1
            slots[slot] = n
        m = slots[slot] - 1
        rows[p] = m
        depth = (x - eye[0]) * forward[0] + (y - eye[1]) * forward[1] + (z - eye[2]) * forward[2]
        sigma = noise * depth * depth
        weight = 1.0 / (s2 + sigma * sigma)
        sums[m, 0] += weight
        sums[m, 1] += weight * x
        sums[m, 2] += weight * y
        sums[m, 3] += weight * z
    return n


@njit(inline="always", **JIT)
def pixel_of(T, x, y, z, camera, model, h, w):  # type: ignore[no-untyped-def]
    """(row, column, depth) of a world point in an image of h x w; row -1 when it is not in the picture.

    T: (3, 4) camera from world. camera: (9,) fx, fy, cx, cy, k1, k2, p1, p2, k3; model: its place in MODELS.
    """
    Z = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3]
    if Z <= 0.05:
        return -1, -1, Z
    a = (T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3]) / Z
    b = (T[1, 0] * x + T[1, 1] * y + T[1, 2] * z + T[1, 3]) / Z
    if max(abs(a) * camera[0] / w, abs(b) * camera[1] / h) > 1.2:  # further out a lens polynomial may fold back
        return -1, -1, Z
    if model == 1:
        a, b = distort(a, b, camera[4], camera[5], camera[6], camera[7], camera[8])
    elif model == 2:
        a, b = undistort(a, b, camera[4], camera[5], camera[6], camera[7], camera[8])
    u = a * camera[0] + camera[2] + 0.5
    v = b * camera[1] + camera[3] + 0.5
    if not (0.0 <= u < w and 0.0 <= v < h):
        return -1, -1, Z
    return np.int64(v), np.int64(u), Z


@njit(**JIT)
def vote(  # type: ignore[no-untyped-def]
    points, T, depth, scale, lowest, highest, camera, model, noise, voxel_m, T_color, color_camera, color_model, mask,
    votes, offsets,
):  # fmt: skip
    """One view's votes on the voxels at points (N, 3) float64, world. votes: (N,) float32: + for, - against, 0 none.

    T, camera, model: see pixel_of, of the depth camera; depth: (h, w) uint16. T_color, color_camera, color_model: of
    the colour camera; mask: (H, W) uint8. On the measured surface a voxel is voted for where the
    mask is set and against beside it. In front of the surface there is free space: against. Behind it the voxel is
    occluded: no evidence. A view's weight falls with its depth noise.
    offsets: (N,) float32, how much further away than the voxel the view measures the surface, NaN where not on it.
    """
    h, w = depth.shape
    H, W = mask.shape
    for n in range(len(points)):
        votes[n] = 0.0
        offsets[n] = np.nan
        x, y, z = points[n]
        row, column, Z = pixel_of(T, x, y, z, camera, model, h, w)
        if row < 0:
            continue
        c = np.int64(depth[row, column])
        if c < lowest or c > highest:
            continue
        measured = c * scale
        sigma = noise * measured * measured
        reach = 1.5 * voxel_m + 2.5 * sigma
        if measured + reach < Z:
            continue
        weight = 1.0 / (1.0 + (sigma / voxel_m) ** 2)
        if measured - reach > Z:
            votes[n] = -weight
            continue
        row, column, _ = pixel_of(T_color, x, y, z, color_camera, color_model, H, W)
        if row < 0:
            continue
        votes[n] = weight if mask[row, column] else -weight
        offsets[n] = measured - Z


@njit(inline="always", **JIT)
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(**JIT)
def components(cells, kept, keys, slots, reach, label):  # type: ignore[no-untyped-def]
    """label[n] = a number shared by the kept voxels that hang together within `reach` voxels; -1 for the others."""
    n = len(kept)
    for i in range(n):
        label[i] = i if kept[i] else -1
    for m in range(n):
        if not kept[m]:
            continue
        for di in range(-reach, reach + 1):
            for dj in range(-reach, reach + 1):
                for dk in range(-reach, reach + 1):
                    if (di, dj, dk) <= (0, 0, 0):
                        continue
                    slot = find_slot(voxel_key(cells[m, 0] + di, cells[m, 1] + dj, cells[m, 2] + dk), keys, slots)
                    if slots[slot] == 0 or not kept[slots[slot] - 1]:
                        continue
                    a, b = _root(label, m), _root(label, slots[slot] - 1)
                    label[max(a, b)] = min(a, b)
    for i in range(n):
        if kept[i]:
            label[i] = _root(label, i)
