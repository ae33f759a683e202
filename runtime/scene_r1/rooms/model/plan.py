"""A room while it is being furnished: what stands where, and where there still is space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.model.furniture.piece import Piece, Top
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.room import FIRST_CLUTTER, FIRST_FURNITURE, Box, Furniture, Lamp, RoomObject

GAP_M = 0.05
"""Between neighbouring objects: enough for each to be seen as one thing."""
BETWEEN_FURNITURE_M = 0.08
QUARTERS = (0.0, math.pi / 2, math.pi, -math.pi / 2)


@dataclass(slots=True)
class Plan:
    """What has been placed so far. size: width, depth, height, metres.

    tops, under: where things may still stand, in the world, with the name of their furniture; `under` lies on the
    floor. taken: where nothing else may stand.
    """

    size: tuple[float, float, float]
    pieces: list[Furniture] = field(default_factory=list)
    tops: list[tuple[str, Top]] = field(default_factory=list)
    under: list[tuple[str, Top]] = field(default_factory=list)
    objects: list[RoomObject] = field(default_factory=list)
    clutter: list[Furniture] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    hung: list[Mesh] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)
    ends: list[Top] = field(default_factory=list)
    way: Box | None = None

    def place(self, piece: Piece, at: tuple[float, float], yaw: float, facing: float | None = None) -> None:
        """Put furniture there whatever stands around."""
        parts = [part.moved((*at, 0.0), yaw) for part in piece.parts]
        mesh = join(parts)
        number = FIRST_FURNITURE + len(self.pieces)
        boxes = tuple(Box.around(part.vertices) for part in parts)
        self.pieces.append(Furniture(number, piece.name, mesh, Box.around(mesh.vertices), boxes))
        self.taken += boxes
        self.tops += [
            (piece.name, _in_world(top, at, yaw)._replace(carrier=number, facing=facing)) for top in piece.tops
        ]
        self.under += [(piece.name, _in_world(top, at, yaw)._replace(facing=facing)) for top in piece.under]
        for lamp in piece.lamps:
            x, y = _turned(np.array([lamp.at[:2]]), yaw)[0] + at
            self.lamps.append(Lamp((float(x), float(y), lamp.at[2]), lamp.radius_m, lamp.light, lamp.faces_down))

    def against(self, pieces: tuple[Piece, ...], side: int, along: tuple[float, float]) -> float | None:
        """Furniture with its back to a wall, somewhere in a range of metres along it; None where it does not fit.

        Several pieces stand on each other: as one, from the same point. Returns where along the wall.
        """
        half, _ = half_of(self.size, side)
        wide = np.concatenate([part.vertices for piece in pieces for part in piece.parts])[:, 0]
        low, high = max(along[0], -half - float(wide.min()) + 0.02), min(along[1], half - float(wide.max()) - 0.02)
        for where in np.linspace(low, high, 7) if high > low else ():
            at = on_wall(self.size, side, float(where))
            boxes = [Box.around(p.moved((*at, 0.0), yaw_of(side)).vertices) for piece in pieces for p in piece.parts]
            free = not any(side_by_side(box, other, BETWEEN_FURNITURE_M) for box in boxes for other in self.taken)
            if free and not any(self.way is not None and box.overlaps(self.way) for box in boxes):
                for piece in pieces:
                    self.place(piece, at, yaw_of(side), yaw_of(side))
                return float(where)
        return None

    def hang(self, parts: list[Mesh], side: int, along: float, z: float, only_where_free: bool = False) -> list[Mesh]:
        """Hang something on a wall; returns its parts in the world, none where something else is in its way."""
        moved = [part.moved((*on_wall(self.size, side, along), z), yaw_of(side)) for part in parts]
        box = Box.around(np.concatenate([part.vertices for part in moved]))
        if only_where_free and any(side_by_side(box, other, GAP_M) for other in self.taken):
            return []
        self.hung += moved
        self.taken.append(box)
        return moved

    def stand(self, shape: str, color: str, mesh: Mesh, top: Top, rng: np.random.Generator, tries: int = 30) -> bool:
        """Put an object somewhere on `top` where it fits; False when no place was found."""
        found = self._free(mesh, top, rng, tries)
        if found is None:
            return False
        box = Box.around(found.vertices)
        self.objects.append(RoomObject(len(self.objects), shape, color, found, box, top.carrier))
        self.taken.append(box)
        return True

    def strew(self, name: str, mesh: Mesh, top: Top, rng: np.random.Generator, tries: int = 12) -> bool:
        """Put something that nobody asks for on `top`; False when no place was found."""
        found = self._free(mesh, top, rng, tries)
        if found is None:
            return False
        box = Box.around(found.vertices)
        self.clutter.append(Furniture(FIRST_CLUTTER + len(self.clutter), name, found, box, (box,)))
        self.taken.append(box)
        return True

    def _free(self, mesh: Mesh, top: Top, rng: np.random.Generator, tries: int) -> Mesh | None:
        for _ in range(tries):
            yaw = QUARTERS[rng.integers(4)] if top.facing is None or rng.random() < 0.15 else top.facing
            turned = mesh.moved((0, 0, top.z), yaw + rng.uniform(-0.3, 0.3))
            box = Box.around(turned.vertices)
            room_x, room_y = top.x1 - top.x0 - box.size[0], top.y1 - top.y0 - box.size[1]
            if box.size[2] > top.clear - 0.02:
                return None
            if room_x < 0 or room_y < 0:
                continue
            x = top.x0 - box.low[0] + rng.uniform(0, room_x)
            y = top.y0 - box.low[1] + rng.uniform(0, room_y)
            shift = np.array([x, y, 0.0])
            low, high = np.asarray(box.low) + shift, np.asarray(box.high) + shift
            if not any(side_by_side(Box.around(np.stack([low, high])), other, GAP_M) for other in self.taken):
                return turned.moved((x, y, 0))
        return None


def side_by_side(box: Box, other: Box, gap_m: float) -> bool:
    """True when two boxes come closer than `gap_m` sideways and share some height: what carries one does not count."""
    flat = all(box.low[i] < other.high[i] + gap_m and other.low[i] < box.high[i] + gap_m for i in (0, 1))
    return flat and box.low[2] < other.high[2] - 1e-9 and other.low[2] < box.high[2] - 1e-9


def along_walls(plan: Plan) -> list[Top]:
    """The floor along the four walls, as far as the way around the table leaves it."""
    x, y = plan.size[0] / 2 - 0.06, plan.size[1] / 2 - 0.06
    way = plan.way or Box((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    deep = 0.58
    rectangles = [
        (-x, max(y - deep, way.high[1]), x, y),
        (-x, -y, min(deep - x, way.low[0]), y),
        (-x, -y, x, min(deep - y, way.low[1])),
        (max(x - deep, way.high[0]), -y, x, y),
    ]
    return [Top(*r, 0.0, 2.0, facing=yaw_of(side)) for side, r in enumerate(rectangles)]


def yaw_of(side: int) -> float:
    """Which way a thing turns whose back is to that wall: 0 = +y, 1 = -x, 2 = -y, 3 = +x."""
    return side * math.pi / 2


def half_of(size: tuple[float, float, float], side: int) -> tuple[float, float]:
    """Half the length of a wall, and its distance from the room's middle."""
    x, y = size[0] / 2, size[1] / 2
    return (x, y) if side % 2 == 0 else (y, x)


def on_wall(size: tuple[float, float, float], side: int, along: float) -> tuple[float, float]:
    """The point of a wall `along` metres from its middle."""
    x, y = _turned(np.array([[along, half_of(size, side)[1]]]), yaw_of(side))[0]
    return float(x), float(y)


def _in_world(top: Top, at: tuple[float, float], yaw: float) -> Top:
    corners = _turned(np.array([[top.x0, top.y0], [top.x1, top.y1]]), yaw) + at
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return Top(float(x0), float(y0), float(x1), float(y1), top.z, top.clear)


def _turned(xy: NDArray[np.float64], yaw: float) -> NDArray[np.float64]:
    c, s = round(math.cos(yaw), 15), round(math.sin(yaw), 15)
    return np.asarray(xy @ np.array([[c, s], [-s, c]]))
