"""What a patch of a picture may be said to show: the shapes, the furniture and the colours of the rooms."""

from __future__ import annotations

from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.shapes import SHAPES

FURNITURE: tuple[str, ...] = (
    "table", "sideboard", "desk", "bookcase", "floor lamp", "wall shelf", "tv stand", "television", "side table",
    "sofa", "cabinet", "armchair", "bench", "shelf",
)  # fmt: skip
"""Beside `chair`, which is a shape as well."""
KINDS: tuple[str, ...] = ("", *SHAPES, *FURNITURE)
"""0 is none of them."""
COLOR_NAMES: tuple[str, ...] = ("", *COLORS)


def kind_number(name: str) -> int:
    """The place of a name in KINDS, 0 for what is not among them."""
    return KINDS.index(name) if name in KINDS else 0


def color_number(name: str) -> int:
    """The place of a colour in COLOR_NAMES, 0 for none."""
    return COLOR_NAMES.index(name) if name in COLOR_NAMES else 0
