"""The scene graph: what stands in a room, and how things stand to each other in space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.model.room import BACKGROUND, Box, Furniture, Room, RoomObject

CEILING_LAMP = -2
"""Id of the panel under the ceiling, which people may mean when they say `lamp`."""
ON_FLOOR_M = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Anything in a room that a word may mean. Boxes in metres, world frame.

    name: an object's shape, or what the furniture is called. color: of an object; None for what is called by none.
    parts: (P, 2, 3) float64, the boxes it is built from. support: as RoomObject's. size_m, height_m: its longest
    extent and its height; neither changes when it is turned on its foot.
    """

    id: int
    name: str
    color: str | None
    kind: Literal["object", "furniture", "clutter", "shell"]
    box: Box
    parts: NDArray[np.float64]
    support: int
    size_m: float

    @classmethod
    def of_object(cls, thing: RoomObject) -> Thing:
        """An object."""
        flat = thing.mesh.vertices[:, :2] - thing.box.center[:2]
        wide = 2.0 * float(np.linalg.norm(flat, axis=1).max())
        size = max(wide, float(thing.box.size[2]))
        return cls(
            thing.id, thing.shape, thing.color, "object", thing.box, _boxes(thing.box), thing.support, size
        )  # fmt: skip

    @classmethod
    def of_furniture(cls, piece: Furniture, kind: Literal["furniture", "clutter"]) -> Thing:
        """A piece of furniture, or something that stands about."""
        parts = np.array(piece.parts or (piece.box,), np.float64)
        size = float(piece.box.size.max())
        return cls(piece.id, piece.name, None, kind, piece.box, parts, BACKGROUND, size)

    @property
    def height_m(self) -> float:
        """From its lowest to its highest point."""
        return float(self.box.size[2])

    @property
    def volume_m3(self) -> float:
        """Of its box."""
        return float(np.prod(self.box.size))

    @property
    def on_floor(self) -> bool:
        """Whether it stands on the floor."""
        return self.box.low[2] < ON_FLOOR_M


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Everything in a room by id, seen or not: objects, furniture, clutter and the lamp under the ceiling."""

    room: Room
    things: dict[int, Thing]
    _gaps: dict[tuple[int, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, room: Room) -> Graph:
        """The graph of a room."""
        x, y, z = room.lamp_at
        panel = Box((x - 0.24, y - 0.24, z), (x + 0.24, y + 0.24, z + 0.04))
        lamp = Thing(CEILING_LAMP, "lamp", None, "shell", panel, _boxes(panel), BACKGROUND, 0.48)
        things = [Thing.of_object(thing) for thing in room.objects]
        things += [Thing.of_furniture(piece, "furniture") for piece in room.furniture]
        things += [Thing.of_furniture(piece, "clutter") for piece in room.clutter]
        return cls(room, {thing.id: thing for thing in (*things, lamp)})

    @property
    def objects(self) -> tuple[Thing, ...]:
        """What may be asked for, in the order of ids."""
        return tuple(thing for thing in self.things.values() if thing.kind == "object")

    @property
    def furniture(self) -> tuple[Thing, ...]:
        """What things stand on or beside."""
        return tuple(thing for thing in self.things.values() if thing.kind == "furniture")

    def gap_m(self, a: Thing, b: Thing) -> float:
        """Metres between the nearest faces of two things' boxes (of any two of their parts'); 0 where they touch."""
        key = (min(a.id, b.id), max(a.id, b.id))
        if key not in self._gaps:
            one, two = a.parts[:, None], b.parts[None]
            apart = np.maximum(np.maximum(one[:, :, 0] - two[:, :, 1], two[:, :, 0] - one[:, :, 1]), 0.0)
            self._gaps[key] = float(np.sqrt((apart**2).sum(axis=2)).min())
        return self._gaps[key]

    def supporter(self, thing: Thing) -> Thing | None:
        """The furniture it stands on; None for the floor."""
        return self.things.get(thing.support)


def center_distance_m(a: Thing, b: Thing) -> float:
    """Metres between the middles of two boxes."""
    return float(np.linalg.norm(a.box.center - b.box.center))


def same_level(a: Thing, b: Thing) -> bool:
    """Whether two things share some height."""
    return a.box.low[2] < b.box.high[2] and b.box.low[2] < a.box.high[2]


def rests_on(thing: Thing, carrier: Thing) -> bool:
    """Whether a thing's place lets somebody say that it is on another: over its ground plan and off the floor."""
    if thing.support == carrier.id:
        return True
    over = _overlap(thing, carrier) > 0.0
    low = thing.box.low[2]
    return over and carrier.box.low[2] + ON_FLOOR_M < low < carrier.box.high[2] + ON_FLOOR_M


def share_under(thing: Thing, cover: Thing) -> float:
    """Which share (0..1) of a thing that stands on the floor lies below a board of another; 0 for all others."""
    if not thing.on_floor or thing.id == cover.id:
        return 0.0
    above = cover.parts[cover.parts[:, 0, 2] >= thing.box.high[2] - 0.01]
    return max((_overlap_of(thing.box, part) for part in above), default=0.0)


def between(thing: Thing, a: Thing, b: Thing) -> tuple[float, float]:
    """Where a thing's middle lies on the way from a to b, seen from above: (0 at a .. 1 at b, how far off it in
    lengths of the way)."""
    start, end = a.box.center[:2], b.box.center[:2]
    way = end - start
    length = float(np.linalg.norm(way))
    if length < 1e-6:
        return math.inf, math.inf
    to = thing.box.center[:2] - start
    return float(to @ way) / length**2, abs(float(to[0] * way[1] - to[1] * way[0])) / length**2


def _overlap(a: Thing, b: Thing) -> float:
    return _overlap_of(a.box, _boxes(b.box)[0])


def _overlap_of(box: Box, part: NDArray[np.float64]) -> float:
    """The share of a box's ground plan that lies within another's."""
    low, high = np.maximum(box.low, part[0])[:2], np.minimum(box.high, part[1])[:2]
    return float(np.prod(np.maximum(high - low, 0.0)) / max(np.prod(box.size[:2]), 1e-9))


def _boxes(box: Box) -> NDArray[np.float64]:
    return np.array([box], np.float64)
