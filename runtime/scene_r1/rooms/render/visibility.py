"""How much of each object a walk has seen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.rooms.model.room import Room, RoomObject
from scene_r1.rooms.render.render import stage_of
from scene_r1.rooms.render.stage import OFF_SURFACE_M, Stage
from scene_r1_engines.intrinsics import Intrinsics

POINTS = 500
"""Sample points on each object: a share of 60 % is then known to about 2 %."""
EXPOSED_M = 0.25
"""A surface point from which nothing is free this far cannot be seen: the underside, the ends of slats, ..."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """What a walk saw of one object.

    fraction: share (0..1) of the surface that can be seen at all and was seen in at least one frame. nearest_m: from
    the camera to the middle of its box in the nearest frame that saw a tenth of it; inf when none did.
    """

    id: int
    fraction: float
    nearest_m: float


def visibility(
    room: Room,
    poses: Iterable[NDArray[np.float64]],
    cameras: tuple[Intrinsics, Intrinsics, NDArray[np.float64]],
) -> tuple[Visibility, ...]:
    """Of each object in the order of their ids. A point is seen when it lies in both images and nothing stands
    between it and the colour camera.

    poses: (4, 4) T_world_camera each. cameras: color_intrinsics, depth_intrinsics, T_color_depth.
    Raises MissingExtra without a ray caster.
    """
    scene = stage_of(room)
    samples = [_exposed(thing, scene) for thing in room.objects]
    owner = np.repeat(np.arange(len(samples)), [len(s) for s in samples])
    points = np.concatenate(samples)
    count = np.maximum(np.bincount(owner, minlength=len(samples)), 1)
    seen = np.zeros(len(points), np.bool_)
    nearest = np.full(len(samples), math.inf)
    centers = np.array([thing.box.center for thing in room.objects])
    for T in poses:
        now = _seen(points, T, cameras, scene)
        seen |= now
        well = np.bincount(owner[now], minlength=len(samples)) >= 0.1 * count
        nearest = np.where(well, np.minimum(nearest, np.linalg.norm(centers - T[:3, 3], axis=1)), nearest)
    share = np.bincount(owner[seen], minlength=len(samples)) / count
    return tuple(Visibility(thing.id, float(share[i]), float(nearest[i])) for i, thing in enumerate(room.objects))


def _exposed(thing: RoomObject, scene: Stage) -> NDArray[np.float64]:
    """Points (N, 3) spread evenly over the surface, a hair outside it, without those that nobody can see."""
    rng = np.random.default_rng(thing.id)
    mesh, areas = thing.mesh, thing.mesh.areas()
    face = rng.choice(len(areas), POINTS, p=areas / areas.sum())
    a, b = rng.random((2, POINTS))
    fold = a + b > 1.0
    a, b = np.where(fold, 1.0 - a, a), np.where(fold, 1.0 - b, b)
    corners = mesh.vertices[mesh.faces[face]]
    normals = mesh.normals[mesh.faces[face]].mean(axis=1)
    on = corners[:, 0] + a[:, None] * (corners[:, 1] - corners[:, 0]) + b[:, None] * (corners[:, 2] - corners[:, 0])
    points = on + OFF_SURFACE_M * normals
    i = np.arange(48) + 0.5
    z, turn = 1.0 - 2.0 * i / 48, math.pi * (1.0 + math.sqrt(5.0)) * i
    free = np.zeros(POINTS, np.bool_)
    for direction in np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], axis=1):
        use = np.flatnonzero(~free & (normals @ direction > 0.1) & (points[:, 2] > 0.0))
        to = np.broadcast_to(direction * EXPOSED_M, (len(use), 3)).astype(np.float32)
        free[use] |= ~scene.caster.blocked(points[use].astype(np.float32), np.ascontiguousarray(to), _ones(len(use)))
    return np.asarray(points[free])


def _seen(
    points: NDArray[np.float64],
    T_world_camera: NDArray[np.float64],
    cameras: tuple[Intrinsics, Intrinsics, NDArray[np.float64]],
    scene: Stage,
) -> NDArray[np.bool_]:
    color, depth, T_color_depth = cameras
    out = np.zeros(len(points), np.bool_)
    in_color = pose.apply(pose.inverse(T_world_camera), points)
    inside = _in_image(in_color, color) & _in_image(pose.apply(pose.inverse(T_color_depth), in_color), depth)
    use = np.flatnonzero(inside)
    to = (T_world_camera[:3, 3] - points[use]).astype(np.float32)
    out[use] = ~scene.caster.blocked(points[use].astype(np.float32), to, _ones(len(use)))
    return out


def _in_image(points: NDArray[np.float64], intrinsics: Intrinsics) -> NDArray[np.bool_]:
    uv = intrinsics.project(points)
    with np.errstate(invalid="ignore"):
        inside = np.all((uv > -0.5) & (uv < (intrinsics.width - 0.5, intrinsics.height - 0.5)), axis=1)
    return np.asarray(inside)


def _ones(n: int) -> NDArray[np.float32]:
    return np.ones(n, np.float32)
