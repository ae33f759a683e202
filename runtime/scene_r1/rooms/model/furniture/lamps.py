"""Lamps that are furniture, and those at the ceiling."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import lathe
from scene_r1.rooms.model.furniture.piece import METAL, WALNUT, Piece
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh
from scene_r1.rooms.model.mood import OFF, Rgb
from scene_r1.rooms.model.room import Lamp

PAPER = (240, 230, 208)


def floor_lamp(light: Rgb, rng: np.random.Generator) -> Piece:
    """A shade of paper on a stem; its bulb shines up and down, and a little through the paper."""
    h, r = rng.uniform(1.45, 1.65), rng.uniform(0.17, 0.21)
    on = max(light) > 0.0
    shade = Material("glow", PAPER, gloss=0.22 * max(light)) if on else Material("plain", PAPER)
    foot = WALNUT if rng.random() < 0.5 else METAL
    y = -r - 0.02
    base = lathe([(0, 0), (0.15, 0), (0.15, 0.014), (0.02, 0.03), (0, 0.03)], foot, 28).moved((0, y, 0))
    stem = lathe([(0.011, 0.03), (0.011, h - 0.16)], foot, 10, 0.1).moved((0, y, 0))
    low, high = (r, h - 0.3), (0.72 * r, h)
    hood = lathe([low, high, (0.72 * r - 0.004, h), (r - 0.004, h - 0.3), low], shade, 32, 0.05).moved((0, y, 0))
    lamps: tuple[Lamp, ...] = ()
    if on:
        # What comes through the paper spreads from a ball around the shade.
        lamps = (Lamp((0.0, y, h - 0.13), 0.04, light), Lamp((0.0, y, h - 0.15), r + 0.06, _times(light, 0.4)))
    return Piece("floor lamp", [base, stem, hood], [], lamps=lamps)


def ceiling_lamp(light: Rgb, height_m: float, rng: np.random.Generator) -> tuple[list[Mesh], tuple[Lamp, ...]]:
    """A round panel under the ceiling, or a hood that hangs over the table; at the origin of the floor plane."""
    on = max(light) > 0.0
    glass = Material("glow", (255, 244, 224), gloss=0.5 * max(light)) if on else Material("plain", (246, 244, 236))
    if rng.random() < 0.6:
        z = height_m - 0.04
        panel = lathe([(0, z), (0.24, z), (0.24, z + 0.04)], glass, 32, 0.2)
        return [panel], (Lamp((0.0, 0.0, z - 0.003), 0.24, light, faces_down=True),) if on else ()
    z = height_m - rng.uniform(0.7, 0.85)
    hood = (METAL, Material("plain", (206, 200, 190), gloss=0.2), Material("plain", (74, 72, 72), gloss=0.3))[
        rng.integers(3)
    ]
    shade = lathe([(0.2, z), (0.19, z + 0.05), (0.05, z + 0.16), (0.03, z + 0.2), (0, z + 0.2)], hood, 36, 0.04)
    inside = lathe([(0.046, z + 0.158), (0.186, z + 0.05), (0.198, z)], Material("plain", (244, 240, 230)), 36, 0.04)
    cable = lathe([(0.004, z + 0.2), (0.004, height_m)], METAL, 6, 0.2)
    bulb = lathe([(0, z + 0.03), (0.028, z + 0.045), (0.03, z + 0.07), (0.015, z + 0.11)], glass, 16)
    if not on:
        return [shade, inside, cable, bulb], ()
    # Its light is in the opening: nothing is gained by asking of each ray whether the bulb hides itself.
    return [shade, inside, cable, bulb], (
        Lamp((0.0, 0.0, z + 0.004), 0.15, _times(light, 0.2), faces_down=True),
        Lamp((0.0, 0.0, z - 0.06), 0.05, _times(light, 0.7)),
    )


def desk_lamp_light(low: tuple[float, float, float], high: tuple[float, float, float], light: Rgb) -> tuple[Lamp, ...]:
    """The bulb under the hood of a desk lamp that fills that box; none when it is off."""
    if light == OFF:
        return ()
    at = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + 0.74 * (high[2] - low[2]))
    return (Lamp(at, 0.02, _times(light, 0.4)),)


def _times(light: Rgb, share: float) -> Rgb:
    return light[0] * share, light[1] * share, light[2] * share
