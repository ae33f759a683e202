"""The few ways in which rooms build their meshes: flat sheets, boxes, round edges, lathes, tubes and balls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join

CREASE_COS = 0.75
"""Neighbouring bands of a lathe whose normals agree better than this are shaded as one smooth surface."""


def sheet(origin: ArrayLike, u: ArrayLike, v: ArrayLike, material: Material, spacing_m: float) -> Mesh:
    """A parallelogram, its normal along u x v, cut into cells no larger than `spacing_m` (light lives at vertices)."""
    return _sheets([tuple(np.asarray(a, dtype=np.float64) for a in (origin, u, v))], material, spacing_m)


def _sheets(sides: Sequence[tuple[NDArray[np.float64], ...]], material: Material, spacing_m: float) -> Mesh:
    """Parallelograms (origin, u, v) as one mesh; a room has some two thousand of them."""
    vertices, normals, faces, first = [], [], [], 0
    for o, u, v in sides:
        x, y, z = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
        nu, nv = (max(1, math.ceil(math.sqrt(e @ e) / spacing_m)) for e in (u, v))
        a, b = np.arange(nu + 1) / nu, np.arange(nv + 1) / nv
        grid = (o + a[:, None, None] * u + b[:, None] * v).reshape(-1, 3)
        vertices.append(grid)
        normals.append(np.full_like(grid, (x, y, z)) / math.sqrt(x * x + y * y + z * z))
        faces.append(_grid_faces(nu + 1, nv + 1) + np.int32(first))
        first += len(grid)
    at, all_faces = np.concatenate(vertices), np.concatenate(faces)
    return Mesh(at, np.concatenate(normals), at, all_faces, np.zeros(len(all_faces), np.int32), (material,))


def patchwork(
    outer: tuple[float, float, float, float],
    inner: tuple[float, float, float, float],
    ground: Material,
    patch: Material,
    spacing_m: float,
) -> Mesh:
    """A floor at z = 0 with another material in a rectangle of it, without seams. outer, inner: x0, y0, x1, y1."""

    def line(low: float, start: float, end: float, high: float) -> NDArray[np.float64]:
        cuts = [low, start, end, high]
        runs = [np.linspace(a, b, max(1, int(np.ceil((b - a) / spacing_m))) + 1)[:-1] for a, b in pairwise(cuts)]
        return np.concatenate([*runs, [high]])

    x, y = line(outer[0], inner[0], inner[2], outer[2]), line(outer[1], inner[1], inner[3], outer[3])
    a, b = np.meshgrid(x, y, indexing="ij")
    vertices = np.stack([a.ravel(), b.ravel(), np.zeros(a.size)], axis=1)
    faces = _grid_faces(len(x), len(y))
    middle = vertices[faces].mean(axis=1)
    inside = (
        (middle[:, 0] > inner[0]) & (middle[:, 0] < inner[2]) & (middle[:, 1] > inner[1]) & (middle[:, 1] < inner[3])
    )
    up = np.broadcast_to(np.array([0.0, 0.0, 1.0]), vertices.shape).copy()
    return Mesh(vertices, up, vertices.copy(), faces, inside.astype(np.int32), (ground, patch))


def box(size: ArrayLike, at: ArrayLike, material: Material, spacing_m: float = 0.06) -> Mesh:
    """A box of `size`, the centre of its bottom face at `at`. Texture coordinates are those of `at`'s frame."""
    s, p = np.asarray(size, dtype=np.float64), np.asarray(at, dtype=np.float64)
    low = p - (s[0] / 2, s[1] / 2, 0.0)
    x, y, z = np.diag(s)
    sides = [(low, y, x), (low + z, x, y), (low, x, z), (low + y, z, x), (low, z, y), (low + x, y, z)]
    return _sheets(sides, material, spacing_m)


def rounded(
    size: ArrayLike, at: ArrayLike, material: Material, radius_m: float, spacing_m: float = 0.06, steps: int = 2
) -> Mesh:
    """A box of `size` with round edges, the centre of its bottom face at `at`; its faces stay flat between them.

    radius_m: of the edges, at most half the shortest side is used. steps: bands of each edge up to its middle.
    """
    s, p = np.asarray(size, dtype=np.float64), np.asarray(at, dtype=np.float64)
    r = min(radius_m, 0.499 * float(s.min()))
    low = p - np.array([s[0] / 2, s[1] / 2, 0.0])
    high = low + s
    # Points on the sharp box are drawn onto the round one: towards the nearest point of the box without its rim.
    rim = r * (1.0 - np.tan(np.linspace(np.pi / 4, 0.0, steps + 1)))
    lines = []
    for i in range(3):
        flat = s[i] - 2.0 * r
        inner = np.linspace(r, s[i] - r, max(1, int(np.ceil(flat / spacing_m))) + 1)
        lines.append(low[i] + np.concatenate([rim[:-1], inner, s[i] - rim[-2::-1]]))
    sides = []
    for axis in range(3):
        j, k = (axis + 1) % 3, (axis + 2) % 3
        a, b = np.meshgrid(lines[j], lines[k], indexing="ij")
        for end, facing in ((low[axis], -1.0), (high[axis], 1.0)):
            sharp = np.empty((a.size, 3))
            sharp[:, axis], sharp[:, j], sharp[:, k] = end, a.ravel(), b.ravel()
            core = np.clip(sharp, low + r, high - r)
            normals = sharp - core
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            faces = _grid_faces(len(lines[j]), len(lines[k]))
            vertices = core + r * normals
            sides.append(_mesh(vertices, normals, vertices, faces if facing > 0 else faces[:, ::-1], material))
    return join(sides)


def drape(width_m: float, height_m: float, fold_m: float, material: Material, spacing_m: float = 0.08) -> Mesh:
    """Cloth that hangs in folds `fold_m` wide, its middle at x = 0, its hem at z = 0, its back at y = 0."""
    depth = 0.28 * fold_m
    x = np.linspace(-width_m / 2, width_m / 2, max(3, int(np.ceil(8 * width_m / fold_m))) + 1)
    z = np.linspace(0.0, height_m, max(1, int(np.ceil(height_m / spacing_m))) + 1)
    wave = 2.0 * np.pi / fold_m
    a, b = (g.ravel() for g in np.meshgrid(x, z, indexing="ij"))
    vertices = np.stack([a, -depth - depth * np.sin(wave * a), b], axis=1)
    slope = -depth * wave * np.cos(wave * a)
    normals = np.stack([slope, -np.ones_like(a), np.zeros_like(a)], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return _mesh(vertices, normals, vertices, _grid_faces(len(x), len(z)), material)


def lathe(profile: ArrayLike, material: Material, segments: int = 28, spacing_m: float = 0.04) -> Mesh:
    """A surface of revolution about z.

    profile: (K, 2) radius and height in metres, walked so that the outside lies to the right of the walk: from the
    axis at the bottom outwards, up, and back (an open vessel goes on down its inside to the axis).
    """
    p = np.asarray(profile, dtype=np.float64)
    d = np.diff(p, axis=0)
    across = np.stack([d[:, 1], -d[:, 0]], axis=1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    smooth = np.einsum("ij,ij->i", across[:-1], across[1:]) > CREASE_COS
    turn = np.linspace(0.0, 2.0 * np.pi, segments, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    bands = []
    for i in range(len(d)):
        start, end = across[i].copy(), across[i].copy()
        if i > 0 and smooth[i - 1]:
            start += across[i - 1]
        if i + 1 < len(d) and smooth[i]:
            end += across[i + 1]
        steps = max(1, int(np.ceil(np.linalg.norm(d[i]) / spacing_m)))
        t = np.linspace(0.0, 1.0, steps + 1)[:, None]
        ring = p[i] * (1.0 - t) + p[i + 1] * t
        n = start / np.linalg.norm(start) * (1.0 - t) + end / np.linalg.norm(end) * t
        n /= np.linalg.norm(n, axis=1, keepdims=True)
        vertices = _revolved(ring, circle)
        bands.append(_mesh(vertices, _revolved(n, circle), vertices, _ring_faces(steps + 1, segments), material))
    return join(bands)


def tube(path: ArrayLike, radius_m: ArrayLike, material: Material, closed: bool = False, segments: int = 10) -> Mesh:
    """A round tube along a path in the xz plane. path: (K, 3) metres, y = 0. radius_m: one number, or (K,).

    Open ends are not capped.
    """
    radius = np.broadcast_to(np.asarray(radius_m, dtype=np.float64), len(np.asarray(path)))
    p = np.asarray(path, dtype=np.float64)
    along = np.roll(p, -1, axis=0) - np.roll(p, 1, axis=0) if closed else np.gradient(p, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, (0.0, 1.0, 0.0))
    turn = np.linspace(0.0, 2.0 * np.pi, segments, endpoint=False)
    normals = (np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * (0.0, 1.0, 0.0)).reshape(
        -1, 3
    )
    vertices = np.repeat(p, segments, axis=0) + np.repeat(radius, segments)[:, None] * normals
    faces = _ring_faces(len(p), segments)
    if closed:
        faces = np.concatenate([faces, _ring_faces(2, segments, first=(len(p) - 1) * segments) % len(vertices)])
    return _mesh(vertices, normals, vertices, faces.astype(np.int32), material)


def ball(radii: ArrayLike, at: ArrayLike, material: Material, segments: int = 28) -> Mesh:
    """An ellipsoid standing on `at`."""
    a = np.asarray(radii, dtype=np.float64)
    t = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    profile = np.stack([np.cos(t), np.sin(t)], axis=1)
    profile[[0, -1], 0] = 0.0
    unit = lathe(profile, material, segments, spacing_m=1.0)
    normals = unit.vertices / a
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    vertices = unit.vertices * a + np.asarray(at) + (0.0, 0.0, a[2])
    return replace(unit, vertices=vertices, normals=normals, texture=vertices)


def pillow(size: ArrayLike, at: ArrayLike, material: Material, cells: int = 10) -> Mesh:
    """A cushion lying flat, `size` over its corners and its thickest, its lowest point at `at`."""
    a, b, c = np.asarray(size, dtype=np.float64) / 2.0
    line = np.linspace(-np.pi / 2, np.pi / 2, cells + 1)
    t, f = (g.ravel() for g in np.meshgrid(line, line, indexing="ij"))
    up = np.stack([a * np.sin(t), b * np.sin(f), c * np.cos(t) * np.cos(f)], axis=1)
    # The cross product of the derivatives along t and f; at the four corners, where it vanishes, straight outwards.
    normals = np.stack(
        [b * c * np.sin(t) * np.cos(f) ** 2, a * c * np.cos(t) ** 2 * np.sin(f), a * b * np.cos(t) * np.cos(f)], 1
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    outwards = np.stack([np.sign(t), np.sign(f), 0.0 * t], axis=1) / np.sqrt(2.0)
    normals = np.where(length > 1e-9, normals / np.maximum(length, 1e-9), outwards)
    mirror = np.array([1.0, 1.0, -1.0])
    lift = np.asarray(at) + np.array([0.0, 0.0, c])
    faces = _grid_faces(cells + 1, cells + 1)
    return join(
        [
            _mesh(up + lift, normals, up + lift, faces, material),
            _mesh(up * mirror + lift, normals * mirror, up * mirror + lift, faces[:, ::-1], material),
        ]
    )


def _mesh(
    vertices: NDArray[np.float64],
    normals: NDArray[np.float64],
    texture: NDArray[np.float64],
    faces: NDArray[np.int32],
    material: Material,
) -> Mesh:
    corners = vertices[faces]
    # The tip of a lathe folds its triangles to nothing; a ray caster need not meet those.
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces = faces[area > 1e-12]
    return Mesh(vertices, normals, texture, faces, np.zeros(len(faces), np.int32), (material,))


@lru_cache(maxsize=256)
def _grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    i = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]
    return _read_only(np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]))


@lru_cache(maxsize=256)
def _ring_faces(rings: int, segments: int, first: int = 0) -> NDArray[np.int32]:
    i = first + np.arange(rings * segments, dtype=np.int32).reshape(rings, segments)
    j = np.roll(i, -1, axis=1)
    a, b, c, d = i[:-1], j[:-1], j[1:], i[1:]
    return _read_only(np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]))


def _read_only(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    faces.flags.writeable = False
    return faces


def _revolved(rz: NDArray[np.float64], circle: NDArray[np.float64]) -> NDArray[np.float64]:
    xy = rz[:, None, :1] * circle[None]
    z = np.broadcast_to(rz[:, None, 1:], (*xy.shape[:2], 1))
    return np.concatenate([xy, z], axis=2).reshape(-1, 3)
