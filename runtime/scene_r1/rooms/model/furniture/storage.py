"""Bookcases, sideboards and cabinets."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import box
from scene_r1.rooms.model.furniture.piece import METAL, OAK, WALNUT, WHITE, WOODS, Piece, Top
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join

BINDINGS = ((120, 104, 88), (92, 90, 92), (146, 132, 112), (78, 70, 64), (168, 158, 142), (104, 100, 94))
"""Book spines: muted, for people ask for the coloured ones."""


def bookcase(rng: np.random.Generator) -> Piece:
    """An open shelf with a row of books on its lowest board, and often a shorter one higher up."""
    w, d, h, boards = rng.uniform(0.9, 1.2), 0.32, rng.uniform(1.2, 1.32), 4
    wood, t = (*WOODS, WHITE)[rng.integers(4)], 0.022
    parts = [box((t, d, h), (s * (w / 2 - t / 2), -d / 2, 0), wood, 0.05) for s in (-1, 1)]
    parts.append(box((w - 2 * t, 0.012, h), (0, -0.006, 0), wood, 0.05))
    step = (h - t - 0.06) / (boards - 1)
    heights = [0.06 + i * step for i in range(boards)]
    parts += [box((w - 2 * t, d - 0.012, t), (0, -0.012 - (d - 0.012) / 2, z), wood, 0.035) for z in heights]
    left = -w / 2 + t + 0.004
    parts.append(_books(rng.uniform(0.55, 0.95) * (w - 2 * t), (left, heights[0] + t), 0.74 * step, rng))
    starts = [left, left, left]
    if rng.random() < 0.6:
        which = int(rng.integers(2))
        row = rng.uniform(0.25, 0.4) * w
        parts.append(_books(row, (left, heights[1 + which] + t), 0.74 * step, rng))
        starts[which] += row + 0.02
    tops = [
        Top(start + 0.006, -d + 0.015, w / 2 - t - 0.01, -0.02, z + t, (step if z < heights[-1] else 0.9) - t)
        for start, z in zip(starts, heights[1:], strict=True)
    ]
    return Piece("bookcase", parts, tops)


def _books(row: float, at: tuple[float, float], tallest: float, rng: np.random.Generator) -> Mesh:
    """A row of books from x = at[0] on, standing on z = at[1]."""
    books: list[Mesh] = []
    x = at[0]
    while True:
        thick = rng.uniform(0.018, 0.045)
        if x + thick > at[0] + row:
            return join(books)
        tall, deep = tallest * rng.uniform(0.78, 1.0), rng.uniform(0.16, 0.21)
        cover = Material("plain", BINDINGS[rng.integers(len(BINDINGS))], gloss=0.1)
        books.append(box((thick - 0.001, deep, tall), (x + thick / 2, -0.014 - deep / 2, at[1]), cover, 0.1))
        x += thick


def sideboard(rng: np.random.Generator) -> Piece:
    """A low cupboard with doors and knobs."""
    w, d, h = rng.uniform(1.1, 1.5), 0.42, rng.uniform(0.7, 0.82)
    wood = (OAK, WALNUT, WHITE)[rng.integers(3)]
    parts = [box((w - 0.02, d - 0.03, h - 0.13), (0, -(d - 0.03) / 2, 0.1), wood)]
    parts.append(box((w, d, 0.03), (0, -d / 2, h - 0.03), wood, 0.03))
    parts += _doors(w - 0.02, d - 0.03, 0.105, h - 0.035, 3)
    legs = [(sx * (w / 2 - 0.08), y, 0.0) for sx in (-1, 1) for y in (-0.06, -(d - 0.09))]
    parts += [box((0.05, 0.05, 0.1), p, wood) for p in legs]
    parts = [_painted(part, wood) for part in parts]
    return Piece("sideboard", parts, [Top(-w / 2 + 0.02, -d + 0.02, w / 2 - 0.02, -0.02, h, 0.9)])


def cabinet(rng: np.random.Generator) -> Piece:
    """Tall, with two doors."""
    w, d, h = rng.uniform(0.8, 1.0), 0.45, rng.uniform(1.6, 1.85)
    wood = (*WOODS, WHITE)[rng.integers(4)]
    parts = [box((w, d - 0.018, h - 0.06), (0, -(d - 0.018) / 2, 0.06), wood, 0.07)]
    parts += [_painted(part, wood) for part in _doors(w, d - 0.018, 0.065, h - 0.01, 2)]
    parts.append(box((w - 0.06, d - 0.06, 0.06), (0, -(d - 0.06) / 2, 0), wood))
    return Piece("cabinet", parts, [])


def _doors(w: float, y: float, z0: float, z1: float, count: int) -> list[Mesh]:
    """A row of doors with handles in front of y; to be painted."""
    each, parts = w / count, []
    for i in range(count):
        x = -w / 2 + (i + 0.5) * each
        side = 1.0 if i % 2 == 0 else -1.0
        parts.append(box((each - 0.008, 0.016, z1 - z0), (x, -y - 0.008, z0), WHITE))
        parts.append(box((0.016, 0.014, 0.12), (x + side * 0.4 * each, -y - 0.023, 0.45 * z0 + 0.55 * z1), METAL, 0.03))
    return parts


def _painted(part: Mesh, wood: Material) -> Mesh:
    """The same part with wood in the place of white."""
    materials = tuple(wood if material is WHITE else material for material in part.materials)
    return Mesh(part.vertices, part.normals, part.texture, part.faces, part.face_material, materials)
