"""A hand-made room of coloured blocks and the pictures of it: every place is known without a ray caster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from scene_r1 import pose
from scene_r1.rooms import BACKGROUND, FIRST_FURNITURE, Box, Furniture, Room, RoomObject, Visibility, make_room
from scene_r1.rooms.model.forms import box
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.room import FIRST_CLUTTER
from scene_r1.rooms.questions import SeenWalk
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(150.0, 150.0, 79.5, 59.5, 160, 120)
Block = tuple[str, str, tuple[float, float, float], tuple[float, float, float]]
"""Shape, colour, size and middle of the foot, metres."""
TOP = 0.7
TABLE = (("table", (1.6, 0.9, 0.04), (0.0, 0.0, TOP - 0.04)), ("table", (0.05, 0.05, TOP - 0.04), (0.7, 0.4, 0.0)))


def standing(*blocks: Block, clutter: Sequence[str] = (), frames: int = 6, fraction: float = 1.0) -> SeenWalk:
    """A table, blocks on it or on the floor, and a camera that looks from the front, one second a frame."""
    plain = Material("plain", (120, 120, 120))
    things = []
    for i, (shape, color, size, foot) in enumerate(blocks):
        mesh = box(size, foot, plain)
        support = FIRST_FURNITURE if foot[2] == TOP else BACKGROUND
        things.append(RoomObject(i, shape, color, mesh, Box.around(mesh.vertices), support))
    parts = [box(size, foot, plain) for _, size, foot in TABLE]
    boxes = tuple(Box.around(part.vertices) for part in parts)
    around = Box.around(np.concatenate([part.vertices for part in parts]))
    table = Furniture(FIRST_FURNITURE, "table", parts[0], around, boxes)
    odd = box((0.1, 0.1, 0.1), (-1.8, 1.5, 0.0), plain)
    others = tuple(
        Furniture(FIRST_CLUTTER + i, name, odd, Box.around(odd.vertices), ()) for i, name in enumerate(clutter)
    )
    empty = replace(_some_room(), size_m=(4.0, 4.0, 2.5), lamp_at=(0.0, 0.0, 2.4))
    room = replace(empty, furniture=(table,), objects=tuple(things), clutter=others)
    forward = np.array([0.0, np.cos(0.35), -np.sin(0.35)])
    T = np.eye(4)
    T[:3, 0], T[:3, 2] = (1.0, 0.0, 0.0), forward
    T[:3, 1] = np.cross(forward, T[:3, 0])
    T[:3, 3] = (0.0, -1.9, 1.3)
    picture = _picture(room, T)
    seen = tuple(Visibility(thing.id, fraction, 1.5) for thing in things)
    return SeenWalk(room, CAMERA, np.stack([T] * frames), np.arange(frames) * 1.0, [picture] * frames, seen)


@cache
def _some_room() -> Room:
    """For what a room has besides things."""
    return make_room(3)


def _picture(room: Room, T: np.ndarray) -> np.ndarray:
    """Each thing's projected box, the table first and then the nearest last: the table hides nothing."""
    out = np.full((CAMERA.height, CAMERA.width), -1, np.int16)
    pieces = [(thing.id, (thing.box,)) for thing in room.objects] + [(p.id, p.parts) for p in room.furniture]
    drawn = [(np.linalg.norm(part.center - T[:3, 3]), id, part) for id, parts in pieces for part in parts]
    for _, id, part in sorted(drawn, key=lambda one: (one[1] < FIRST_FURNITURE, -one[0])):
        corners = np.array([[x, y, z] for x in _ends(part, 0) for y in _ends(part, 1) for z in _ends(part, 2)])
        uv = CAMERA.project(pose.apply(pose.inverse(T), corners))
        (u0, v0), (u1, v1) = np.floor(uv.min(axis=0)).astype(int), np.ceil(uv.max(axis=0)).astype(int)
        out[max(v0, 0) : max(v1, 0), max(u0, 0) : max(u1, 0)] = id
    return out


def _ends(part: Box, axis: int) -> tuple[float, float]:
    return part.low[axis], part.high[axis]
