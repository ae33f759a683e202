"""The demo's own recording, and which of its objects are worth asking about."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scene_r1.box import Box3D
from scene_r1.convert import convert
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.sources import create_sink

FRAMES, RATE_HZ = 100, 5.0
"""A walk of 20 s, once around the room."""
LEAST_SIDE_PX, LARGEST_SHARE = 24, 0.25
RIM_PX = 8


@dataclass(frozen=True, slots=True)
class Question:
    """An object, the frame that shows it best, and its 2D box there. truth: its exact 3D box."""

    name: str
    frame: int
    xyxy: tuple[float, float, float, float]
    truth: Box3D


def make_recording(path: str | os.PathLike[str], seed: int, on_frame: Callable[[int], None]) -> SyntheticRecording:
    """Render the walk through the room of that seed and write it as a recording; returns the synthetic original.

    on_frame is called with the number of frames written. Raises MissingExtra without a ray caster, OutputExists when
    `path` is taken.
    """
    room = SyntheticRecording(seed, FRAMES, rate_hz=RATE_HZ)
    convert(room, create_sink(path, like=room.info), on_frame)
    return room


def questions(room: SyntheticRecording, most: int) -> list[Question]:
    """Up to `most` objects that are seen well: whole in the picture, unoccluded as far as possible, at 0.6 to 2 m."""
    seen = room.visible_fraction()
    best: dict[int, tuple[float, Question]] = {}
    for index in range(0, len(room), 3):
        instance = room.truth(index).instance
        for thing in room.room.objects:
            mask = instance == thing.id
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows) == 0 or seen[thing.id].fraction < 0.6:
                continue
            x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
            h, w = mask.shape
            whole = x0 >= RIM_PX and y0 >= RIM_PX and x1 <= w - RIM_PX and y1 <= h - RIM_PX
            if not whole or min(x1 - x0, y1 - y0) < LEAST_SIDE_PX or mask.mean() > LARGEST_SHARE:
                continue
            pixels = float(np.count_nonzero(mask))
            if thing.id not in best or pixels > best[thing.id][0]:
                truth = Box3D.from_corners(thing.box.low, thing.box.high)
                xyxy = (float(x0), float(y0), float(x1), float(y1))
                best[thing.id] = pixels, Question(thing.name, index, xyxy, truth)
    ranked = sorted(best.values(), key=lambda pair: -pair[0])
    return [question for _, question in ranked[:most]]
