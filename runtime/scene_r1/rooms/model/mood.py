"""The light a room is in: by day, on a dull day, in the evening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.room import MOODS, Mood

Rgb = tuple[float, float, float]

SUN: Rgb = (2.6, 2.35, 2.0)
"""Of a clear day, on a surface that faces it. The unit is the rooms' own: 1 is about the light of a bright interior."""
WARM: Rgb = (1.0, 0.9, 0.76)
"""Of a lamp, half-way to how the eye (and a camera's white balance) takes it."""
OFF: Rgb = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Light:
    """What shines in a room. sun, sky: as of `Window`. ceiling, standing: light of the lamp at the ceiling, and of
    floor and desk lamps; OFF when they are. pane: what is seen through the window."""

    mood: Mood
    sun: Rgb
    sky: Rgb
    ceiling: Rgb
    standing: Rgb
    pane: Material


def light_of(rng: np.random.Generator) -> Light:
    """A mood and its light. Lamps are seldom on by day, some are on a dull day, in the evening all that there are."""
    mood = MOODS[rng.choice(3, p=(0.45, 0.25, 0.3))]
    level = rng.uniform(0.8, 1.25)
    if mood == "bright day":
        pane = Material("sky", (150, 196, 240), (236, 240, 240), gloss=2.6)
        return Light(mood, _times(SUN, level), _times((6.6, 7.2, 7.8), level), OFF, OFF, pane)
    if mood == "overcast":
        pane = Material("sky", (222, 228, 234), (238, 238, 238), gloss=2.4)
        ceiling = _times(WARM, 5.0) if rng.random() < 0.6 else OFF
        return Light(mood, OFF, _times((5.0, 5.2, 5.4), level), ceiling, _times(WARM, 1.6), pane)
    pane = Material("sky", (22, 34, 66), (60, 62, 84), gloss=0.25)
    ceiling = _times(WARM, 5.0 * level) if rng.random() < 0.55 else OFF
    return Light(mood, OFF, (0.01, 0.015, 0.03), ceiling, _times(WARM, 4.0), pane)


def _times(color: Rgb, factor: float) -> Rgb:
    return color[0] * factor, color[1] * factor, color[2] * factor
