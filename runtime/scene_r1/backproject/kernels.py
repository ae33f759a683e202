"""The back-projection kernels: one pass over the rows of a depth image, each row in short vector loops.

A row goes through three steps that stay in the first-level cache: which pixels are valid (bytes), runs of valid pixels
(eight at a time), points of a run. Runs, and not pixels, are what is written: a run's points and colours are two
contiguous blocks, which the compiler turns into vector stores. Branching pixel by pixel costs about three times more.

Arrays are C-contiguous. float32 inside (points within 1e-6 m of float64 in a room), no fastmath, so that every kernel
gives the same point for a pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from scene_r1.jit import EXACT

ALL_VALID = np.uint64(0x0101010101010101)
KEY_BITS = 16
KEY_MASK = np.int64((1 << KEY_BITS) - 1)
GENERATION_SHIFT = np.uint64(3 * KEY_BITS)
NO_KEY = np.int64(-1)
HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always", **EXACT)
def _valid_row(depth, v, lowest, highest, edge_ratio, ok):  # type: ignore[no-untyped-def]
    """ok[u] = 1 where the count is in range and, for edge_ratio > 0, no 4-neighbour differs by more than that share."""
    h, w = depth.shape
    row = depth[v]
    if highest < lowest:
        ok[:] = 0
        return
    low = np.uint16(lowest)
    span = np.uint16(highest - lowest)
    for u in range(w):
        ok[u] = np.uint8(np.uint16(row[u] - low) <= span)  # unsigned: below `low` wraps around to large
    if edge_ratio > 0.0:
        above = depth[max(v - 1, 0)]
        below = depth[min(v + 1, h - 1)]
        for u in range(w):
            c = np.float32(row[u])
            limit = edge_ratio * c
            ok[u] &= np.uint8(abs(np.float32(above[u]) - c) <= limit) & np.uint8(abs(np.float32(below[u]) - c) <= limit)
        left = row[: w - 1]
        right = row[1:]
        ok_left = ok[: w - 1]
        ok_right = ok[1:]
        for u in range(w - 1):
            step = abs(np.float32(left[u]) - np.float32(right[u]))
            ok_left[u] &= np.uint8(step <= edge_ratio * np.float32(left[u]))
        for u in range(w - 1):
            step = abs(np.float32(left[u]) - np.float32(right[u]))
            ok_right[u] &= np.uint8(step <= edge_ratio * np.float32(right[u]))


@njit(inline="always", **EXACT)
def _run(ok, words, u, w):  # type: ignore[no-untyped-def]
    """The next run of valid pixels at or after u: (start, end), start == w when there is none."""
    while u < w:
        if (u & 7) == 0 and u + 8 <= w and words[u >> 3] == 0:
            u += 8
        elif ok[u] == 0:
            u += 1
        else:
            break
    start = u
    while u < w:
        if (u & 7) == 0 and u + 8 <= w and words[u >> 3] == ALL_VALID:
            u += 8
        elif ok[u] != 0:
            u += 1
        else:
            break
    return start, u


@njit(inline="always", **EXACT)
def _ray_row(rays_x, rays_y, v, separable, x_row, y_row, ok):  # type: ignore[no-untyped-def]
    """Rays of row v at z = 1. A pinhole's are separable (one row of x, one column of y); else pixels without a ray
    (NaN: the distortion has folded over) lose their validity."""
    if separable:
        y_row[:] = rays_y[v, 0]
        x_row[:] = rays_x[0]
    else:
        x_row[:] = rays_x[v]
        y_row[:] = rays_y[v]
        for u in range(len(ok)):
            ok[u] &= np.uint8(x_row[u] == x_row[u])


@njit(**EXACT)
def registered(depth, color, mask, rays_x, rays_y, T, scale, lowest, highest, edge_ratio, scratch, xyz, rgb):  # type: ignore[no-untyped-def]
    """Depth registered to colour -> world points with colour. Returns how many were written.

    depth: (h, w) uint16. color: (h, 3 w) uint8. mask: (h, w) uint8, 0 or 1. rays_x, rays_y: (1, w) and (h, 1) for a
    pinhole, else (h, w); float32. T: (3, 4) float32 world from depth camera. scratch: (w rounded up to 8,) uint8.
    xyz: (3 h w) float32 and rgb: (3 h w) uint8, flat, filled from the front.
    """
    h, w = depth.shape
    separable = rays_y.shape[1] == 1 and w > 1
    padded = (w + 7) & ~7
    words = scratch[:padded].view(np.uint64)
    ok = scratch[:w]
    x_row = np.empty(w, np.float32)
    y_row = np.empty(w, np.float32)
    # Locals: through the array the compiler would have to load them again after every store.
    r00, r01, r02, t0 = T[0, 0], T[0, 1], T[0, 2], T[0, 3]
    r10, r11, r12, t1 = T[1, 0], T[1, 1], T[1, 2], T[1, 3]
    r20, r21, r22, t2 = T[2, 0], T[2, 1], T[2, 2], T[2, 3]
    n = 0
    for v in range(h):
        _valid_row(depth, v, lowest, highest, edge_ratio, ok)
        mask_row = mask[v]
        for u in range(w):
            ok[u] &= mask_row[u]
        _ray_row(rays_x, rays_y, v, separable, x_row, y_row, ok)
        depth_row = depth[v]
        color_row = color[v]
        end = 0
        while end < w:
            start, end = _run(ok, words, end, w)
            size = end - start
            d = depth_row[start:end]
            x = x_row[start:end]
            y = y_row[start:end]
            p = xyz[3 * n : 3 * (n + size)]
            for i in range(size):
                z = np.float32(d[i]) * scale
                p[3 * i] = (r00 * x[i] + (r01 * y[i] + r02)) * z + t0
                p[3 * i + 1] = (r10 * x[i] + (r11 * y[i] + r12)) * z + t1
                p[3 * i + 2] = (r20 * x[i] + (r21 * y[i] + r22)) * z + t2
            c = rgb[3 * n : 3 * (n + size)]
            source = color_row[3 * start : 3 * end]
            for i in range(3 * size):
                c[i] = source[i]
            n += size
    return n


@njit(inline="always", **EXACT)
def _first_in_voxel(key, table, tag, slot_mask):  # type: ignore[no-untyped-def]
    """True when this call is the first to bring `key` into the table. Open addressing, linear probing.

    An entry is generation << 48 | key, so an entry of an earlier frame counts as free and nothing is ever cleared.
    """
    entry = tag | np.uint64(key)
    slot = (np.uint64(key) * HASH_MULTIPLIER) >> np.uint64(40)
    while True:
        slot &= slot_mask
        found = table[slot]
        if found == entry:
            return False
        if (found >> GENERATION_SHIFT) != (tag >> GENERATION_SHIFT):
            table[slot] = entry
            return True
        slot += np.uint64(1)


@njit(**EXACT)
def registered_voxels(  # type: ignore[no-untyped-def]
    depth, color, mask, rays_x, rays_y, T, scale, lowest, highest, edge_ratio, scratch,
    per_voxel, table, generation, xyz, rgb,
):  # fmt: skip
    """As `registered`, and of each voxel of side 1 / per_voxel metres only its first point in reading order.

    table: (power of two,) uint64, at least twice the voxels that a frame can fill. generation: 1..65535, another one
    for each call on the same table. Returns how many points were written, or -1 when the table came to half full.
    """
    h, w = depth.shape
    separable = rays_y.shape[1] == 1 and w > 1
    padded = (w + 7) & ~7
    words = scratch[:padded].view(np.uint64)
    ok = scratch[:w]
    x_row = np.empty(w, np.float32)
    y_row = np.empty(w, np.float32)
    X = np.empty(w, np.float32)
    Y = np.empty(w, np.float32)
    Z = np.empty(w, np.float32)
    # Neighbours share voxels: most repeats are seen in the pixel to the left and the one above, without a probe.
    here = np.full(w + 1, NO_KEY, np.int64)
    above = np.full(w + 1, NO_KEY, np.int64)
    r00, r01, r02, t0 = T[0, 0], T[0, 1], T[0, 2], T[0, 3]
    r10, r11, r12, t1 = T[1, 0], T[1, 1], T[1, 2], T[1, 3]
    r20, r21, r22, t2 = T[2, 0], T[2, 1], T[2, 2], T[2, 3]
    tag = np.uint64(generation) << GENERATION_SHIFT
    slot_mask = np.uint64(len(table) - 1)
    limit = len(table) // 2
    n = 0
    for v in range(h):
        _valid_row(depth, v, lowest, highest, edge_ratio, ok)
        mask_row = mask[v]
        for u in range(w):
            ok[u] &= mask_row[u]
        _ray_row(rays_x, rays_y, v, separable, x_row, y_row, ok)
        depth_row = depth[v]
        color_row = color[v]
        # The whole row, valid or not: without branches this is all vector code.
        for u in range(w):
            z = np.float32(depth_row[u]) * scale
            X[u] = (r00 * x_row[u] + (r01 * y_row[u] + r02)) * z + t0
            Y[u] = (r10 * x_row[u] + (r11 * y_row[u] + r12)) * z + t1
            Z[u] = (r20 * x_row[u] + (r21 * y_row[u] + r22)) * z + t2
        for u in range(w):
            i = np.int64(np.int32(np.floor(X[u] * per_voxel))) & KEY_MASK
            j = np.int64(np.int32(np.floor(Y[u] * per_voxel))) & KEY_MASK
            k = np.int64(np.int32(np.floor(Z[u] * per_voxel))) & KEY_MASK
            key = (i << (2 * KEY_BITS)) | (j << KEY_BITS) | k
            here[u + 1] = key if ok[u] != 0 else NO_KEY
        for u in range(w):
            key = here[u + 1]
            ok[u] &= np.uint8(key != here[u]) & np.uint8(key != above[u + 1])
        u = 0
        while u < w:
            if (u & 7) == 0 and words[u >> 3] == 0:
                u += 8
                continue
            if ok[u] != 0 and _first_in_voxel(here[u + 1], table, tag, slot_mask):
                xyz[3 * n], xyz[3 * n + 1], xyz[3 * n + 2] = X[u], Y[u], Z[u]
                rgb[3 * n] = color_row[3 * u]
                rgb[3 * n + 1] = color_row[3 * u + 1]
                rgb[3 * n + 2] = color_row[3 * u + 2]
                n += 1
                if n >= limit:
                    return -1
            u += 1
        here, above = above, here
    return n


@njit(inline="always", **EXACT)
def distort(x, y, k1, k2, p1, p2, k3):  # type: ignore[no-untyped-def]
    """Brown-Conrady polynomial at one normalised point."""
    r2 = x * x + y * y
    radial = np.float32(1.0) + r2 * (k1 + r2 * (k2 + r2 * k3))
    xy = np.float32(2.0) * x * y
    return x * radial + p1 * xy + p2 * (r2 + np.float32(2.0) * x * x), y * radial + p2 * xy + p1 * (
        r2 + np.float32(2.0) * y * y
    )


@njit(inline="always", **EXACT)
def undistort(x, y, k1, k2, p1, p2, k3):  # type: ignore[no-untyped-def]
    """The point whose polynomial is (x, y), by fixed-point iteration: 8 rounds, below 0.01 px for real lenses."""
    a, b = x, y
    for _ in range(8):
        r2 = a * a + b * b
        radial = np.float32(1.0) / (np.float32(1.0) + r2 * (k1 + r2 * (k2 + r2 * k3)))
        ab = np.float32(2.0) * a * b
        tangential_x = p1 * ab + p2 * (r2 + np.float32(2.0) * a * a)
        tangential_y = p2 * ab + p1 * (r2 + np.float32(2.0) * b * b)
        a, b = (x - tangential_x) * radial, (y - tangential_y) * radial
    return a, b


@njit(**EXACT)
def color_pixels(  # type: ignore[no-untyped-def]
    depth, rays_x, rays_y, T_color_depth, camera, model, scale, lowest, highest, edge_ratio, scratch,
    width, height, pixel,
):  # fmt: skip
    """For each depth pixel the colour pixel that shows the same point: pixel (h, w) int32, v * width + u, -1 for none.

    T_color_depth: (3, 4) float32. camera: (9,) float32 fx, fy, cx, cy, k1, k2, p1, p2, k3 of the colour camera of
    width x height pixels; model: 0 pinhole, 1 Brown-Conrady, 2 inverse Brown-Conrady. Invalid depth gives -1.
    """
    h, w = depth.shape
    separable = rays_y.shape[1] == 1 and w > 1
    ok = scratch[:w]
    x_row = np.empty(w, np.float32)
    y_row = np.empty(w, np.float32)
    T = T_color_depth
    r00, r01, r02, t0 = T[0, 0], T[0, 1], T[0, 2], T[0, 3]
    r10, r11, r12, t1 = T[1, 0], T[1, 1], T[1, 2], T[1, 3]
    r20, r21, r22, t2 = T[2, 0], T[2, 1], T[2, 2], T[2, 3]
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    k1, k2, p1, p2, k3 = camera[4], camera[5], camera[6], camera[7], camera[8]
    # Beyond the image's own corner (and a margin) the polynomial may fold points back into the picture.
    edge = np.float32(1.2) * max(max(cx, width - cx) / fx, max(cy, height - cy) / fy)
    half = np.float32(0.5)
    for v in range(h):
        _valid_row(depth, v, lowest, highest, edge_ratio, ok)
        _ray_row(rays_x, rays_y, v, separable, x_row, y_row, ok)
        depth_row = depth[v]
        out = pixel[v]
        for u in range(w):
            z = np.float32(depth_row[u]) * scale
            x = (r00 * x_row[u] + (r01 * y_row[u] + r02)) * z + t0
            y = (r10 * x_row[u] + (r11 * y_row[u] + r12)) * z + t1
            z = (r20 * x_row[u] + (r21 * y_row[u] + r22)) * z + t2
            a = x / z
            b = y / z
            inside = (abs(a) < edge) & (abs(b) < edge)
            if model == 1:
                a, b = distort(a, b, k1, k2, p1, p2, k3)
            elif model == 2:
                a, b = undistort(a, b, k1, k2, p1, p2, k3)
            a = np.floor(a * fx + cx + half)
            b = np.floor(b * fy + cy + half)
            seen = (ok[u] != 0) & inside & (z > 0) & (a >= 0) & (a < width) & (b >= 0) & (b < height)
            out[u] = np.int32(b) * np.int32(width) + np.int32(a) if seen else np.int32(-1)


@njit(**EXACT)
def through_pixels(depth, pixel, color, mask, rays_x, rays_y, T, scale, xyz, rgb):  # type: ignore[no-untyped-def]
    """Depth of another camera than colour's -> world points with colour, by the table that `color_pixels` made.

    color: (H W, 3) uint8 and mask: (H W,) uint8 of the colour image. T: (3, 4) float32 world from depth camera.
    xyz, rgb as for `registered`. Returns how many were written.
    """
    h, w = depth.shape
    separable = rays_y.shape[1] == 1 and w > 1
    r00, r01, r02, t0 = T[0, 0], T[0, 1], T[0, 2], T[0, 3]
    r10, r11, r12, t1 = T[1, 0], T[1, 1], T[1, 2], T[1, 3]
    r20, r21, r22, t2 = T[2, 0], T[2, 1], T[2, 2], T[2, 3]
    n = 0
    for v in range(h):
        for u in range(w):
            q = pixel[v, u]
            if q < 0 or mask[q] == 0:
                continue
            x = rays_x[0, u] if separable else rays_x[v, u]
            y = rays_y[v, 0] if separable else rays_y[v, u]
            z = np.float32(depth[v, u]) * scale
            xyz[3 * n] = (r00 * x + (r01 * y + r02)) * z + t0
            xyz[3 * n + 1] = (r10 * x + (r11 * y + r12)) * z + t1
            xyz[3 * n + 2] = (r20 * x + (r21 * y + r22)) * z + t2
            rgb[3 * n] = color[q, 0]
            rgb[3 * n + 1] = color[q, 1]
            rgb[3 * n + 2] = color[q, 2]
            n += 1
    return n


@njit(**EXACT)
def first_of_voxels(xyz, rgb, n, per_voxel, table, generation):  # type: ignore[no-untyped-def]
    """Keep, in place, only the first of the n points in each voxel. Returns how many are left; -1: table half full."""
    tag = np.uint64(generation) << GENERATION_SHIFT
    slot_mask = np.uint64(len(table) - 1)
    limit = len(table) // 2
    kept = 0
    last = NO_KEY
    for p in range(n):
        i = np.int64(np.floor(xyz[3 * p] * per_voxel)) & KEY_MASK
        j = np.int64(np.floor(xyz[3 * p + 1] * per_voxel)) & KEY_MASK
        k = np.int64(np.floor(xyz[3 * p + 2] * per_voxel)) & KEY_MASK
        key = (i << (2 * KEY_BITS)) | (j << KEY_BITS) | k
        if key == last or not _first_in_voxel(key, table, tag, slot_mask):
            last = key
            continue
        last = key
        if kept + 1 >= limit:
            return -1
        for c in range(3):
            xyz[3 * kept + c] = xyz[3 * p + c]
            rgb[3 * kept + c] = rgb[3 * p + c]
        kept += 1
    return kept
