"""What furniture is made of. It stands at the origin on z = 0, its back at y = 0, its front at -y."""

from __future__ import annotations

from typing import NamedTuple

from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh
from scene_r1.rooms.model.room import BACKGROUND, Lamp

# Wood, white and grey: no colour that an object is called by.
OAK = Material("wood", (186, 140, 90), (146, 100, 58), gloss=0.15)
WALNUT = Material("wood", (116, 78, 52), (84, 54, 36), gloss=0.15)
BIRCH = Material("wood", (222, 196, 158), (200, 168, 126), gloss=0.1)
WHITE = Material("plain", (232, 230, 224), gloss=0.1)
METAL = Material("plain", (120, 122, 126), gloss=0.7)
STONE = Material("marble", (206, 202, 196), (150, 146, 142), 0.12, gloss=0.5)
WOODS = (OAK, WALNUT, BIRCH)
CLOTHS = ((110, 114, 120), (150, 136, 118), (134, 132, 126), (176, 168, 154), (92, 88, 86))


class Top(NamedTuple):
    """A place to put things on: a rectangle at a height, with room above it, metres.

    In the frame of its furniture; in the world once that stands, and then `carrier` is the furniture's id. facing:
    which way (yaw, radians) the front of things on it looks; None where people stand all around.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    clear: float
    carrier: int = BACKGROUND
    facing: float | None = None


class Piece(NamedTuple):
    """A piece of furniture to be placed: the parts it is built from, where things may stand on it and, on the floor,
    under it, and the lamps that are on in it."""

    name: str
    parts: list[Mesh]
    tops: list[Top]
    under: tuple[Top, ...] = ()
    lamps: tuple[Lamp, ...] = ()
