"""Tables: one in the middle of the room, others beside seats and along walls."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import box, lathe, rounded
from scene_r1.rooms.model.furniture.piece import METAL, STONE, WHITE, WOODS, Piece, Top
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh


def table(rng: np.random.Generator) -> Piece:
    """Centred on the origin, as things in the middle of a room are: four-legged, or round on one foot."""
    return _round_table(rng) if rng.random() < 0.25 else _long_table(rng)


def _long_table(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(1.2, 1.7), rng.uniform(0.75, 0.92), rng.uniform(0.71, 0.76)
    wood = WOODS[rng.integers(3)]
    x, y = w / 2 - 0.06, d / 2 - 0.06
    parts = [rounded((w, d, 0.035), (0, 0, h - 0.035), wood, 0.006, 0.03, 1)]
    parts += [box((0.06, 0.06, h - 0.035), (sx * x, sy * y, 0), wood) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [box((w - 0.18, 0.022, 0.09), (0, s * y, h - 0.125), wood) for s in (-1, 1)]
    parts += [box((0.022, d - 0.18, 0.09), (s * x, 0, h - 0.125), wood) for s in (-1, 1)]
    top = Top(-w / 2 + 0.03, -d / 2 + 0.03, w / 2 - 0.03, d / 2 - 0.03, h, 1.0)
    under = Top(-w / 2 + 0.1, -d / 2 + 0.02, w / 2 - 0.1, d / 2 - 0.02, 0.0, h - 0.16)
    return Piece("table", parts, [top], (under,))


def _round_table(rng: np.random.Generator) -> Piece:
    r, h = rng.uniform(0.58, 0.7), rng.uniform(0.71, 0.76)
    wood = (*WOODS, STONE)[rng.integers(4)]
    foot = METAL if wood is STONE else wood
    plate = lathe(
        [(0, h - 0.03), (r - 0.01, h - 0.03), (r, h - 0.02), (r, h - 0.004), (r - 0.004, h), (0, h)], wood, 56, 0.03
    )
    stem = lathe(
        [(0.26, 0), (0.25, 0.02), (0.06, 0.05), (0.045, 0.3), (0.06, h - 0.05), (0.16, h - 0.03)], foot, 32, 0.06
    )
    base = lathe([(0, 0), (0.26, 0)], foot, 32, 0.06)
    a = 0.68 * r
    under = (Top(-a, -0.68 * r, a, -0.3, 0.0, h - 0.1), Top(-a, 0.3, a, 0.68 * r, 0.0, h - 0.1))
    return Piece("table", [plate, stem, base], [Top(-a, -a, a, a, h, 1.0)], under)


def desk(rng: np.random.Generator) -> Piece:
    """Along a wall: two sides, a back board, and room for knees."""
    w, d, h = rng.uniform(1.1, 1.4), rng.uniform(0.55, 0.62), rng.uniform(0.72, 0.75)
    wood, t = (*WOODS, WHITE)[rng.integers(4)], 0.028
    parts = [rounded((w, d, t), (0, -d / 2, h - t), wood, 0.005, 0.03, 1)]
    parts += [box((t, d - 0.04, h - t), (s * (w / 2 - t / 2 - 0.02), -d / 2, 0), wood, 0.05) for s in (-1, 1)]
    parts.append(box((w - 2 * t - 0.04, 0.018, 0.28), (0, -0.03, h - t - 0.28), wood, 0.05))
    under = Top(-w / 2 + 0.08, -d + 0.02, w / 2 - 0.08, -0.06, 0.0, h - t - 0.06)
    return Piece("desk", parts, [Top(-w / 2 + 0.02, -d + 0.02, w / 2 - 0.02, -0.03, h, 0.9)], (under,))


def side_table(rng: np.random.Generator) -> Piece:
    """A small low table, round or square."""
    h, r = rng.uniform(0.42, 0.52), rng.uniform(0.22, 0.26)
    wood = (*WOODS, WHITE)[rng.integers(4)]
    a = 0.6 * r
    parts: list[Mesh]
    if rng.random() < 0.5:
        disc = lathe([(0, h - 0.025), (r, h - 0.025), (r, h), (0, h)], wood, 40, 0.03).moved((0, -r, 0))
        parts = [disc, *(box((0.026, 0.026, h - 0.025), (x, y - r, 0), wood) for x in (-a, a) for y in (-a, a))]
        return Piece("side table", parts, [Top(-0.7 * r, -1.7 * r, 0.7 * r, -0.3 * r, h, 0.9)])
    parts = [box((2 * r, 2 * r, 0.025), (0, -r, z), wood, 0.03) for z in (0.14, h - 0.025)]
    corners = [(x, y - r) for x in (0.015 - r, r - 0.015) for y in (0.015 - r, r - 0.015)]
    parts += [box((0.03, 0.03, h - 0.025), (x, y, 0), METAL if wood is WHITE else wood) for x, y in corners]
    return Piece("side table", parts, [Top(0.03 - r, 0.03 - 2 * r, r - 0.03, -0.03, h, 0.9)])


def wall_shelf(rng: np.random.Generator) -> Piece:
    """One board on two brackets, at the height of the breast."""
    w, d, z = rng.uniform(0.8, 1.1), 0.24, rng.uniform(1.12, 1.28)
    wood = (*WOODS, WHITE)[rng.integers(4)]
    parts = [box((w, d, 0.028), (0, -d / 2, z - 0.028), wood, 0.03)]
    for s in (-1, 1):
        parts.append(box((0.02, 0.02, 0.18), (s * 0.36 * w, -0.01, z - 0.208), METAL))
        parts.append(box((0.02, d - 0.06, 0.014), (s * 0.36 * w, -(d - 0.06) / 2 - 0.02, z - 0.042), METAL))
    return Piece("wall shelf", parts, [Top(-w / 2 + 0.02, -d + 0.02, w / 2 - 0.02, -0.02, z, 0.8)])


def tv_stand(rng: np.random.Generator) -> tuple[Piece, Piece]:
    """A low bench with drawers, and the television that stands on it."""
    w, d, h = rng.uniform(1.3, 1.6), 0.4, rng.uniform(0.42, 0.5)
    wood = (*WOODS, WHITE)[rng.integers(4)]
    parts = [box((w, d - 0.02, h - 0.08), (0, -(d - 0.02) / 2, 0.08), wood, 0.05)]
    parts += [box((w / 2 - 0.012, 0.016, h - 0.1), (s * w / 4, -(d - 0.02) - 0.008, 0.09), wood) for s in (-1, 1)]
    parts += [
        box((0.05, 0.05, 0.08), (sx * (w / 2 - 0.08), y, 0), wood) for sx in (-1, 1) for y in (-0.06, -(d - 0.09))
    ]
    screen = rng.uniform(0.86, 1.0)
    side = (w - screen) / 2 - 0.06
    middles = [s * (w / 2 - side / 2 - 0.02) for s in (-1, 1)]
    tops = [Top(x - side / 2, -d + 0.03, x + side / 2, -0.03, h, 0.9) for x in middles]
    frame = Material("plain", (58, 60, 66), gloss=0.3)
    glass = Material("plain", (44, 48, 56), gloss=0.9)
    tall = 0.58 * screen
    television = [
        box((0.34, 0.18, 0.014), (0, -0.19, h), frame),
        box((0.08, 0.03, 0.06), (0, -0.17, h + 0.014), frame),
        box((screen, 0.04, tall), (0, -0.19, h + 0.06), frame, 0.06),
        box((screen - 0.03, 0.003, tall - 0.03), (0, -0.2115, h + 0.075), glass, 0.1),
    ]
    return Piece("tv stand", parts, tops if side > 0.12 else []), Piece("television", television, [])
