"""Views of many rooms in memory, and the pictures cut out of them that the vision tower learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_export.nano.data.classes import color_number, kind_number
from scene_r1_export.nano.data.shard import read_shard

OBJECT, FURNITURE = 1, 2
NOTHING = 255
"""In an instance image of 8 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One view. image: (H, W, 3) uint8 RGB. instance: (H, W) uint8, a row of `things` or NOTHING. things: (n, 3)
    int64: kind, colour, and OBJECT or FURNITURE."""

    image: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    things: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """What the patches of one picture show, row after row of a grid. kind, color: (n,) int64, color -1 where nobody
    would name one. box: (n, 4) float32 xyxy pixels of the thing's visible part, 0 where there is none."""

    kind: NDArray[np.int64]
    color: NDArray[np.int64]
    box: NDArray[np.float32]


class Views:
    """All views of the rooms in some folders, decoded. `refresh` takes in rooms that were written since."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.views: list[Shown] = []
        self._read: set[Path] = set()

    def refresh(self, most: int | None = None) -> int:
        """Read up to `most` new files. Returns how many there were."""
        new = [path for folder in self.folders for path in sorted(folder.glob("room-*.npz")) if path not in self._read][
            :most
        ]
        for path in new:
            self._read.add(path)
            self.views.extend(_shown(path))
        return len(new)


def _shown(path: Path) -> list[Shown]:
    room = read_shard(path)
    things = [thing for thing in room.things if thing.kind != "clutter"]
    table = np.array(
        [
            (kind_number(t.name), color_number(t.color), OBJECT if t.kind == "object" else FURNITURE)
            for t in things
        ],
        np.int64,
    )  # fmt: skip
    rows = np.full(max(512, max(t.id for t in room.things) + 2), NOTHING, np.uint8)
    for row, thing in enumerate(things):
        rows[thing.id] = row
    rows[-1] = NOTHING  # the background is -1
    return [Shown(image, rows[shown], table) for image, shown in zip(room.images, room.instance, strict=True)]


def cut(
    view: Shown, size: int, scale: float, zoom: tuple[float, float], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A square of `size` pixels cut out of a view around one of its objects as a rule, mirrored half of the time.

    scale: of the whole view when the model looks at it; zoom: so much larger than that. Returns picture and instance.
    """
    height, width = view.instance.shape
    side = min(round(size / (scale * rng.uniform(*zoom))), height, width)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    shown = np.unique(view.instance[::8, ::8])
    objects = [row for row in shown if row != NOTHING and view.things[row, 2] == OBJECT]
    if objects and rng.random() < 0.75:
        rows, columns = np.nonzero(view.instance[::8, ::8] == objects[int(rng.integers(len(objects)))])
        pick = int(rng.integers(len(rows)))
        x, y = columns[pick] * 8 + rng.normal(0, side / 5), rows[pick] * 8 + rng.normal(0, side / 5)
    left, top = (int(np.clip(at - side / 2, 0, most - side)) for at, most in ((x, width), (y, height)))
    image = view.image[top : top + side, left : left + side]
    instance = view.instance[top : top + side, left : left + side]
    way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    image = cv2.resize(image, (size, size), interpolation=way).astype(np.uint8)
    instance = cv2.resize(instance, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    if rng.random() < 0.5:
        image, instance = image[:, ::-1], instance[:, ::-1]
    return image, instance


def relit(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A little brighter or darker, flatter or harder, warmer or colder."""
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)
    lift = rng.uniform(-12, 12)
    lit: NDArray[np.uint8] = np.clip(image * gain.astype(np.float32) + np.float32(lift), 0, 255).astype(np.uint8)
    return lit


def dense(instance: NDArray[np.uint8], things: NDArray[np.int64], step: int) -> Dense:
    """What each square of `step` pixels shows: the object that covers most of it, or has most of itself in it."""
    height, width = instance.shape
    rows, columns = height // step, width // step
    kind, color = np.zeros(rows * columns, np.int64), np.full(rows * columns, -1, np.int64)
    box, best = np.zeros((rows * columns, 4), np.float32), np.zeros(rows * columns)
    for row in np.unique(instance):
        if row == NOTHING:
            continue
        mask = instance == row
        y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        count = mask.reshape(rows, step, columns, step).sum(axis=(1, 3), dtype=np.int32).ravel()
        whole = int(count.sum())
        if whole < 24:
            continue
        is_object = things[row, 2] == OBJECT
        share = count / min(step * step, whole)
        worth = np.where(share > 0.25, 1.0 + share, 0.0) if is_object else np.where(share > 0.35, share, 0.0)
        wins = worth > best
        best[wins] = worth[wins]
        kind[wins], color[wins] = things[row, 0], things[row, 1] if is_object else -1
        box[wins] = (x[0], y[0], x[-1] + 1, y[-1] + 1)
    return Dense(kind, color, box)


def by_cells(target: Dense, rows: int, columns: int) -> Dense:
    """Patches in the order of cells, four by four, as the vision tower has them. rows, columns: of the patches."""
    order = np.arange(rows * columns).reshape(rows // 2, 2, columns // 2, 2).transpose(0, 2, 1, 3).ravel()
    return Dense(target.kind[order], target.color[order], target.box[order])


def centers(rows: int, columns: int, step: int) -> NDArray[np.float32]:
    """(rows * columns, 2) float32 xy of the middles of the squares."""
    y, x = np.mgrid[:rows, :columns]
    return np.asarray((np.stack((x.ravel(), y.ravel()), axis=1) + 0.5) * step, np.float32)
