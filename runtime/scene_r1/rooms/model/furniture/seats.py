"""Sofas, armchairs and dining chairs, in cloth and wood."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import box, pillow, rounded
from scene_r1.rooms.model.furniture.piece import CLOTHS, WALNUT, WOODS, Piece, Top
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh


def sofa(rng: np.random.Generator) -> Piece:
    """Two or three seats, arms and a back; soft things are thrown on it."""
    seats = 2 if rng.random() < 0.6 else 3
    return _upholstered("sofa", seats, rng.uniform(0.56, 0.64), rng)


def armchair(rng: np.random.Generator) -> Piece:
    """One seat."""
    return _upholstered("armchair", 1, rng.uniform(0.54, 0.6), rng)


def _upholstered(name: str, seats: int, seat: float, rng: np.random.Generator) -> Piece:
    d, arm = 0.8, 0.14
    w = seats * seat + 2 * arm
    cloth = Material("weave", CLOTHS[rng.integers(len(CLOTHS))], scale_m=0.006)
    parts = [rounded((w - 0.01, d - 0.02, 0.2), (0, -d / 2, 0.06), cloth, 0.02, 0.07, 1)]
    parts.append(rounded((w, 0.17, 0.54), (0, -0.085, 0.26), cloth, 0.05, 0.06))
    parts += [
        rounded((arm, d - 0.17, 0.34), (s * (w / 2 - arm / 2), -0.17 - (d - 0.17) / 2, 0.24), cloth, 0.05)
        for s in (-1, 1)
    ]
    for i in range(seats):
        x = (i - (seats - 1) / 2) * seat
        parts.append(rounded((seat - 0.006, d - 0.18, 0.17), (x, -0.17 - (d - 0.18) / 2, 0.25), cloth, 0.04, 0.05))
        back = pillow((seat, 0.42, 0.2), (0, 0, 0), cloth, 12).tilted(0, np.pi / 2 - 0.2)
        parts.append(
            back.moved((x, -0.16 - float(back.vertices[:, 1].max()), 0.415 - float(back.vertices[:, 2].min())))
        )
    feet = [(sx * (w / 2 - 0.08), y, 0.0) for sx in (-1, 1) for y in (-0.08, -(d - 0.08))]
    parts += [box((0.05, 0.05, 0.06), p, WALNUT) for p in feet]
    inner = seats * seat / 2
    return Piece(name, parts, [Top(-inner + 0.01, -d + 0.04, inner - 0.01, -0.3, 0.42, 0.8)])


def dining_chairs(table: tuple[float, float], rng: np.random.Generator) -> list[tuple[Piece, float, float, float]]:
    """Two to four chairs of one kind, pushed under a table of that width and depth: (piece, x, y, yaw) of each."""
    w, d = table
    wood = WOODS[rng.integers(3)]
    high = rng.uniform(0.82, 0.92)
    places = []
    for side in (-1, 1):
        count = int(rng.integers(0, 3)) if w > 1.3 else int(rng.integers(0, 2))
        xs = {0: [], 1: [rng.uniform(-0.12, 0.12)], 2: [-0.25 * w, 0.25 * w]}[count]
        for x in xs:
            out = rng.uniform(0.1, 0.2)
            places.append((_chair(high, wood), x, side * (d / 2 + out), np.pi if side < 0 else 0.0))
    return [place for place in places if rng.random() < 0.9]


def _chair(h: float, wood: Material) -> Piece:
    w, d, sh = 0.42, 0.42, 0.45
    x = w / 2 - 0.02
    parts: list[Mesh] = [box((0.034, 0.034, sh - 0.03), (s * x, -d + 0.02, 0), wood) for s in (-1, 1)]
    parts += [box((0.034, 0.034, h), (s * x, -0.02, 0), wood) for s in (-1, 1)]
    parts.append(rounded((w, d - 0.036, 0.03), (0, -d / 2 - 0.018, sh - 0.03), wood, 0.008, 0.05, 1))
    parts += [box((w - 0.074, 0.018, 0.06), (0, -0.02, z), wood) for z in (h - 0.07, h - 0.18, h - 0.29)]
    parts += [box((w - 0.074, 0.016, 0.03), (0, y, sh - 0.06), wood) for y in (-0.02, -d + 0.02)]
    return Piece("chair", parts, [])
