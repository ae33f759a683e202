"""A room: its walls, its furniture, and the objects whose boxes are known to the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.model.mesh import Mesh
from scene_r1_engines.errors import BadInput

BACKGROUND = -1
"""Instance id of walls, floor, ceiling and what hangs on them."""
FIRST_FURNITURE = 100
"""Objects are numbered from 0, furniture from here."""
FIRST_CLUTTER = 200
"""Things that stand about and that nobody asks for are numbered from here."""


Mood = Literal["bright day", "overcast", "evening"]
MOODS: tuple[Mood, ...] = get_args(Mood)


class Box(NamedTuple):
    """An axis-aligned box in the world: its lowest and its highest corner, metres."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @classmethod
    def around(cls, points: NDArray[np.floating]) -> Box:
        """The smallest box that holds points (N, 3)."""
        low, high = points.min(axis=0), points.max(axis=0)
        return cls((float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2])))

    @property
    def center(self) -> NDArray[np.float64]:
        """(3,) float64 metres."""
        return np.asarray((np.asarray(self.low) + np.asarray(self.high)) / 2.0)

    @property
    def size(self) -> NDArray[np.float64]:
        """(3,) float64 metres along x, y, z."""
        return np.asarray(np.asarray(self.high) - np.asarray(self.low))

    def overlaps(self, other: Box, gap_m: float = 0.0) -> bool:
        """True when the two come closer than `gap_m` along every axis."""
        return all(self.low[i] < other.high[i] + gap_m and other.low[i] < self.high[i] + gap_m for i in range(3))

    def grown(self, margin_m: float) -> Box:
        """The same box with `margin_m` more on every side."""
        low, high = np.asarray(self.low) - margin_m, np.asarray(self.high) + margin_m
        return Box.around(np.stack([low, high]))


@dataclass(frozen=True, slots=True, eq=False)
class RoomObject:
    """Something one may ask for. `box` is exact: the extent of the mesh's vertices in the world.

    support: id of the furniture it stands on, or BACKGROUND for the floor.
    """

    id: int
    shape: str
    color: str
    mesh: Mesh
    box: Box
    support: int = BACKGROUND

    @property
    def name(self) -> str:
        """As a person would call it: `the red mug` is `red mug`."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True, slots=True, eq=False)
class Furniture:
    """Something that objects stand on or beside. `parts`: the boxes of its boards, legs and panels."""

    id: int
    name: str
    mesh: Mesh
    box: Box
    parts: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Where daylight comes in: a rectangle in a wall, metres, world frame.

    center: of the rectangle. along: unit, horizontal, in the wall. inward: unit, out of the wall. half: half its
    width and half its height. to_sun: unit, from anywhere in the room. sun_light, sky_light: linear RGB of the
    sun that comes through (0 on a dull day), and of the sky behind the pane.
    """

    center: tuple[float, float, float]
    along: tuple[float, float, float]
    inward: tuple[float, float, float]
    half: tuple[float, float]
    to_sun: tuple[float, float, float]
    sun_light: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sky_light: tuple[float, float, float] = (5.0, 5.2, 5.4)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lamp that is on. at: its middle, metres, world. radius_m: of a disc when it faces down, else of a bulb that
    shines everywhere and that its shade may hide. light: linear RGB; on a surface that faces it from r metres it
    leaves light / (pi r^2)."""

    at: tuple[float, float, float]
    radius_m: float
    light: tuple[float, float, float]
    faces_down: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A furnished room. World frame: z up, metres, floor at z = 0, origin at the middle of the floor.

    size_m: width (x), depth (y), height (z). shell: walls, floor, ceiling, door, window, pictures, lamp panel.
    lamp_at: the lowest point of the lamp at the ceiling, on or off. lamps: all that are on. mood: what light it is in.
    clutter: what stands about and nobody asks for; grey, brown or beige.
    """

    seed: int
    size_m: tuple[float, float, float]
    shell: Mesh
    furniture: tuple[Furniture, ...]
    objects: tuple[RoomObject, ...]
    window: Window
    lamp_at: tuple[float, float, float]
    clutter: tuple[Furniture, ...] = ()
    lamps: tuple[Lamp, ...] = ()
    mood: Mood = "overcast"

    def object(self, id: int) -> RoomObject:
        """The object of that id. Raises BadInput when there is none."""
        if not 0 <= id < len(self.objects):
            raise BadInput(f"room {self.seed} has objects 0..{len(self.objects) - 1}, not {id}")
        return self.objects[id]

    def inside_things(self, points: NDArray[np.floating], margin_m: float = 0.0) -> NDArray[np.bool_]:
        """(N,) bool: which points (N, 3) lie in furniture, in an object's box or outside the walls, or within
        `margin_m` of them."""
        half = np.array([self.size_m[0] / 2, self.size_m[1] / 2]) - margin_m
        out = np.any(np.abs(points[:, :2]) > half, axis=1)
        out |= (points[:, 2] < margin_m) | (points[:, 2] > self.size_m[2] - margin_m)
        boxes = [part for piece in (*self.furniture, *self.clutter) for part in piece.parts] + [
            thing.box for thing in self.objects
        ]
        for box in boxes:
            near = (points > np.asarray(box.low) - margin_m) & (points < np.asarray(box.high) + margin_m)
            out |= np.all(near, axis=1)
        return np.asarray(out)
