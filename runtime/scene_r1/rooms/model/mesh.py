"""Triangle meshes with normals, texture coordinates and materials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1.rooms.model.material import Material


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
        if yaw == 0.0:
            return replace(self, vertices=self.vertices + np.asarray(offset))
        c, s = round(np.cos(yaw), 15), round(np.sin(yaw), 15)  # quarter turns stay exact
        r = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return replace(self, vertices=self.vertices @ r.T + np.asarray(offset), normals=self.normals @ r.T)

    def turned(self, axis: int) -> Mesh:
        """A quarter turn about x (0) or y (1), texture coordinates with it."""
        r = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]] if axis == 0 else [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
        return replace(self, vertices=self.vertices @ r.T, normals=self.normals @ r.T, texture=self.texture @ r.T)

    def tilted(self, axis: int, angle: float) -> Mesh:
        """Turned by `angle` radians about x (0) or y (1) through the origin. Texture coordinates stay."""
        c, s = np.cos(angle), np.sin(angle)
        r = np.array([[1, 0, 0], [0, c, -s], [0, s, c]] if axis == 0 else [[c, 0, s], [0, 1, 0], [-s, 0, c]], float)
        return replace(self, vertices=self.vertices @ r.T, normals=self.normals @ r.T)

    def scaled(self, factor: float) -> Mesh:
        """As many times as large about the origin, its pattern too."""
        return replace(self, vertices=factor * self.vertices)

    def on_floor(self) -> Mesh:
        """Lifted or lowered until its lowest vertex is at z = 0."""
        return self.moved((0.0, 0.0, -float(self.vertices[:, 2].min())))

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
