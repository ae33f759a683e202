"""The colours of pictures, as RGB. Hues after Okabe and Ito, which people with any colour vision tell apart."""

from __future__ import annotations

from typing import Final

Color = tuple[int, int, int]

MASK: Final[Color] = (86, 180, 233)
BOX_2D: Final[Color] = (240, 228, 66)
BOX_3D: Final[Color] = (255, 112, 56)
TRUTH: Final[Color] = (70, 214, 150)
PAPER: Final[Color] = (24, 26, 31)
"""Behind captions and between the pictures of a sheet."""
INK: Final[Color] = (236, 238, 242)
HALO: Final[Color] = (12, 13, 16)
"""Around lines, so that they stand out on bright things too."""
