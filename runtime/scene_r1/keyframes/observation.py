"""What one frame sees: the 10 cm voxels of its surfaces, and how well it sees each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.backproject.projector import RayTables
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.jit import JIT
from scene_r1.voxels import find_slot, voxel_hash, voxel_key
from scene_r1_engines.errors import BadConfig

FULL = 1 << 14
"""q = 1 in the fixed-point numbers that the selection counts in: whole numbers make gains exact."""

SUMS = 8
"""Sums kept for a voxel: normal x, y, z; point x, y, z; range and margin weight; hits."""


@dataclass(frozen=True, slots=True)
class ObservationSettings:
    """How a frame is turned into voxels. The weights are those of DESIGN's objective: range x incidence x margin.

    voxel_m: side of a voxel. samples: depth pixels looked at along the width (the stride follows from it).
    full_range_m: between these a surface counts fully; near_m and far_m: beyond these not at all, linear between. A
    thing seen from 1.5 m has four times the pixels that it has from 3 m, and a quarter of the depth's noise.
    margin: share of the image's side over which the weight climbs from `margin_floor` at the border to 1.
    min_hits: samples that must fall into a voxel before it counts (depth noise alone fills voxels with one).
    """

    voxel_m: float = 0.10
    samples: int = 96
    near_m: float = 0.25
    full_range_m: tuple[float, float] = (0.5, 1.5)
    far_m: float = 5.0
    margin: float = 0.08
    margin_floor: float = 0.5
    min_hits: int = 2
    edge_ratio: float = 0.10

    def __post_init__(self) -> None:
        near, full, far = self.near_m, self.full_range_m, self.far_m
        if not (0.0 < near <= full[0] < full[1] <= far and math.isfinite(far)):
            raise BadConfig(f"ranges must grow: 0 < near_m <= full_range_m <= far_m, got {near}, {full}, {far}")
        if not (0.01 <= self.voxel_m <= 1.0):
            raise BadConfig(f"voxel_m must be in 0.01..1, got {self.voxel_m}")
        if self.samples < 8 or self.min_hits < 1:
            raise BadConfig(f"samples must be 8 or more and min_hits 1 or more, got {self.samples}, {self.min_hits}")


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """keys: (M,) int64, packed voxel coordinates, each once. q: (M,) uint16, 0 < q <= FULL, how well each is seen."""

    keys: NDArray[np.int64]
    q: NDArray[np.uint16]

    @property
    def weight(self) -> int:
        """Sum of q: what the frame would be worth alone."""
        return int(self.q.sum(dtype=np.int64))


class Observer:
    """Turns frames into observations; buffers are kept. One object for one thread."""

    def __init__(self, settings: ObservationSettings | None = None) -> None:
        self.settings = settings or ObservationSettings()
        self._rays = RayTables()
        self._table = np.zeros(1 << 14, np.int32)
        self._used = np.zeros(0, np.int64)

    def __call__(self, frame: RgbdFrame, quality: float = 1.0) -> Observation:
        """The voxels of one posed frame, each weighted by `quality` in [0, 1]. Raises BadFrame without a pose."""
        s = self.settings
        h, w = frame.depth_raw.shape
        stride = max(1, round(w / s.samples))
        rays_x, rays_y = self._rays.of(frame.depth_intrinsics)
        if not frame.depth_intrinsics.is_pinhole:
            rays_x, rays_y = rays_x[::stride, ::stride], rays_y[::stride, ::stride]
        else:
            rays_x, rays_y = rays_x[:, ::stride], rays_y[::stride]
        rows, columns = -(-h // stride), -(-w // stride)
        slots = 1 << max(10, (2 * rows * columns - 1).bit_length())
        if len(self._table) < slots:
            self._table = np.zeros(slots, np.int32)
        if len(self._used) < rows * columns:
            self._used = np.empty(rows * columns, np.int64)
            self._sums = np.empty((rows * columns, SUMS), np.float32)
            self._q = np.empty(rows * columns, np.float32)
        lowest, highest = DepthRange(s.near_m, s.far_m).counts(frame.depth_scale)
        n = observe(
            frame.depth_raw[::stride, ::stride], rays_x, rays_y, frame.T_world_depth, frame.depth_scale,
            lowest, highest, s.edge_ratio, 1.0 / s.voxel_m, s.near_m, s.full_range_m[0], s.full_range_m[1], s.far_m,
            s.margin, s.margin_floor, s.min_hits, self._table, self._used, self._sums, self._q,
        )  # fmt: skip
        q = (self._q[:n] * np.float32(quality * FULL) + np.float32(0.5)).astype(np.uint16)
        seen = q > 0
        return Observation(self._used[:n][seen], q[seen])


@njit(**JIT)
def observe(  # type: ignore[no-untyped-def]
    depth, rays_x, rays_y, T, scale, lowest, highest, edge_ratio, per_voxel, near, full_near, full_far, far,
    margin, margin_floor, min_hits, table, keys, sums, q,
):  # fmt: skip
    """Voxels of a subsampled depth image (h, w): keys and weights q in [0, 1], filled from the front; their number.

    A sample's normal comes from the samples to the right and below; without both (hole, depth edge) it is dropped. A
    voxel's normal is the sum of its samples': single ones are mostly noise at this spacing, and the best of many
    noisy frames would look ever better. table: (power of two, at least twice the samples) int32, all zero between
    calls: slot -> 1 + index into keys. sums: (samples, SUMS) float32 scratch.
    """
    h, w = depth.shape
    separable = rays_y.shape[1] == 1 and w > 1
    mask = np.int64(len(table) - 1)
    n = 0
    last = 0
    last_key = np.int64(-1)
    for v in range(h - 1):
        border_v = min(v + 0.5, h - 0.5 - v) / h
        for u in range(w - 1):
            c = np.int64(depth[v, u])
            if c < lowest or c > highest:
                continue
            right = np.int64(depth[v, u + 1])
            below = np.int64(depth[v + 1, u])
            limit = edge_ratio * c
            if abs(right - c) > limit or abs(below - c) > limit:
                continue
            if min(right, below) < lowest or max(right, below) > highest:
                continue
            x = rays_x[0, u] if separable else rays_x[v, u]
            y = rays_y[v, 0] if separable else rays_y[v, u]
            xr = rays_x[0, u + 1] if separable else rays_x[v, u + 1]
            yr = y if separable else rays_y[v, u + 1]
            xb = x if separable else rays_x[v + 1, u]
            yb = rays_y[v + 1, 0] if separable else rays_y[v + 1, u]
            if x != x or xr != xr or xb != xb:  # NaN: no ray reaches one of the three pixels
                continue
            z = c * scale
            zr = right * scale
            zb = below * scale
            px, py = x * z, y * z
            ax, ay, az = xr * zr - px, yr * zr - py, zr - z
            bx, by, bz = xb * zb - px, yb * zb - py, zb - z
            weight = 1.0
            if z < full_near:
                weight = max(0.0, (z - near) / (full_near - near))
            elif z > full_far:  # the first and last count may lie a rounding beyond an end
                weight = max(0.0, (far - z) / (far - full_far))
            border = min(border_v, min(u + 0.5, w - 0.5 - u) / w)
            if border < margin:
                weight *= margin_floor + (1.0 - margin_floor) * border / margin
            i = np.int64(math.floor((T[0, 0] * px + T[0, 1] * py + T[0, 2] * z + T[0, 3]) * per_voxel))
            j = np.int64(math.floor((T[1, 0] * px + T[1, 1] * py + T[1, 2] * z + T[1, 3]) * per_voxel))
            k = np.int64(math.floor((T[2, 0] * px + T[2, 1] * py + T[2, 2] * z + T[2, 3]) * per_voxel))
            key = voxel_key(i, j, k)
            if key != last_key:  # neighbours share voxels
                last_key = key
                slot = find_slot(key, keys, table)
                if table[slot] == 0:
                    keys[n] = key
                    sums[n] = 0.0
                    n += 1
                    table[slot] = n
                last = table[slot] - 1
            total = sums[last]
            total[0] += ay * bz - az * by
            total[1] += az * bx - ax * bz
            total[2] += ax * by - ay * bx
            total[3] += px
            total[4] += py
            total[5] += z
            total[6] += weight
            total[7] += 1.0
    for m in range(n - 1, -1, -1):  # leave the table empty; backwards, so that no probe chain is cut before its end
        slot = voxel_hash(keys[m]) & mask
        while table[slot] != m + 1:
            slot = (slot + 1) & mask
        table[slot] = 0
    for m in range(n):
        nx, ny, nz, px, py, pz, weight, hits = sums[m]
        length = math.sqrt((nx * nx + ny * ny + nz * nz) * (px * px + py * py + pz * pz))
        facing = abs(nx * px + ny * py + nz * pz)
        q[m] = min(1.0, max(0.0, weight / hits)) * facing / length if hits >= min_hits and length > 0.0 else 0.0
    return n
