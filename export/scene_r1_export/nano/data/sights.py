"""What a picture shows of a room, for questions about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_export.nano.data.shard import RoomShard, Thing, read_shard

CLEAR_SHARE, CLEAR_SIDE = 0.001, 7.0 / 320.0
"""Share of the picture's area, and of its width: as `rooms.questions` counts a thing as seen."""
FAINT = 0.3
"""Of that: so little of a thing is not to be denied."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A thing in a picture. box: xyxy pixels of what is visible. clear: large enough to be asked for."""

    thing: Thing
    box: tuple[float, float, float, float]
    pixels: int
    clear: bool


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A view as the model is given it. image: (H, W, 3) uint8 RGB. sights: everything it shows a bit of."""

    image: NDArray[np.uint8]
    seconds: float
    sights: tuple[Sight, ...]

    def of(self, id: int | None) -> Sight | None:
        """What it shows of a thing."""
        return next((sight for sight in self.sights if sight.thing.id == id), None)

    def clearly(self, id: int | None) -> bool:
        """Whether a thing is large enough in it to be asked for."""
        sight = self.of(id)
        return sight is not None and sight.clear


def read_rooms(folder: Path, most: int | None = None) -> list[RoomShard]:
    """All rooms of a folder, decoded."""
    return [read_shard(path) for path in sorted(folder.glob("room-*.npz"))[:most]]


def picture_of(
    room: RoomShard, index: int, size: tuple[int, int], rng: np.random.Generator | None = None, closer: float = 1.3
) -> Picture:
    """One view of a room. size: (height, width). rng: where given, a part of the view, up to `closer` times as near."""
    image, instance = room.images[index], room.instance[index]
    if rng is not None:
        height, width = instance.shape
        part = 1.0 / rng.uniform(1.0, closer)
        h, w = round(height * part), round(width * part)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        image, instance = image[y : y + h, x : x + w], instance[y : y + h, x : x + w]
    height, width = size
    shrinks = image.shape[0] > height
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    seen = cv2.resize(image, (width, height), interpolation=way).astype(np.uint8)
    shown = cv2.resize(instance, (width, height), interpolation=cv2.INTER_NEAREST)
    return Picture(seen, float(room.seconds[index]), sights(shown, room.things))


def sights(instance: NDArray[np.generic], things: Sequence[Thing]) -> tuple[Sight, ...]:
    """Of every thing in an instance image (H, W): where it is, and how much of it."""
    height, width = instance.shape
    found = []
    known = {thing.id: thing for thing in things if thing.kind != "clutter"}
    for id in np.unique(instance):
        thing = known.get(int(id))
        if thing is None:
            continue
        mask = instance == id
        y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1))
        pixels, side = int(mask.sum()), min(box[2] - box[0], box[3] - box[1])
        share = min(pixels / (CLEAR_SHARE * height * width), side / (CLEAR_SIDE * width))
        if share >= FAINT:
            found.append(Sight(thing, box, pixels, share >= 1.0))
    return tuple(found)
