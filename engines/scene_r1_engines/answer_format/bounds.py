"""What an answer may speak of: the seconds of a recording, or the pixels of a picture as the model sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from scene_r1_engines.answer_format.numbers import BOUND
from scene_r1_engines.errors import BadInput
from scene_r1_engines.reasoner import Box

Window: TypeAlias = tuple[float, float]
"""(start_s, end_s) on the recording's clock, end_s > start_s: the value of a verdict on `when`."""
Boxes: TypeAlias = tuple[tuple[Box, str], ...]
"""One or more (xyxy, label), xyxy in the space the model speaks: the value of a verdict on `where`."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """The whole seconds that a window may lie in. first, last: 0 <= first < last."""

    first: int
    last: int

    @classmethod
    def of(cls, start_s: float, end_s: float) -> Seconds:
        """From a recording's span, rounded outwards and at least one second long: a span of one keyframe is a window
        too. Raises BadInput unless 0 <= start_s <= end_s < BOUND."""
        if not 0.0 <= start_s <= end_s < BOUND - 2:  # false for NaN too
            raise BadInput(f"a recording's span must have 0 <= start <= end < {BOUND - 2} s, got {start_s} and {end_s}")
        first = math.floor(start_s)
        return cls(first, max(math.ceil(end_s), first + 1))

    def hold(self, window: Window) -> bool:
        """Whether the window is one, and lies in them."""
        return self.first <= window[0] < window[1] <= self.last


@dataclass(frozen=True, slots=True)
class Sides:
    """Width and height of a picture in the space the model speaks: 1000 and 1000 where boxes are relative.

    Raises BadInput unless both are in 1..BOUND - 1.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        if not (1 <= self.width < BOUND and 1 <= self.height < BOUND):
            raise BadInput(f"a picture's sides must be in 1..{BOUND - 1}, got {self.width} x {self.height}")

    def hold(self, xyxy: Box) -> bool:
        """Whether the box is one, and lies in the picture."""
        x0, y0, x1, y1 = xyxy
        return 0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height
