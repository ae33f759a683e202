"""A room made ready for the ray caster: one mesh of everything, and the light that falls on each vertex."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.model.mesh import join
from scene_r1.rooms.model.room import BACKGROUND, Lamp, Room, Window
from scene_r1.rooms.render.raycast import RayCaster, ray_caster
from scene_r1.rooms.render.shade import sun_on

AMBIENT_REACH_M = 0.9
"""Corners and undersides darken where something stands within this distance."""
OFF_SURFACE_M = 1e-3
LAMP_SPREAD_M = 0.7
"""Light falls off with r^2 + this^2: no lamp is a point, and what is close to one would outshine the room."""
SUN_RADIUS = 0.006
"""Of the sun's disc, radians; somewhat more than the real 0.0047, for the haze around it."""
THROWN_BACK = 1.9
"""What six flat sides throw back, times this, leaves walls about as bright beside a floor as in photographs."""
GREY = 0.5
"""Share of what is thrown back that has lost the paint's tint: between white ceiling and white balance."""
SIDES = np.concatenate([np.eye(3), -np.eye(3)])
"""The six directions that a room's surfaces face, (6, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What the kernels read, all but the light.

    vertices, normals: (V, 3) float64, metres and unit, world. texture: (V, 3) float32. faces: (F, 3) int32.
    instance: (F,) int16. material: (F,) int32, row of `materials` (M, 13) float32.
    sun: (20,) float64: window centre, along, inward, direction to the sun, half width, half height, then linear RGB of
    sunlight and of the sky. lamps: (L, 6) float64: where each is, and linear RGB of its light.
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
    lamps: NDArray[np.float64]
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
    sun = np.array([*w.center, *w.along, *w.inward, *w.to_sun, *w.half, *w.sun_light, *w.sky_light])
    lamps = np.array([[*lamp.at, *lamp.light] for lamp in room.lamps]).reshape(-1, 6)
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
        lamps,
        caster,
    )


def baked_light(scene: Stage) -> NDArray[np.float32]:
    """The soft light on each vertex, (V, 3) float32, linear RGB: all but the sun's own.

    Lamps and sky come with soft shadows; what walls, floor and ceiling throw back of them and of the sun comes from
    six sides (an ambient cube), darkened where something is near. About 10 million rays, once for each room: a frame
    then pays nothing for them.
    """
    room, normals, caster = scene.room, scene.normals, scene.caster
    at = scene.vertices + OFF_SURFACE_M * normals
    out = np.zeros((len(at), 3))
    for lamp in room.lamps:
        points, facing = _lamp_points(lamp)
        out += _from_area(at, normals, points, facing, LAMP_SPREAD_M, caster)[:, None] * np.array(lamp.light)
    window = room.window
    points, inward = _window_points(window)
    pane = 4.0 * window.half[0] * window.half[1]
    out += pane * _from_area(at, normals, points, inward, 0.1, caster)[:, None] * np.array(window.sky_light)
    sunny = np.zeros(len(at))
    if max(window.sun_light) > 0.0:
        sun_on(scene.vertices, normals, scene.sun, sunny)
        lit = np.flatnonzero(sunny)
        sunny[lit] *= unhidden_sun(scene, scene.vertices[lit], normals[lit])
    thrown_back = _sides(scene, out + sunny[:, None] * np.array(window.sun_light))
    out += THROWN_BACK * _ambient(at, normals, thrown_back, caster)
    return out.astype(np.float32)


def unhidden_sun(scene: Stage, points: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share (0..1) of the sun's disc that no thing hides from points on surfaces, (N,); three rays each.

    The wall with the window does not count: what its pane lets through is the kernels' affair.
    """
    window = scene.room.window
    sun, inward = np.asarray(window.to_sun), np.asarray(window.inward)
    at = points + OFF_SURFACE_M * normals
    across = np.cross(sun, (0.0, 0.0, 1.0))
    up = np.cross(across, sun)
    seen = np.zeros(len(at))
    for turn in (0.0, 2.0 * math.pi / 3, 4.0 * math.pi / 3):
        ray = sun + SUN_RADIUS * (math.cos(turn) * across + math.sin(turn) * up)
        reach = (at - np.asarray(window.center)) @ inward / -(ray @ inward) - 0.05
        near = reach > 0.05
        free = ~_blocked(scene.caster, at[near], np.broadcast_to(ray, at[near].shape), reach[near])
        seen[near] += free / 3.0
    return seen


def _sides(scene: Stage, light: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the surfaces that face each of SIDES throw back of the light (V, 3) on them, and of each other's.

    Returns (6, 3) float64, linear RGB.
    """
    a, b, c = (scene.vertices[scene.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    facing = scene.normals[scene.faces].mean(axis=1)
    paint = scene.materials[scene.material][:, 1:4].astype(np.float64)
    on_face = light[scene.faces].mean(axis=1)
    albedo, back = np.empty((6, 3)), np.empty((6, 3))
    for i, side in enumerate(SIDES):
        weight = np.where(facing @ side > 0.95, area, 0.0)
        weight /= weight.sum()
        tint, level = weight @ paint, weight @ (paint * on_face)
        albedo[i], back[i] = _greyed(tint), _greyed(level)
    once = back
    for _ in range(4):  # light goes on between the sides; each time a good half of it is swallowed
        back = once + albedo * back.mean(axis=0)
    return back


def _greyed(color: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((1.0 - GREY) * color + GREY * color.max())


def _ambient(
    at: NDArray[np.float64],
    normals: NDArray[np.float64],
    sides: NDArray[np.float64],
    caster: RayCaster,
    directions: int = 72,
) -> NDArray[np.float64]:
    """Light thrown back by a room's sides, (V, 3), over one fixed set of directions: the same for all vertices, so
    that it has no grain."""
    i = np.arange(directions) + 0.5
    z, turn = 1.0 - 2.0 * i / directions, math.pi * (1.0 + math.sqrt(5.0)) * i
    sphere = np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], axis=1)
    light, weight = np.zeros((len(at), 3)), np.zeros(len(at))
    for direction in sphere:
        cos = normals @ direction
        use = np.flatnonzero(cos > 0.08)
        reach = np.full(len(use), AMBIENT_REACH_M)
        free = ~_blocked(caster, at[use], np.broadcast_to(direction, (len(use), 3)), reach)
        # What lies in a direction faces the other way; the squares of a unit vector's parts add up to one.
        color = np.maximum(-SIDES @ direction, 0.0) ** 2 @ sides
        # What is hidden is not black: it sees a lit surface close by.
        light[use] += (cos[use] * (0.25 + 0.75 * free))[:, None] * color
        weight[use] += cos[use]
    return np.asarray(light / np.maximum(weight, 1e-9)[:, None])


def _from_area(
    at: NDArray[np.float64],
    normals: NDArray[np.float64],
    points: NDArray[np.float64],
    facing: NDArray[np.float64] | None,
    spread_m: float,
    caster: RayCaster,
) -> NDArray[np.float64]:
    """Mean of cos cos' / (pi (r^2 + spread^2)) over sample points of a lamp, where they are seen.

    cos' = 1 for a lamp that faces everywhere (facing None).
    """
    out = np.zeros(len(at))
    for point in points:
        to = point - at
        r2 = np.einsum("ij,ij->i", to, to) + 1e-9
        r = np.sqrt(r2)
        cos = np.einsum("ij,ij->i", to, normals) / r
        cos_lamp = np.ones(len(at)) if facing is None else -(to @ facing) / r
        use = np.flatnonzero((cos > 0.0) & (cos_lamp > 0.0))
        free = ~_blocked(caster, at[use], to[use], np.full(len(use), 0.98))
        out[use] += free * cos[use] * cos_lamp[use] / (math.pi * (r2[use] + spread_m**2))
    return out / len(points)


def _blocked(
    caster: RayCaster, at: NDArray[np.float64], to: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.bool_]:
    f32 = np.float32
    return caster.blocked(np.ascontiguousarray(at, f32), np.ascontiguousarray(to, f32), np.asarray(reach, f32))


def _lamp_points(lamp: Lamp) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Points of a disc that faces down, or of a bulb (a sphere), and which way they face."""
    n = 14 if lamp.faces_down else 10
    i = np.arange(n) + 0.5
    turn = math.pi * (1.0 + math.sqrt(5.0)) * i
    if lamp.faces_down:
        r, z = np.sqrt(i / n), np.zeros(n)
    else:
        z = 1.0 - 2.0 * i / n
        r = np.sqrt(1.0 - z * z)
    points = np.array(lamp.at) + lamp.radius_m * np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)
    return points, np.array([0.0, 0.0, -1.0]) if lamp.faces_down else None


def _window_points(w: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = (g.reshape(-1, 1) for g in np.meshgrid((np.arange(4) - 1.5) / 2.0, (np.arange(3) - 1.0) / 1.5))
    inward = np.array(w.inward)
    # 5 cm in front of the pane: clear of its frame and its bars.
    points = np.array(w.center) + 0.05 * inward + a * w.half[0] * np.array(w.along) + b * w.half[1] * (0.0, 0.0, 1.0)
    return points, inward
