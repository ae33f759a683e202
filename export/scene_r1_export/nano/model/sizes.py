"""How large the small model is."""

from __future__ import annotations

from dataclasses import dataclass

PATCH = 14
CELL = 2 * PATCH
"""Pixels of a patch, and of the four patches that become one token."""
WINDOW = 112


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of a Qwen2.5-VL: 5.5 M parameters.

    picture: (height, width) that a 4:3 camera's frame is resized to. The rotary base is the large model's, the sections
    are not: in heads this narrow its first frequency for columns turns by 0.0002 rad a column, and no layer could tell
    left from right by that. Here a row turns by up to 0.65 and a column by up to 0.08 rad, and more than half of the
    frequencies stand still over a whole walk, so that what something is can be asked wherever it is.
    """

    picture: tuple[int, int] = (252, 336)
    vision_width: int = 160
    vision_depth: int = 5
    vision_heads: int = 5
    vision_mlp: int = 448
    full_attention: tuple[int, ...] = (1, 3)
    width: int = 256
    depth: int = 4
    heads: int = 4
    kv_heads: int = 2
    mlp: int = 640
    rope_base: float = 1e6
    rope_sections: tuple[int, int, int] = (1, 5, 26)

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of tokens that a picture becomes."""
        return self.picture[0] // CELL, self.picture[1] // CELL


NANO = Sizes()
TINY = Sizes(
    picture=(84, 112),
    vision_width=32,
    vision_depth=3,  # llama.cpp's converter knows the merger's third layer only where there are three blocks
    vision_heads=2,
    vision_mlp=64,
    full_attention=(1,),
    width=64,
    depth=2,
    heads=4,
    kv_heads=2,
    mlp=96,
    rope_sections=(1, 2, 5),
)
"""For tests: a few steps of it take a second."""
