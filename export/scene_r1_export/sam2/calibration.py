"""Pictures from all over a recording, for choosing the steps of int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources import open_source
from scene_r1_engines.errors import BadInput

FEWEST = 8
"""Of a long recording; at most twice as many are held."""
LEAST_PICTURES = 4
"""As quantising asks for; said here before the long work."""
MOST_FRAMES = 8192
"""How far a recording is read."""


def calibration_pictures(recording: Path) -> list[NDArray[np.uint8]]:
    """Up to 15 colour images (H, W, 3) uint8 RGB, evenly spread over a recording; all of a short one.

    No format says reliably how many frames there are, so the spacing doubles whenever twice FEWEST are held. Raises
    BadRecording, BadInput where it has too few.
    """
    kept: list[NDArray[np.uint8]] = []
    every = 1
    with open_source(recording) as source:
        for number, frame in enumerate(source.frames()):
            if number >= MOST_FRAMES:
                break
            if number % every == 0:
                kept.append(frame.color)
            if len(kept) == 2 * FEWEST:
                kept = kept[::2]
                every *= 2
    if len(kept) < LEAST_PICTURES:
        raise BadInput(f"{recording} has {len(kept)} pictures, int8 wants {LEAST_PICTURES}: name a longer recording")
    return kept
