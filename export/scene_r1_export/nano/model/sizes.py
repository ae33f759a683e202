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

    picture: (height, width) that a 4:3 camera's frame is resized to. The rotary numbers are unlike the large model's:
    with base 10,000 and equal sections the frequencies that count columns turn by 0.03 rad across such a picture,
    and no layer can tell left from right by that. Here a row turns by up to 0.8 and a column by up to 0.14 rad.
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
    rope_base: float = 3000.0
    rope_sections: tuple[int, int, int] = (1, 7, 24)

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
    heads=2,
    kv_heads=1,
    mlp=96,
    rope_sections=(1, 4, 11),
)
"""For tests: a few steps of it take a second."""
