"""What the shapes of objects are made from: their signature, a few tones that no object is called by, and shades."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh

Color = tuple[int, int, int]
Shape = Callable[[Color, np.random.Generator], Mesh]
"""An object of an sRGB colour, standing at the origin on z = 0, its front at -y; metres."""

CREAM: Color = (236, 230, 214)
STEEL: Color = (150, 152, 156)
EARTH: Color = (62, 44, 32)
COAL: Color = (40, 40, 44)
FINE_M = 0.02
"""Cell size of small things: fine enough for light to round a mug."""


def lighter(color: Color) -> Color:
    """Half-way to white."""
    return (color[0] + (255 - color[0]) // 2, color[1] + (255 - color[1]) // 2, color[2] + (255 - color[2]) // 2)


def darker(color: Color) -> Color:
    """Seven tenths."""
    return (color[0] * 7 // 10, color[1] * 7 // 10, color[2] * 7 // 10)


def metal(gloss: float = 0.8) -> Material:
    """Bare steel."""
    return Material("plain", STEEL, gloss=gloss)


def patterned(
    color: Color, rng: np.random.Generator, patterns: tuple[str, ...], scale_m: float, gloss: float
) -> Material:
    """One of the patterns, in that colour and its lighter shade; the colour itself keeps the greater part."""
    return Material(str(rng.choice(patterns)), color, lighter(color), scale_m, gloss)
