"""The patterns of surfaces: how much of a material's second colour a point shows, and how bright it is."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from scene_r1.rooms.model.material import PATTERNS

(
    PLAIN, PLANKS, WALL, WOOD, STRIPES, CHECKS, DOTS, PICTURE, SKY, LEAVES, PAGES, SPINES, GLOW, HERRINGBONE, TILES,
    BRICK, WALLPAPER, WEAVE, MARBLE, ZIGZAG, PLAID, RUG, STRIPED_RUG, ABSTRACT,
) = range(len(PATTERNS))  # fmt: skip
SKIRTING = 2.0
"""A mix of this size is a skirting board: white, whatever the paint."""
SKIRTING_M = 0.09


@njit(cache=True, nogil=True, inline="always")
def _hash(x: int, y: int, z: int) -> float:
    h = (x * 374761393 + y * 668265263 + z * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@njit(cache=True, nogil=True)
def _noise(x: float, y: float, z: float) -> float:
    """Value noise in 0..1 with cells of size 1."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(i), int(j), int(k)
    low = (_hash(i, j, k) * (1 - u) + _hash(i + 1, j, k) * u) * (1 - v)
    low += (_hash(i, j + 1, k) * (1 - u) + _hash(i + 1, j + 1, k) * u) * v
    high = (_hash(i, j, k + 1) * (1 - u) + _hash(i + 1, j, k + 1) * u) * (1 - v)
    high += (_hash(i, j + 1, k + 1) * (1 - u) + _hash(i + 1, j + 1, k + 1) * u) * v
    return low * (1 - w) + high * w


@njit(cache=True, nogil=True)
def pattern(m: Any, x: float, y: float, z: float, footprint: float) -> tuple[float, float]:
    """(mix, tone) of a material at texture point x, y, z: how much of its second colour, and a factor on both.

    m: the material's row. footprint: metres a pixel covers there; detail finer than that fades, or it would crawl as
    the camera moves.
    """
    kind = int(m[0])
    if kind in (PLANKS, HERRINGBONE, TILES, RUG, STRIPED_RUG):
        return _floor(m, x, y, footprint)
    if kind in (WALL, BRICK, WALLPAPER):
        return _wall(m, x + y, z, footprint)
    if kind in (PICTURE, ABSTRACT, SKY):
        return _view(m, x, z)
    return _thing(m, x, y, z, footprint)


@njit(cache=True, nogil=True)
def _floor(m: Any, x: float, y: float, footprint: float) -> tuple[float, float]:
    kind, scale = int(m[0]), m[7]
    joint = max(0.0015, 0.6 * footprint)
    if kind == PLANKS:
        row = math.floor(y / scale)
        shifted = x + 7.31 * _hash(int(row), 17, 3)
        board = math.floor(shifted / 1.1)
        seam = min(y - row * scale, (row + 1) * scale - y)
        seam = min(seam, min(shifted - board * 1.1, (board + 1) * 1.1 - shifted))
        tone = 0.8 + 0.35 * _hash(int(row), int(board), 5)
        tone *= 0.9 + 0.2 * _noise(shifted * 2.5, y * 45.0, 0.7 * row)
        return 0.0, tone * (1.0 - 0.6 * 0.0015 / joint) if seam < joint else tone
    if kind == HERRINGBONE:  # boards five times as long as wide; a cell's place on a diagonal says which way it lies
        i, j = math.floor(x / scale), math.floor(y / scale)
        u, v = x / scale - i, y / scale - j
        d = int(i - j) % 10
        if d < 5:
            across, along, ends = v, (d + u) * scale, min(d + u, 5.0 - d - u)
            tone = 0.78 + 0.4 * _hash(int(i) - d, int(j), 5)
        else:
            across, along, ends = u, (9 - d + v) * scale, min(9.0 - d + v, d - 4.0 - v)
            tone = 0.78 + 0.4 * _hash(int(i), int(j) - 9 + d, 6)
        tone *= 0.92 + 0.16 * _noise(along * 6.0, across * 5.0, tone * 40.0)
        seam = scale * min(min(across, 1.0 - across), ends)
        return 0.0, tone * (1.0 - 0.6 * 0.0015 / joint) if seam < joint else tone
    if kind == TILES:
        i, j = math.floor(x / scale), math.floor(y / scale)
        seam = min(min(x - i * scale, (i + 1) * scale - x), min(y - j * scale, (j + 1) * scale - y))
        tone = 0.93 + 0.1 * _hash(int(i), int(j), 9) + 0.05 * _noise(x * 9.0, y * 9.0, 0.0)
        return min(1.0, 0.003 / joint) if seam < max(0.003, joint) else 0.0, tone
    nap = 0.9 + 0.2 * _noise(x * 240.0, y * 240.0, 0.0) if footprint < 0.006 else 1.0
    edge = min(min(x - m[9], m[11] - x), min(y - m[10], m[12] - y))
    if kind == STRIPED_RUG:
        band = (x - m[9]) / scale
        band -= math.floor(band)
        return 1.0 if 0.55 < band < 0.8 or 0.88 < band < 0.93 else 0.0, nap
    if 0.05 < edge < 0.09 or 0.12 < edge < 0.135:
        return 1.0, nap
    if edge > 0.2:
        u, v = x / scale, y / scale
        u, v = abs(u - math.floor(u) - 0.5), abs(v - math.floor(v) - 0.5)
        return 1.0 if 0.3 < u + v < 0.4 or u + v < 0.12 else 0.0, nap
    return 0.0, nap


@njit(cache=True, nogil=True)
def _wall(m: Any, along: float, z: float, footprint: float) -> tuple[float, float]:
    kind, scale = int(m[0]), m[7]
    if z < SKIRTING_M:
        return SKIRTING, 0.7 if z > SKIRTING_M - 0.006 else 1.0
    tone = 0.95 + 0.02 * z + 0.03 * _noise(along * 1.7, 0.3, z * 1.7)
    if footprint < 0.004:
        tone *= 0.985 + 0.03 * _noise(along * 180.0, 0.0, z * 180.0)
    if kind == BRICK:
        row = math.floor(z / 0.075)
        shifted = along + (0.12 if int(row) & 1 else 0.0)
        stone = math.floor(shifted / 0.24)
        seam = min(
            min(z - row * 0.075, (row + 1) * 0.075 - z), min(shifted - stone * 0.24, (stone + 1) * 0.24 - shifted)
        )
        tone *= 0.86 + 0.26 * _hash(int(row), int(stone), 4)
        if footprint < 0.006:
            tone *= 0.9 + 0.2 * _noise(along * 70.0, 0.0, z * 70.0)
        joint = max(0.005, 0.6 * footprint)
        return 0.005 / joint if seam < joint else 0.0, tone
    if kind == WALLPAPER:
        u = along / scale
        column = math.floor(u)
        mix = 0.35 if int(column) & 1 else 0.0
        w = (u - column - 0.5) * scale
        v = z / (1.3 * scale) + 0.5 * (int(column) & 1)
        v = (v - math.floor(v) - 0.5) * 1.3 * scale
        r, turn = math.sqrt(w * w + v * v), math.atan2(v, w)
        if r < scale * (0.17 + 0.09 * math.cos(5.0 * turn)):
            mix = 0.15 if r < 0.05 * scale else 0.9
        return mix, tone
    return 0.0, tone


@njit(cache=True, nogil=True)
def _view(m: Any, x: float, z: float) -> tuple[float, float]:
    u, v = (x - m[9]) / (m[11] - m[9]), (z - m[10]) / (m[12] - m[10])
    if int(m[0]) == SKY:
        skyline = 0.22 + 0.05 * math.sin(9.0 * x) + 0.03 * math.sin(31.0 * x)
        return 1.0 - 0.8 * v, 1.0 if v > skyline else 0.42
    wide, tall = m[11] - m[9], m[12] - m[10]
    if int(m[0]) == ABSTRACT:
        for k in range(5):
            du, dv = (u - _hash(k, 1, 7)) * wide, (v - _hash(k, 2, 7)) * tall
            r = (0.1 + 0.16 * _hash(k, 3, 7)) * tall
            if du * du + dv * dv < r * r:
                return _hash(k, 4, 7), 0.7 + 0.6 * _hash(k, 5, 7)
        return 0.0 if u + 0.4 * v < 0.7 else 0.6, 1.0
    far = 0.42 + 0.12 * math.sin(5.0 * u + 1.0) + 0.05 * math.sin(13.0 * u)
    near = 0.24 + 0.1 * math.sin(4.0 * u + 4.0) + 0.03 * math.sin(17.0 * u)
    if v < near:
        return 1.0, 0.6 + 0.4 * _noise(u * 30, v * 30, 0.0)
    if v < far:
        return 0.65, 0.8
    if (u - 0.7) ** 2 * wide**2 + (v - 0.78) ** 2 * tall**2 < 0.0025:
        return 0.0, 2.6
    return 0.0, 0.75 + 0.7 * v


@njit(cache=True, nogil=True)
def _thing(m: Any, x: float, y: float, z: float, footprint: float) -> tuple[float, float]:
    kind, scale = int(m[0]), m[7]
    fine = footprint < 0.25 * scale
    mix, tone = 0.0, 1.0
    if kind == PLAIN:
        tone = 0.97 + 0.06 * _noise(x / scale, y / scale, z / scale)
    elif kind == WOOD:
        bend = 0.35 * _noise(x * 1.5, y * 3.0, z * 3.0)
        rings = math.sin(70.0 * (y + z) + 14.0 * bend + 3.0 * x)
        mix = 0.38 + 0.15 * rings * (1.0 if footprint < 0.015 else 0.3)
        tone = 0.92 + 0.16 * _noise(x * 6.0, y * 90.0, z * 90.0)
        if footprint < 0.002:
            tone *= 0.95 + 0.1 * _noise(x * 14.0, y * 420.0, z * 420.0)
    elif kind == STRIPES:
        mix = 1.0 if (z / scale - math.floor(z / scale)) > 0.7 else 0.0
    elif kind == CHECKS:
        mix = float((math.floor(x / scale) + math.floor(y / scale)) & 1)
    elif kind == DOTS:
        u, v = (x + y) / scale, z / scale
        u += 0.5 * (math.floor(v) & 1)
        u, v = u - math.floor(u) - 0.5, v - math.floor(v) - 0.5
        mix = 1.0 if u * u + v * v < 0.06 else 0.0
    elif kind == LEAVES:
        mix = _noise(x / scale * 1.5, y / scale * 1.5, z / scale * 1.5)
        tone = 0.45 + 0.9 * _noise(x / scale * 4, y / scale * 4, z / scale * 4)
    elif kind == PAGES:
        tone = 0.85 + 0.15 * math.sin(z * 2600.0) if footprint < 0.0015 else 0.87
    elif kind == SPINES:
        which = math.floor(x / scale)
        mix = _hash(int(which), 1, 1)
        tone = 0.55 + 0.7 * _hash(int(which), 2, 1)
        place = x / scale - which
        if place < 0.06 or place > 0.94:
            tone *= 0.45
        if 0.72 < (z * 3.1 + _hash(int(which), 3, 1)) % 1.0 < 0.8:
            tone *= 1.5
    elif kind == WEAVE:
        # Strands go over and under each other: the height of a chequered egg-box, dark where it is low.
        u, v = (x + y) / scale, (z + 0.37 * (x - y)) / scale
        if fine:
            tone = 0.86 + 0.22 * math.sin(math.pi * u) * math.sin(math.pi * v)
        tone *= 0.96 + 0.08 * _noise(x * 30.0, y * 30.0, z * 30.0)
    elif kind == MARBLE:
        bend = _noise(x * 5.0, y * 5.0, z * 5.0) + 0.5 * _noise(x * 13.0, y * 13.0, z * 13.0)
        vein = abs(math.sin((x + 0.6 * y + 0.3 * z) / scale + 7.0 * bend))
        mix = max(0.0, 1.0 - 7.0 * vein) * 0.8 + 0.12 * bend
    elif kind == ZIGZAG:
        around = math.atan2(y, x) * 5.0 / math.pi
        v = z / scale + 0.35 * abs(around - 2.0 * math.floor(0.5 * around) - 1.0)
        mix = 1.0 if v - math.floor(v) > 0.72 else 0.0
    elif kind == PLAID:
        u, v = x / scale, (y + z) / scale
        u, v = u - math.floor(u), v - math.floor(v)
        mix = (0.45 if u > 0.8 else 0.0) + (0.45 if v > 0.8 else 0.0)
    return mix, tone
