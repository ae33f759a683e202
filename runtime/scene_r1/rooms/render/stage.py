"""A room made ready for the ray caster: one mesh of everything, and the light that falls on each vertex."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.model.mesh import join
from scene_r1.rooms.model.room import BACKGROUND, Room
from scene_r1.rooms.render.raycast import RayCaster, ray_caster

LAMP = np.array([1.0, 0.86, 0.68])
SKY = np.array([0.72, 0.86, 1.0])
LAMP_RADIANCE = 26.0
SKY_RADIANCE = 2.6
AMBIENT = 0.42
AMBIENT_REACH_M = 0.9
"""Corners and undersides darken where something stands within this distance."""
OFF_SURFACE_M = 1e-3
ABOVE, BELOW = np.array([1.0, 0.98, 0.95]), np.array([0.72, 0.6, 0.5])
"""Tint of the light that walls and ceiling, and that the floor, throw back."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What the kernels read, all but the light.

    vertices, normals: (V, 3) float64, metres and unit, world. texture: (V, 3) float32. faces: (F, 3) int32.
    instance: (F,) int16. material: (F,) int32, row of `materials` (M, 13) float32.
    sun: (14,) float64: window centre, along, inward, direction to the sun, half width, half height.
    """

    room: Room
    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    texture: NDArray[np.float32]
    faces: NDArray[np.int32]
    instance: NDArray[np.int16]
    material: NDArray[np.int32]
    materials: NDArray[np.float32]
    sun: NDArray[np.float64]
    lamp_at: NDArray[np.float64]
    caster: RayCaster


def stage(room: Room) -> Stage:
    """Join everything in a room. Raises MissingExtra without a ray caster."""
    things = [(BACKGROUND, room.shell)]
    things += [(piece.id, piece.mesh) for piece in (*room.furniture, *room.clutter)]
    things += [(thing.id, thing.mesh) for thing in room.objects]
    mesh = join([m for _, m in things])
    instance = np.concatenate([np.full(len(m.faces), number, np.int16) for number, m in things])
    caster = ray_caster(mesh.vertices, mesh.faces)
    w = room.window
    sun = np.array([*w.center, *w.along, *w.inward, *w.to_sun, *w.half])
    lamp_at = np.array(room.lamp_at)
    return Stage(
        room,
        mesh.vertices,
        mesh.normals,
        mesh.texture.astype(np.float32),
        mesh.faces,
        instance,
        mesh.face_material,
        np.stack([m.row() for m in mesh.materials]),
        sun,
        lamp_at,
        caster,
    )


def baked_light(scene: Stage) -> NDArray[np.float32]:
    """The light on each vertex, (V, 4) float32: linear RGB of all soft light, then 1 where no thing hides the sun.

    About 4 million rays, once for each room: soft shadows then cost a frame nothing.
    """
    room, normals, caster = scene.room, scene.normals, scene.caster
    at = scene.vertices + OFF_SURFACE_M * normals
    out = np.zeros((len(at), 4))
    out[:, :3] = AMBIENT * _ambient(at, normals, caster)
    points, down, cell = _lamp_points(room)
    out[:, :3] += LAMP_RADIANCE * cell * _from_area(at, normals, points, down, caster)[:, None] * LAMP
    points, inward, cell = _window_points(room)
    out[:, :3] += SKY_RADIANCE * cell * _from_area(at, normals, points, inward, caster)[:, None] * SKY
    sun = np.asarray(room.window.to_sun)
    facing = normals @ sun > 0.0
    seen = np.zeros(len(at))
    # The wall with the window does not count: whether the pane lets the sun through is asked for each pixel.
    inward = np.asarray(room.window.inward)
    reach = (at - np.asarray(room.window.center)) @ inward / -(sun @ inward)
    inside = facing & (reach > 0.1)
    seen[inside] = ~_blocked(caster, at[inside], np.broadcast_to(sun, at[inside].shape), reach[inside] - 0.05)
    out[:, 3] = seen
    return out.astype(np.float32)


def _ambient(
    at: NDArray[np.float64], normals: NDArray[np.float64], caster: RayCaster, directions: int = 72
) -> NDArray[np.float64]:
    """Ambient occlusion over one fixed set of directions: the same for all vertices, so that it has no grain."""
    i = np.arange(directions) + 0.5
    z, turn = 1.0 - 2.0 * i / directions, math.pi * (1.0 + math.sqrt(5.0)) * i
    sphere = np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], axis=1)
    open_light, weight = np.zeros((len(at), 3)), np.zeros(len(at))
    for direction in sphere:
        cos = normals @ direction
        use = np.flatnonzero(cos > 0.08)
        reach = np.full(len(use), AMBIENT_REACH_M)
        free = ~_blocked(caster, at[use], np.broadcast_to(direction, (len(use), 3)), reach)
        up = 0.5 + 0.5 * direction[2]
        # What is hidden is not black: it sees a lit surface close by.
        open_light[use] += (cos[use] * (0.25 + 0.75 * free))[:, None] * (ABOVE * up + BELOW * (1.0 - up))
        weight[use] += cos[use]
    return np.asarray(open_light / np.maximum(weight, 1e-9)[:, None])


def _from_area(
    at: NDArray[np.float64],
    normals: NDArray[np.float64],
    points: NDArray[np.float64],
    facing: NDArray[np.float64],
    caster: RayCaster,
) -> NDArray[np.float64]:
    """Sum of cos cos' / (pi r^2) over sample points of a lamp that faces one way, where they are seen."""
    out = np.zeros(len(at))
    for point in points:
        to = point - at
        r2 = np.maximum(np.einsum("ij,ij->i", to, to), 0.01)
        cos, cos_lamp = np.einsum("ij,ij->i", to, normals), -(to @ facing)
        use = np.flatnonzero((cos > 0.0) & (cos_lamp > 0.0))
        free = ~_blocked(caster, at[use], to[use], np.full(len(use), 0.98))
        out[use] += free * cos[use] * cos_lamp[use] / (math.pi * r2[use] ** 2)
    return out


def _blocked(
    caster: RayCaster, at: NDArray[np.float64], to: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.bool_]:
    f32 = np.float32
    return caster.blocked(np.ascontiguousarray(at, f32), np.ascontiguousarray(to, f32), np.asarray(reach, f32))


def _lamp_points(room: Room) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    i = np.arange(14) + 0.5
    r, turn = 0.24 * np.sqrt(i / 14), math.pi * (1.0 + math.sqrt(5.0)) * i
    points = np.array(room.lamp_at) + np.stack([r * np.cos(turn), r * np.sin(turn), np.full(14, -0.003)], axis=1)
    return points, np.array([0.0, 0.0, -1.0]), math.pi * 0.24**2 / 14


def _window_points(room: Room) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    w = room.window
    a, b = (g.reshape(-1, 1) for g in np.meshgrid((np.arange(4) - 1.5) / 2.0, (np.arange(3) - 1.0) / 1.5))
    inward = np.array(w.inward)
    # 5 cm in front of the pane: clear of its frame and its bars.
    points = np.array(w.center) + 0.05 * inward + a * w.half[0] * np.array(w.along) + b * w.half[1] * (0.0, 0.0, 1.0)
    return points, inward, 4.0 * w.half[0] * w.half[1] / 12
