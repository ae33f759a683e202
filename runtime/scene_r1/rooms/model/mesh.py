"""Triangle meshes with normals, texture coordinates and materials, and the few ways in which rooms build them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1.rooms.model.material import Material

CREASE_COS = 0.75
"""Neighbouring bands of a lathe whose normals agree better than this are shaded as one smooth surface."""


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles, each with one material.

    vertices: (V, 3) float64, metres. normals: (V, 3) float64, unit, outwards; vertices are doubled at creases.
    texture: (V, 3) float64, metres in the thing's own frame, so that a pattern moves with its thing.
    faces: (F, 3) int32. face_material: (F,) int32, index into `materials`.
    """

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    texture: NDArray[np.float64]
    faces: NDArray[np.int32]
    face_material: NDArray[np.int32]
    materials: tuple[Material, ...]

    def __post_init__(self) -> None:
        for array in (self.vertices, self.normals, self.texture, self.faces, self.face_material):
            array.flags.writeable = False  # recordings share a room and its light

    def moved(self, offset: ArrayLike = (0.0, 0.0, 0.0), yaw: float = 0.0) -> Mesh:
        """Turned by `yaw` radians about z, then shifted by `offset` metres. Texture coordinates stay."""
        c, s = round(np.cos(yaw), 15), round(np.sin(yaw), 15)  # quarter turns stay exact
        r = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return replace(self, vertices=self.vertices @ r.T + np.asarray(offset), normals=self.normals @ r.T)

    def turned(self, axis: int) -> Mesh:
        """A quarter turn about x (0) or y (1), texture coordinates with it."""
        r = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]] if axis == 0 else [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
        return replace(self, vertices=self.vertices @ r.T, normals=self.normals @ r.T, texture=self.texture @ r.T)

    def areas(self) -> NDArray[np.float64]:
        """(F,) float64, square metres."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return np.asarray(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1))


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    materials: list[Material] = []
    faces, face_material, first = [], [], 0
    for mesh in meshes:
        faces.append(mesh.faces + np.int32(first))
        first += len(mesh.vertices)
        number = []
        for material in mesh.materials:
            if material not in materials:
                materials.append(material)
            number.append(materials.index(material))
        face_material.append(np.array(number, np.int32)[mesh.face_material])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.texture for m in meshes]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(face_material),
        tuple(materials),
    )


def sheet(
    origin: ArrayLike, u: ArrayLike, v: ArrayLike, material: Material, spacing_m: float, texture_origin: ArrayLike = 0.0
) -> Mesh:
    """A parallelogram, its normal along u x v, cut into cells no larger than `spacing_m` (light lives at vertices)."""
    o, eu, ev = (np.asarray(a, dtype=np.float64) for a in (origin, u, v))
    nu = max(1, int(np.ceil(np.linalg.norm(eu) / spacing_m)))
    nv = max(1, int(np.ceil(np.linalg.norm(ev) / spacing_m)))
    a, b = np.meshgrid(np.linspace(0.0, 1.0, nu + 1), np.linspace(0.0, 1.0, nv + 1), indexing="ij")
    vertices = o + a.reshape(-1, 1) * eu + b.reshape(-1, 1) * ev
    normal = np.cross(eu, ev)
    normals = np.broadcast_to(normal / np.linalg.norm(normal), vertices.shape).copy()
    faces = _grid_faces(nu + 1, nv + 1)
    texture = vertices - np.asarray(texture_origin)
    return Mesh(vertices, normals, texture, faces, np.zeros(len(faces), np.int32), (material,))


def box(size: ArrayLike, at: ArrayLike, material: Material, spacing_m: float = 0.06) -> Mesh:
    """A box of `size`, the centre of its bottom face at `at`. Texture coordinates are those of `at`'s frame."""
    s, p = np.asarray(size, dtype=np.float64), np.asarray(at, dtype=np.float64)
    low = p - (s[0] / 2, s[1] / 2, 0.0)
    x, y, z = np.diag(s)
    sides = [(low, y, x), (low + z, x, y), (low, x, z), (low + y, z, x), (low, z, y), (low + x, y, z)]
    return join([sheet(o, u, v, material, spacing_m) for o, u, v in sides])


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


def tube(path: ArrayLike, radius_m: float, material: Material, closed: bool = False, segments: int = 10) -> Mesh:
    """A round tube along a path in the xz plane. path: (K, 3) metres, y = 0. Open ends are not capped."""
    p = np.asarray(path, dtype=np.float64)
    along = np.roll(p, -1, axis=0) - np.roll(p, 1, axis=0) if closed else np.gradient(p, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, (0.0, 1.0, 0.0))
    turn = np.linspace(0.0, 2.0 * np.pi, segments, endpoint=False)
    normals = (np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * (0.0, 1.0, 0.0)).reshape(
        -1, 3
    )
    vertices = np.repeat(p, segments, axis=0) + radius_m * normals
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


def _grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    i = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _ring_faces(rings: int, segments: int, first: int = 0) -> NDArray[np.int32]:
    i = first + np.arange(rings * segments, dtype=np.int32).reshape(rings, segments)
    j = np.roll(i, -1, axis=1)
    a, b, c, d = i[:-1], j[:-1], j[1:], i[1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _revolved(rz: NDArray[np.float64], circle: NDArray[np.float64]) -> NDArray[np.float64]:
    xy = rz[:, None, :1] * circle[None]
    z = np.broadcast_to(rz[:, None, 1:], (*xy.shape[:2], 1))
    return np.concatenate([xy, z], axis=2).reshape(-1, 3)
