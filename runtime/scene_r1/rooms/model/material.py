"""What surfaces are made of: procedural patterns, coloured by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig

PATTERNS = (
    # A pattern's place in this tuple is its number in the shading kernels.
    "plain",  # one colour, a little uneven
    "planks",  # a floor of boards along x, `scale_m` wide
    "wall",  # paint with a faint gradient, and a skirting board
    "wood",  # grain along the texture's x axis
    "stripes",  # bands across z, `scale_m` apart
    "checks",  # a chequered pattern, `scale_m` wide
    "dots",  # round dots, `scale_m` apart
    "picture",  # a landscape on the xz plane, `region` = (-w/2, -h/2, w/2, h/2)
    "sky",  # gives light: what is seen through the window; `gloss` is how bright
    "leaves",  # foliage
    "pages",  # the cut side of a book
    "spines",  # a row of muted book spines along x
    "glow",  # gives light: a lamp's shade or panel; `gloss` is how bright
    "herringbone",  # a floor of short boards, `scale_m` wide, at right angles
    "tiles",  # square tiles `scale_m` wide with joints of the second colour
    "brick",  # a wall of painted bricks, with a skirting board
    "wallpaper",  # broad stripes `scale_m` apart with small blossoms, and a skirting board
    "weave",  # cloth or wicker of crossing strands, `scale_m` apart
    "marble",  # stone with veins of the second colour
    "zigzag",  # zigzag bands, `scale_m` apart
    "plaid",  # crossing lines of the second colour, `scale_m` apart
    "rug",  # on the floor, `region` is its rectangle: a border and rows of diamonds
    "striped rug",  # on the floor, `region` is its rectangle: bands across x
    "abstract",  # a picture of discs and bars, `region` as for `picture`
)

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (190, 32, 34),
    "orange": (228, 116, 28),
    "yellow": (232, 196, 44),
    "green": (52, 138, 62),
    "teal": (28, 136, 142),
    "blue": (36, 76, 176),
    "purple": (112, 58, 150),
    "pink": (226, 122, 158),
    "white": (226, 224, 218),
    "black": (34, 34, 38),
}
"""sRGB, 0..255, of the colours objects are called by."""


@dataclass(frozen=True, slots=True)
class Material:
    """A pattern and its parameters.

    color, second: sRGB in 0..255; what `second` does is the pattern's own affair. scale_m: size of the pattern.
    gloss: 0 (matt) .. 1 (glazed), or how bright what gives light is. region: x0, y0, x1, y1 in texture metres, for
    patterns that need one.
    """

    pattern: str
    color: tuple[int, int, int]
    second: tuple[int, int, int] = (128, 128, 128)
    scale_m: float = 0.05
    gloss: float = 0.0
    region: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise BadConfig(f"unknown pattern {self.pattern!r}; known: {', '.join(PATTERNS)}")

    def row(self) -> NDArray[np.float32]:
        """(13,) float32 for the kernel: pattern, linear colour, linear second colour, scale, gloss, region."""
        return np.array(
            [
                PATTERNS.index(self.pattern),
                *linear(self.color),
                *linear(self.second),
                self.scale_m,
                self.gloss,
                *self.region,
            ],
            dtype=np.float32,
        )


def linear(srgb: tuple[int, int, int]) -> NDArray[np.float64]:
    """Linear light in 0..1 of an sRGB colour in 0..255 (IEC 61966-2-1)."""
    c = np.asarray(srgb, dtype=np.float64) / 255.0
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
