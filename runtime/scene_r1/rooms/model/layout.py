"""Furnishing a room: where everything stands, from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from scene_r1.rooms.model import furniture as f
from scene_r1.rooms.model import shapes
from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.room import FIRST_FURNITURE, Box, Furniture, Room, RoomObject
from scene_r1.rooms.model.walkway import walkway
from scene_r1_engines.errors import BadInput, SceneR1Error

MIN_OBJECTS = 8
MAX_LAYOUTS = 50
GAP_M = 0.05
"""Between neighbouring objects: enough for each to be seen as one thing."""


def make_room(seed: int) -> Room:
    """A furnished room of about 4.4..6 m by 3.8..5 m by 2.5 m: the same for the same seed.

    A table in the middle, a bookcase, a sideboard or a sofa along the walls, and 8 to 12 objects of at least 6 shapes
    and 6 colours on them and on the floor, none touching another. No two objects share both shape and colour.

    Raises BadInput for a seed that is not a whole number >= 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise BadInput(f"a room's seed must be a whole number >= 0, got {seed!r}")
    rng = np.random.default_rng([int(seed), 0x5CE4E])
    for _ in range(MAX_LAYOUTS):
        room = _furnish(int(seed), rng)
        if len(room.objects) >= MIN_OBJECTS and walkway(room) is not None:
            return room
    raise SceneR1Error(f"seed {seed} gave no room with {MIN_OBJECTS} objects and space to walk: take another seed")


@dataclass(slots=True)
class _Plan:
    """A room while it is being furnished."""

    size: tuple[float, float, float]
    pieces: list[Furniture] = field(default_factory=list)
    tops: list[tuple[str, f.Top]] = field(default_factory=list)  # in the world
    objects: list[RoomObject] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)  # where nothing else may stand

    def place(self, piece: f.Piece, at: tuple[float, float], yaw: float) -> None:
        parts = [part.moved((*at, 0.0), yaw) for part in piece.parts]
        mesh = join(parts)
        number = FIRST_FURNITURE + len(self.pieces)
        boxes = tuple(Box.around(part.vertices) for part in parts)
        self.pieces.append(Furniture(number, piece.name, mesh, Box.around(mesh.vertices), boxes))
        self.taken += boxes
        for top in piece.tops:
            corners = _turned(np.array([[top.x0, top.y0], [top.x1, top.y1]]), yaw) + at
            (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
            self.tops.append((piece.name, f.Top(x0, y0, x1, y1, top.z, top.clear, number)))

    def stand(self, shape: str, color: str, mesh: Mesh, top: f.Top, yaws: tuple[float, ...], rng: np.random.Generator,
              tries: int = 40) -> bool:  # fmt: skip
        """Put an object somewhere on `top` where it fits; False when no place was found."""
        for _ in range(tries):
            turned = mesh.moved((0, 0, top.z), yaws[rng.integers(len(yaws))] + rng.uniform(-0.3, 0.3))
            box = Box.around(turned.vertices)
            room_x, room_y = top.x1 - top.x0 - box.size[0], top.y1 - top.y0 - box.size[1]
            if room_x < 0 or room_y < 0 or box.size[2] > top.clear - 0.02:
                return False
            x = top.x0 - box.low[0] + rng.uniform(0, room_x)
            y = top.y0 - box.low[1] + rng.uniform(0, room_y)
            moved = turned.moved((x, y, 0))
            box = Box.around(moved.vertices)
            if not any(_side_by_side(box, other) for other in self.taken):
                self.objects.append(RoomObject(len(self.objects), shape, color, moved, box, top.carrier))
                self.taken.append(box)
                return True
        return False


def _side_by_side(box: Box, other: Box) -> bool:
    """True when two boxes come closer than GAP_M sideways and share some height; what carries a box does not count."""
    flat = all(box.low[i] < other.high[i] + GAP_M and other.low[i] < box.high[i] + GAP_M for i in (0, 1))
    return flat and box.low[2] < other.high[2] - 1e-9 and other.low[2] < box.high[2] - 1e-9


def _furnish(seed: int, rng: np.random.Generator) -> Room:
    size = (float(rng.uniform(4.4, 6.0)), float(rng.uniform(3.8, 5.0)), float(rng.uniform(2.45, 2.6)))
    plan = _Plan(size)
    first = int(rng.integers(4))
    hung: list[Mesh] = []

    table = f.table(rng)
    plan.place(table, (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)), 0.0)
    table_box = plan.pieces[0].box

    shelf_side, window_side, low_side, door_side = [(first + i) % 4 for i in range(4)]
    half, _ = _half(size, shelf_side)
    end = 1.0 if rng.random() < 0.5 else -1.0
    plan.place(f.bookcase(rng), _at(size, shelf_side, end * rng.uniform(0.1, half - 0.75)), _yaw(shelf_side))
    hung += _hang(f.picture(rng), size, shelf_side, -end * 0.62 * half, 1.45)

    wide, tall = rng.uniform(1.3, 1.7), rng.uniform(1.0, 1.2)
    pane = _hang(f.window(wide, tall), size, window_side, rng.uniform(-0.2, 0.2), 1.05)
    hung += pane
    window = f.daylight(pane[0], (wide / 2, tall / 2), _yaw(window_side), rng)
    if _half(size, window_side)[1] > 2.25:
        plan.place(f.sofa(rng), _at(size, window_side, rng.uniform(-0.3, 0.3)), _yaw(window_side))

    plan.place(f.sideboard(rng), _at(size, low_side, rng.uniform(-0.35, 0.35)), _yaw(low_side))
    hung += _hang(f.picture(rng), size, low_side, rng.uniform(-0.2, 0.2), 1.4)

    half, _ = _half(size, door_side)
    door_at = (1.0 if rng.random() < 0.5 else -1.0) * (half - 0.65)
    hung += _hang(f.door(), size, door_side, door_at, 0.0)
    x, y = _at(size, door_side, door_at)
    plan.taken.append(Box((x - 0.7, y - 0.7, 0.0), (x + 0.7, y + 0.7, 2.0)))

    _fill(plan, table_box, rng)
    lamp_at = (0.0, 0.0, size[2] - 0.04)
    rug = (table_box.low[0] - 0.35, table_box.low[1] - 0.45, table_box.high[0] + 0.35, table_box.high[1] + 0.45)
    shell = join([f.walls(size, rng, rug), f.lamp_panel(lamp_at), *hung])
    return Room(seed, size, shell, tuple(plan.pieces), tuple(plan.objects), window, lamp_at)


def _fill(plan: _Plan, table_box: Box, rng: np.random.Generator) -> None:
    palette = [str(c) for c in rng.permutation(list(COLORS))]
    others = [str(s) for s in rng.permutation([s for s in shapes.SMALL if s != "mug"])]
    small = ["mug", *others[:6]]
    if rng.random() < 0.7:
        small.append(small[rng.integers(4)])  # two of a kind, told apart by colour
    large = [str(s) for s in rng.permutation(list(shapes.LARGE))][: 3 + int(rng.random() < 0.4)]
    by_name: dict[str, list[f.Top]] = {}
    for name, top in plan.tops:
        by_name.setdefault(name, []).append(top)
    on_table, elsewhere = by_name["table"], by_name["bookcase"] + by_name["sideboard"]
    turns = (0.0, math.pi / 2, math.pi, -math.pi / 2)
    for i, shape in enumerate(small):
        color = palette[len(plan.objects) % len(palette)]
        mesh = shapes.SMALL[shape](shapes.srgb(color), rng)
        tops = [*on_table, *rng.permutation(len(elsewhere))] if i < 4 else [*rng.permutation(len(elsewhere)), *on_table]
        for choice in tops:
            top = choice if isinstance(choice, f.Top) else elsewhere[int(choice)]
            if plan.stand(shape, color, mesh, top, turns, rng):
                break
    for i, shape in enumerate(large):
        color = palette[len(plan.objects) % len(palette)]
        mesh = shapes.LARGE[shape](shapes.srgb(color), rng)
        strips = _by_the_table(table_box) if i == 0 and shape in ("chair", "stool") else _along_walls(plan.size)
        for j in rng.permutation(len(strips)):
            if plan.stand(shape, color, mesh, strips[int(j)], turns, rng):
                break


def _along_walls(size: tuple[float, float, float]) -> list[f.Top]:
    x, y, wide = size[0] / 2 - 0.06, size[1] / 2 - 0.06, 0.56
    rectangles = [(-x, y - wide, x, y), (-x, -y, x, -y + wide), (-x, -y, -x + wide, y), (x - wide, -y, x, y)]
    return [f.Top(*r, 0.0, 2.0) for r in rectangles]


def _by_the_table(table: Box) -> list[f.Top]:
    """At the table's short ends."""
    y0, y1, deep = table.low[1] - 0.05, table.high[1] + 0.05, 0.68
    ends = [(table.low[0] - deep, y0, table.low[0] - GAP_M, y1), (table.high[0] + GAP_M, y0, table.high[0] + deep, y1)]
    return [f.Top(*r, 0.0, 2.0) for r in ends]


def _yaw(side: int) -> float:
    """Which way a thing turns whose back is to that wall: 0 = +y, 1 = -x, 2 = -y, 3 = +x."""
    return side * math.pi / 2


def _half(size: tuple[float, float, float], side: int) -> tuple[float, float]:
    """Half the length of a wall, and its distance from the room's middle."""
    x, y = size[0] / 2, size[1] / 2
    return (x, y) if side % 2 == 0 else (y, x)


def _at(size: tuple[float, float, float], side: int, along: float) -> tuple[float, float]:
    """The point of a wall `along` metres from its middle."""
    x, y = _turned(np.array([[along, _half(size, side)[1]]]), _yaw(side))[0]
    return float(x), float(y)


def _turned(
    xy: np.ndarray[tuple[int, ...], np.dtype[np.float64]], yaw: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    c, s = round(math.cos(yaw), 15), round(math.sin(yaw), 15)
    return np.asarray(xy @ np.array([[c, s], [-s, c]]))


def _hang(parts: list[Mesh], size: tuple[float, float, float], side: int, along: float, z: float) -> list[Mesh]:
    return [part.moved((*_at(size, side, along), z), _yaw(side)) for part in parts]
