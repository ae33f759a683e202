"""Furniture and the shell of a room. Furniture stands at the origin on z = 0, its back at y = 0, its front at -y."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, box, join, lathe, sheet
from scene_r1.rooms.model.room import BACKGROUND, Window

OAK = Material("wood", (186, 140, 90), (146, 100, 58), gloss=0.15)
WALNUT = Material("wood", (116, 78, 52), (84, 54, 36), gloss=0.15)
BIRCH = Material("wood", (222, 196, 158), (200, 168, 126), gloss=0.1)
WHITE = Material("plain", (232, 230, 224), gloss=0.1)
METAL = Material("plain", (120, 122, 126), gloss=0.7)
WOODS = (OAK, WALNUT, BIRCH)


class Top(NamedTuple):
    """A place to put things on: a rectangle at a height, with room above it, metres.

    In the frame of its furniture; in the world once that stands, and then `carrier` is the furniture's id.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    clear: float
    carrier: int = BACKGROUND


class Piece(NamedTuple):
    """A piece of furniture to be placed: the parts it is built from, and where things may stand on it."""

    name: str
    parts: list[Mesh]
    tops: list[Top]


def table(rng: np.random.Generator) -> Piece:
    """Centred on the origin, as things in the middle of a room are."""
    w, d, h = rng.uniform(1.2, 1.6), rng.uniform(0.75, 0.9), rng.uniform(0.71, 0.76)
    wood = WOODS[rng.integers(3)]
    x, y = w / 2 - 0.06, d / 2 - 0.06
    parts = [box((w, d, 0.035), (0, 0, h - 0.035), wood, 0.03)]
    parts += [box((0.06, 0.06, h - 0.035), (sx * x, sy * y, 0), wood) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [box((w - 0.18, 0.022, 0.09), (0, s * y, h - 0.125), wood) for s in (-1, 1)]
    parts += [box((0.022, d - 0.18, 0.09), (s * x, 0, h - 0.125), wood) for s in (-1, 1)]
    return Piece("table", parts, [Top(-w / 2 + 0.03, -d / 2 + 0.03, w / 2 - 0.03, d / 2 - 0.03, h, 1.0)])


def bookcase(rng: np.random.Generator) -> Piece:
    """An open shelf with a row of books on its lowest board."""
    w, d, h, boards = rng.uniform(0.9, 1.2), 0.32, rng.uniform(1.2, 1.32), 4
    wood, t = WOODS[rng.integers(3)], 0.022
    parts = [box((t, d, h), (s * (w / 2 - t / 2), -d / 2, 0), wood, 0.05) for s in (-1, 1)]
    parts.append(box((w - 2 * t, 0.012, h), (0, -0.006, 0), wood, 0.05))
    step = (h - t - 0.06) / (boards - 1)
    heights = [0.06 + i * step for i in range(boards)]
    parts += [box((w - 2 * t, d - 0.012, t), (0, -0.012 - (d - 0.012) / 2, z), wood, 0.035) for z in heights]
    row = rng.uniform(0.5, 0.8) * (w - 2 * t)
    books = Material("spines", (120, 104, 88), (74, 78, 84), 0.032)
    parts.append(
        box((row, 0.19, step * 0.72), (-(w / 2 - t) + row / 2 + 0.001, -0.012 - 0.1, heights[0] + t), books, 0.03)
    )
    tops = [
        Top(-w / 2 + t + 0.01, -d + 0.015, w / 2 - t - 0.01, -0.02, z + t, (step if z < heights[-1] else 0.9) - t)
        for z in heights[1:]
    ]
    return Piece("bookcase", parts, tops)


def sideboard(rng: np.random.Generator) -> Piece:
    """A low cupboard with doors and knobs."""
    w, d, h = rng.uniform(1.1, 1.5), 0.42, rng.uniform(0.7, 0.82)
    wood = (OAK, WALNUT, WHITE)[rng.integers(3)]
    parts = [box((w - 0.02, d - 0.03, h - 0.13), (0, -(d - 0.03) / 2, 0.1), wood)]
    parts.append(box((w, d, 0.03), (0, -d / 2, h - 0.03), wood, 0.03))
    doors = 3
    dw = (w - 0.02) / doors
    for i in range(doors):
        x = -(w - 0.02) / 2 + (i + 0.5) * dw
        parts.append(box((dw - 0.008, 0.016, h - 0.14), (x, -(d - 0.03) - 0.008, 0.105), wood))
        parts.append(box((0.02, 0.012, 0.1), (x + 0.38 * dw, -(d - 0.03) - 0.022, h * 0.55), METAL, 0.02))
    legs = [(sx * (w / 2 - 0.08), y, 0.0) for sx in (-1, 1) for y in (-0.06, -(d - 0.09))]
    parts += [box((0.05, 0.05, 0.1), p, wood) for p in legs]
    return Piece("sideboard", parts, [Top(-w / 2 + 0.02, -d + 0.02, w / 2 - 0.02, -0.02, h, 0.9)])


def sofa(rng: np.random.Generator) -> Piece:
    """Two seats, arms and a back; nothing is put on it."""
    w, d = rng.uniform(1.4, 1.7), 0.78
    shade = [(110, 122, 134), (150, 132, 112), (96, 112, 98)][rng.integers(3)]
    cloth = Material("plain", shade, scale_m=0.01)
    parts = [box((w, d, 0.2), (0, -d / 2, 0.06), cloth), box((w, 0.2, 0.56), (0, -0.1, 0.26), cloth)]
    parts += [box((0.17, d - 0.2, 0.34), (s * (w / 2 - 0.085), -0.2 - (d - 0.2) / 2, 0.26), cloth) for s in (-1, 1)]
    seat = (w - 0.34) / 2
    for s in (-1, 1):
        parts.append(box((seat - 0.01, d - 0.21, 0.16), (s * seat / 2, -0.2 - (d - 0.2) / 2, 0.26), cloth))
        parts.append(box((seat - 0.02, 0.13, 0.34), (s * seat / 2, -0.265, 0.42), cloth))
    feet = [(sx * (w / 2 - 0.08), y, 0.0) for sx in (-1, 1) for y in (-0.08, -(d - 0.08))]
    parts += [box((0.06, 0.06, 0.06), p, WALNUT) for p in feet]
    return Piece("sofa", parts, [])


def walls(size: tuple[float, float, float], rng: np.random.Generator, rug: tuple[float, float, float, float]) -> Mesh:
    """Floor (with a painted rug), ceiling and four walls, seen from inside."""
    w, d, h = size
    paint = [(214, 206, 190), (196, 208, 206), (220, 206, 198), (206, 212, 192)][rng.integers(4)]
    accent = [(150, 168, 178), (176, 150, 128), (150, 164, 140), (168, 152, 172)][rng.integers(4)]
    planks = [(176, 132, 88), (146, 104, 68), (198, 160, 116)][rng.integers(3)]
    rug_color = [(128, 52, 48), (60, 80, 112), (108, 110, 84), (150, 128, 100)][rng.integers(4)]
    x, y = w / 2, d / 2
    floor = Material("floor", planks, rug_color, 0.13, 0.25, rug)
    painted = [Material("wall", accent if i == 0 else paint) for i in range(4)]
    return join(
        [
            sheet((-x, -y, 0), (w, 0, 0), (0, d, 0), floor, 0.04),
            sheet((-x, -y, h), (0, d, 0), (w, 0, 0), Material("plain", (240, 238, 232)), 0.1),
            sheet((x, y, 0), (-w, 0, 0), (0, 0, h), painted[0], 0.07),
            sheet((-x, y, 0), (0, -d, 0), (0, 0, h), painted[1], 0.07),
            sheet((-x, -y, 0), (w, 0, 0), (0, 0, h), painted[2], 0.07),
            sheet((x, -y, 0), (0, d, 0), (0, 0, h), painted[3], 0.07),
        ]
    )


def door() -> list[Mesh]:
    """Closed, with a frame and a handle; hangs on a wall."""
    leaf = Material("plain", (226, 222, 212), gloss=0.2)
    frame = [box((0.07, 0.035, 2.06), (s * 0.475, -0.0175, 0), WHITE) for s in (-1, 1)]
    frame.append(box((1.02, 0.035, 0.07), (0, -0.0175, 2.06), WHITE))
    panels = [box((0.6, 0.008, h), (0, -0.024, z), leaf) for z, h in ((0.2, 0.75), (1.1, 0.75))]
    handle = [
        box((0.03, 0.05, 0.03), (0.37, -0.045, 1.02), METAL),
        box((0.11, 0.016, 0.02), (0.33, -0.07, 1.025), METAL),
    ]
    return [box((0.88, 0.02, 2.06), (0, -0.01, 0), leaf, 0.08), *frame, *panels, *handle]


def picture(rng: np.random.Generator) -> list[Mesh]:
    """A framed landscape."""
    w, h = rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.6)
    sky = [(96, 150, 196), (214, 140, 92), (120, 130, 168)][rng.integers(3)]
    land = [(58, 92, 60), (96, 74, 58), (44, 70, 92)][rng.integers(3)]
    paper = Material("picture", sky, land, region=(-w / 2, 0.0, w / 2, h))
    return [box((w, 0.012, h), (0, -0.006, 0), paper, 0.1), *_frame(w, h, 0.025, WALNUT)]


def window(w: float, h: float) -> list[Mesh]:
    """A pane that gives light, with a frame, a cross bar and a sill."""
    pane = Material("sky", (150, 196, 240), (236, 240, 240), region=(-w / 2, 0.0, w / 2, h))
    bars = [box((0.035, 0.03, h), (0, -0.021, 0), WHITE), box((w, 0.03, 0.035), (0, -0.021, h * 0.62), WHITE)]
    sill = box((w + 0.2, 0.14, 0.03), (0, -0.07, -0.09), WHITE)
    return [box((w, 0.006, h), (0, -0.003, 0), pane, 0.3), *bars, sill, *_frame(w, h, 0.06, WHITE)]


def lamp_panel(at: tuple[float, float, float]) -> Mesh:
    """A round panel under the ceiling; `at` is the middle of its lower face."""
    glow = Material("sky", (255, 240, 214), (255, 240, 214), gloss=1.0)
    return lathe([(0, 0), (0.24, 0), (0.24, 0.04)], glow, segments=32, spacing_m=0.2).moved(at)


def daylight(wall: Mesh, half: tuple[float, float], yaw: float, rng: np.random.Generator) -> Window:
    """The window whose pane, already in the world, is `wall`; the sun stands somewhere outside it."""
    c, s = round(float(np.cos(yaw)), 15), round(float(np.sin(yaw)), 15)
    inward, along = np.array([s, -c, 0.0]), np.array([c, s, 0.0])
    center = (wall.vertices.min(axis=0) + wall.vertices.max(axis=0)) / 2
    sun = -inward + rng.uniform(-0.5, 0.5) * along + np.array([0.0, 0.0, rng.uniform(0.55, 0.9)])
    sun /= np.linalg.norm(sun)
    return Window(_triple(center), _triple(along), _triple(inward), half, _triple(sun))


def _triple(v: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])


def _frame(w: float, h: float, thick: float, material: Material) -> list[Mesh]:
    sides = [box((thick, 0.04, h + 2 * thick), (s * (w + thick) / 2, -0.02, -thick), material) for s in (-1, 1)]
    return sides + [box((w, 0.04, thick), (0, -0.02, z), material) for z in (-thick, h)]
