"""The back-projection kernels for a CUDA GPU. Imported on use: it imports numba.cuda.

The order of what is written never depends on which thread came first. One block works on one row: it counts what the
row keeps, a prefix sum over the rows says where each row's points begin, and a prefix sum inside the row says where
each pixel's point goes. So points come out in reading order, as the kernels of the CPU write them.

Numbers are float32 throughout, as on the CPU: a Jetson does 64 of those for one float64.

All arrays are flat and may be longer than is used: buffers are kept and grown, and a mapped array cannot be cut.
`parameters`: (36,) float32, see PARAMETERS. depth: (h w,) uint16. pixel: (h w,) int32, where colour and mask of a depth
pixel are found, -1 for a pixel that is not kept. rays_x, rays_y: the tables of the whole depth image, in which the
window that is worked on begins at (top, left); `columns` is the table's width, 0 for a pinhole's (one row, one column).
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
from numba import int32

cuda: Any = import_module("numba.cuda")  # numba's own, or that of numba-cuda, whose types differ

BLOCK = 128
"""Threads of a block. A power of two, for the prefix sum."""
T_WORLD, T_COLOR, CAMERA, REACH, SCALE, EDGE_RATIO, PARAMETERS = 0, 12, 24, 33, 34, 35, 36
"""Where `parameters` has: world and colour from depth camera, (3, 4) each; fx, fy, cx, cy, k1, k2, p1, p2, k3 of the
colour camera; how far off its axis a ray is believed; metres per count; share of depth that makes an edge."""
KEY_BITS = 16
KEY_MASK = (1 << KEY_BITS) - 1
FREE = -1
NOBODY = 2**31 - 1


@cuda.jit(device=True)
def _moved(T, at, x, y, z):  # type: ignore[no-untyped-def]
    """The point on the ray (x, y, 1) at depth z, through the transform that begins at T[at]."""
    return (
        (T[at] * x + (T[at + 1] * y + T[at + 2])) * z + T[at + 3],
        (T[at + 4] * x + (T[at + 5] * y + T[at + 6])) * z + T[at + 7],
        (T[at + 8] * x + (T[at + 9] * y + T[at + 10])) * z + T[at + 11],
    )


@cuda.jit(device=True)
def _ray(rays_x, rays_y, v, u, columns):  # type: ignore[no-untyped-def]
    if columns == 0:
        return rays_x[u], rays_y[v]
    return rays_x[v * columns + u], rays_y[v * columns + u]


@cuda.jit(device=True)
def _valid(depth, v, u, h, w, lowest, highest, edge_ratio):  # type: ignore[no-untyped-def]
    """The count is in range and, for edge_ratio > 0, no 4-neighbour differs by more than that share."""
    i = v * w + u
    count = int32(depth[i])
    if count < lowest or count > highest:
        return False
    if edge_ratio <= np.float32(0.0):
        return True
    c = np.float32(count)
    limit = edge_ratio * c
    return not (
        (v > 0 and abs(np.float32(depth[i - w]) - c) > limit)
        or (v < h - 1 and abs(np.float32(depth[i + w]) - c) > limit)
        or (u > 0 and abs(np.float32(depth[i - 1]) - c) > limit)
        or (u < w - 1 and abs(np.float32(depth[i + 1]) - c) > limit)
    )


@cuda.jit(device=True)
def _distort(a, b, p):  # type: ignore[no-untyped-def]
    """Brown-Conrady polynomial at one normalised point, as the CPU's `distort`."""
    k1, k2, p1, p2, k3 = p[CAMERA + 4], p[CAMERA + 5], p[CAMERA + 6], p[CAMERA + 7], p[CAMERA + 8]
    r2 = a * a + b * b
    radial = np.float32(1.0) + r2 * (k1 + r2 * (k2 + r2 * k3))
    ab = np.float32(2.0) * a * b
    return (
        a * radial + p1 * ab + p2 * (r2 + np.float32(2.0) * a * a),
        b * radial + p2 * ab + p1 * (r2 + np.float32(2.0) * b * b),
    )


@cuda.jit(device=True)
def _undistort(x, y, p):  # type: ignore[no-untyped-def]
    """The point whose polynomial is (x, y), as the CPU's `undistort`."""
    k1, k2, p1, p2, k3 = p[CAMERA + 4], p[CAMERA + 5], p[CAMERA + 6], p[CAMERA + 7], p[CAMERA + 8]
    a, b = x, y
    for _ in range(8):
        r2 = a * a + b * b
        radial = np.float32(1.0) / (np.float32(1.0) + r2 * (k1 + r2 * (k2 + r2 * k3)))
        ab = np.float32(2.0) * a * b
        tangential_x = p1 * ab + p2 * (r2 + np.float32(2.0) * a * a)
        tangential_y = p2 * ab + p1 * (r2 + np.float32(2.0) * b * b)
        a, b = (x - tangential_x) * radial, (y - tangential_y) * radial
    return a, b


@cuda.jit(device=True)
def _color_pixel(p, model, x, y, z, width, height):  # type: ignore[no-untyped-def]
    """The colour pixel of a point on a depth ray, v * width + u, or -1. model: 0 pinhole, 1, 2 Brown-Conrady."""
    a, b, z = _moved(p, T_COLOR, x, y, z)
    if not z > np.float32(0.0):
        return int32(-1)
    a = a / z
    b = b / z
    if not (abs(a) < p[REACH] and abs(b) < p[REACH]):
        return int32(-1)
    if model == 1:
        a, b = _distort(a, b, p)
    elif model == 2:
        a, b = _undistort(a, b, p)
    a = a * p[CAMERA] + p[CAMERA + 2] + np.float32(0.5)
    b = b * p[CAMERA + 1] + p[CAMERA + 3] + np.float32(0.5)
    zero = np.float32(0.0)
    if a >= zero and a < np.float32(width) and b >= zero and b < np.float32(height):
        return int32(b) * int32(width) + int32(a)
    return int32(-1)


@cuda.jit
def find_pixels(  # type: ignore[no-untyped-def]
    depth, mask, masked, rays_x, rays_y, columns, top, left, parameters, one_camera, model, lowest, highest,
    h, w, width, height, pixel, counts,
):  # fmt: skip
    """Which depth pixels are kept and where their colour is, and how many of each row: counts (h,) int32.

    mask: (width height,) uint8 of the colour picture, read where `masked` is not 0. one_camera: the colour picture's
    part that is given is the depth's window, pixel by pixel.
    """
    v = cuda.blockIdx.x
    n = 0
    for start in range(0, w, BLOCK):
        u = start + cuda.threadIdx.x
        q = int32(-1)
        if u < w and _valid(depth, v, u, h, w, lowest, highest, parameters[EDGE_RATIO]):
            x, y = _ray(rays_x, rays_y, v + top, u + left, columns)
            if x == x:  # NaN: the distortion has folded over
                if one_camera:
                    q = int32(v * w + u)
                else:
                    z = np.float32(depth[v * w + u]) * parameters[SCALE]
                    q = _color_pixel(parameters, model, x, y, z, width, height)
        if q >= 0 and masked and mask[q] == 0:
            q = int32(-1)
        if u < w:
            pixel[v * w + u] = q
        n += cuda.syncthreads_count(1 if q >= 0 else 0)
    if cuda.threadIdx.x == 0:
        counts[v] = n


@cuda.jit
def empty_table(keys, first, slots):  # type: ignore[no-untyped-def]
    """Make the voxel table's first `slots` free. keys: int64; first: int32."""
    slot = cuda.grid(1)
    if slot < slots:
        keys[slot] = FREE
        first[slot] = NOBODY


@cuda.jit
def claim_voxels(  # type: ignore[no-untyped-def]
    depth, pixel, rays_x, rays_y, columns, top, left, parameters, per_voxel, h, w, keys, first, slots, slot_of
):  # fmt: skip
    """Enter the voxel of each kept pixel's point into the table. first: the smallest index of a pixel in that voxel.

    slots: a power of two above h w, so one is always free. slot_of: (h w,) int32. Which slot a voxel gets depends on
    who comes first; its smallest index does not, and only that is used.
    """
    v = cuda.blockIdx.x
    for start in range(0, w, BLOCK):
        u = start + cuda.threadIdx.x
        if u >= w or pixel[v * w + u] < 0:
            continue
        x, y = _ray(rays_x, rays_y, v + top, u + left, columns)
        z = np.float32(depth[v * w + u]) * parameters[SCALE]
        x, y, z = _moved(parameters, T_WORLD, x, y, z)
        i = np.int64(math.floor(x * per_voxel)) & KEY_MASK
        j = np.int64(math.floor(y * per_voxel)) & KEY_MASK
        k = np.int64(math.floor(z * per_voxel)) & KEY_MASK
        key = (i << (2 * KEY_BITS)) | (j << KEY_BITS) | k
        slot = ((i * 73856093) ^ (j * 19349663) ^ (k * 83492791)) & (slots - 1)  # Teschner et al. 2003
        while True:
            found = cuda.atomic.cas(keys, slot, FREE, key)
            if found == FREE or found == key:  # noqa: SIM109 - a tuple of two types is no set in a kernel
                break
            slot = (slot + 1) & (slots - 1)
        cuda.atomic.min(first, slot, int32(v * w + u))
        slot_of[v * w + u] = slot


@cuda.jit
def keep_first(pixel, slot_of, first, h, w, counts):  # type: ignore[no-untyped-def]
    """Of each voxel only its first pixel in reading order is kept; counts as `find_pixels`."""
    v = cuda.blockIdx.x
    n = 0
    for start in range(0, w, BLOCK):
        u = start + cuda.threadIdx.x
        kept = 0
        if u < w and pixel[v * w + u] >= 0:
            if first[slot_of[v * w + u]] == v * w + u:
                kept = 1
            else:
                pixel[v * w + u] = -1
        n += cuda.syncthreads_count(kept)
    if cuda.threadIdx.x == 0:
        counts[v] = n


@cuda.jit(device=True)
def _sum_up(sums):  # type: ignore[no-untyped-def]
    """Replace BLOCK numbers in shared memory by their running sums (Hillis and Steele 1986)."""
    t = cuda.threadIdx.x
    cuda.syncthreads()
    step = 1
    while step < BLOCK:
        more = int32(0)
        if t >= step:
            more = sums[t - step]
        cuda.syncthreads()
        sums[t] += more
        cuda.syncthreads()
        step *= 2


@cuda.jit
def row_starts(counts, h, starts):  # type: ignore[no-untyped-def]
    """starts: (h + 1,) int32: where each row's points begin, and at the end how many there are. One block."""
    sums = cuda.shared.array(BLOCK, int32)
    t = cuda.threadIdx.x
    before = int32(0)
    for base in range(0, h, BLOCK):
        row = base + t
        sums[t] = counts[row] if row < h else int32(0)
        _sum_up(sums)
        if row < h:
            starts[row + 1] = before + sums[t]
        before += sums[BLOCK - 1]
        cuda.syncthreads()
    if t == 0:
        starts[0] = 0


@cuda.jit
def write_points(  # type: ignore[no-untyped-def]
    depth, pixel, color, rays_x, rays_y, columns, top, left, parameters, h, w, starts, xyz, rgb
):  # fmt: skip
    """World points and colours of the kept pixels, in reading order. color: (3 P,) uint8. xyz, rgb: (3 h w,)."""
    sums = cuda.shared.array(BLOCK, int32)
    t = cuda.threadIdx.x
    v = cuda.blockIdx.x
    before = starts[v]
    for start in range(0, w, BLOCK):
        u = start + t
        q = int32(-1)
        if u < w:
            q = pixel[v * w + u]
        sums[t] = int32(1) if q >= 0 else int32(0)
        _sum_up(sums)
        if q >= 0:
            n = 3 * (before + sums[t] - 1)
            x, y = _ray(rays_x, rays_y, v + top, u + left, columns)
            z = np.float32(depth[v * w + u]) * parameters[SCALE]
            xyz[n], xyz[n + 1], xyz[n + 2] = _moved(parameters, T_WORLD, x, y, z)
            rgb[n] = color[3 * q]
            rgb[n + 1] = color[3 * q + 1]
            rgb[n + 2] = color[3 * q + 2]
        before += sums[BLOCK - 1]
        cuda.syncthreads()
