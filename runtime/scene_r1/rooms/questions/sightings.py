"""In which frames of a walk each thing is seen, and where in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from scene_r1.rooms.model.room import BACKGROUND
from scene_r1.rooms.questions.question import Xyxy
from scene_r1.rooms.questions.seen_walk import SeenWalk
from scene_r1_engines.errors import BadInput

CLEAR_SHARE = 0.001
"""Share of the picture that a thing must cover to count as seen: 77 of 320x240 pixels."""
CLEAR_SIDE = 7.0 / 320.0
"""And both sides of what is visible of it, in widths of the picture."""
BRIDGED_S = 1.0
SHORTEST_S = 0.5
SLACK = 1e-6
"""Rounding of times, in seconds."""


class Sighting(NamedTuple):
    """One thing in one frame. box: xyxy of its visible pixels, x1 and y1 one past the last.

    share: 1 when it just counts as seen, by area or by its shorter side, whichever is less; more when larger.
    """

    frame: int
    pixels: int
    box: Xyxy
    share: float

    @property
    def clear(self) -> bool:
        """Large enough to be asked for."""
        return self.share >= 1.0

    @property
    def faint(self) -> bool:
        """Large enough that somebody might notice it: half of clear."""
        return self.share >= 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Of each thing's id (objects, furniture, clutter) every frame that shows a pixel of it, in order.

    times_s: (N,) seconds. size: (width, height) of the pictures.
    """

    of_thing: Mapping[int, tuple[Sighting, ...]]
    times_s: NDArray[np.float64]
    size: tuple[int, int]
    _windows: dict[int, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, walk: SeenWalk) -> Sightings:
        """Read the instance images once. Raises BadInput for a walk whose parts do not belong together."""
        known = _check(walk)
        found: dict[int, list[Sighting]] = {}
        width, height = walk.intrinsics.width, walk.intrinsics.height
        for frame, image in enumerate(walk.instance):
            labels = np.asarray(image, np.int32) + 1  # the background becomes 0, which find_objects leaves out
            counts = np.bincount(labels.ravel())
            for id, place in enumerate(find_objects(labels)):
                if place is None:
                    continue
                if id not in known:
                    raise BadInput(f"frame {frame}: the instance image has an id that no thing has: {id}")
                rows, columns = place
                box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
                pixels, side = int(counts[id + 1]), min(box[2] - box[0], box[3] - box[1])
                share = min(pixels / (CLEAR_SHARE * width * height), side / (CLEAR_SIDE * width))
                found.setdefault(id, []).append(Sighting(frame, pixels, box, share))
        return cls({id: tuple(seen) for id, seen in found.items()}, np.asarray(walk.times_s), (width, height))

    def all(self, id: int) -> tuple[Sighting, ...]:
        """Every frame with a pixel of it."""
        return self.of_thing.get(id, ())

    def clear(self, id: int) -> tuple[Sighting, ...]:
        """The frames in which it is large enough to be asked for."""
        return tuple(seen for seen in self.all(id) if seen.clear)

    def windows_s(self, id: int) -> tuple[tuple[float, float], ...]:
        """(start, end) seconds of each stretch in which it is clearly seen, the one with most of its pixels first.

        Half a frame step is added at either end, gaps up to a second are bridged, what is shorter than half a second
        is left out.
        """
        if id not in self._windows:
            self._windows[id] = self._stretches(id)
        return self._windows[id]

    def within(self, id: int, window_s: tuple[float, float]) -> tuple[Sighting, ...]:
        """Where it is clearly seen between two times."""
        return tuple(s for s in self.clear(id) if window_s[0] - SLACK <= self._at(s) <= window_s[1] + SLACK)

    @property
    def step_s(self) -> float:
        """From one frame to the next, as a rule; 0 with one frame."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else 0.0

    def _stretches(self, id: int) -> tuple[tuple[float, float], ...]:
        runs: list[list[Sighting]] = []
        step = self.step_s
        for seen in self.clear(id):
            if runs and self._at(seen) - self._at(runs[-1][-1]) - step <= BRIDGED_S + SLACK:
                runs[-1].append(seen)
            else:
                runs.append([seen])
        first, last = float(self.times_s[0]), float(self.times_s[-1])
        weighed = []
        for run in runs:
            window = (max(self._at(run[0]) - step / 2, first), min(self._at(run[-1]) + step / 2, last))
            if window[1] - window[0] >= SHORTEST_S - SLACK:
                weighed.append((-sum(seen.pixels for seen in run), window))
        return tuple(window for _, window in sorted(weighed))

    def _at(self, seen: Sighting) -> float:
        return float(self.times_s[seen.frame])


def _check(walk: SeenWalk) -> set[int]:
    """The ids that the pictures may show."""
    n = len(walk.instance)
    if n == 0:
        raise BadInput("a walk without frames has nothing to ask about")
    if np.shape(walk.poses) != (n, 4, 4) or np.shape(walk.times_s) != (n,):
        raise BadInput(
            f"a walk of {n} instance images needs poses ({n}, 4, 4) and times_s ({n},), "
            f"got {np.shape(walk.poses)} and {np.shape(walk.times_s)}"
        )
    if not np.all(np.isfinite(walk.poses)):
        raise BadInput("a walk's poses must be finite: leave out the frames without one")
    times = [float(t) for t in walk.times_s]
    if not np.all(np.isfinite(times)) or any(b <= a for a, b in pairwise(times)):
        raise BadInput("a walk's times_s must be finite and grow from frame to frame")
    shape = (walk.intrinsics.height, walk.intrinsics.width)
    pieces = (*walk.room.furniture, *walk.room.clutter)
    known = {BACKGROUND, *(thing.id for thing in walk.room.objects), *(piece.id for piece in pieces)}
    for frame, image in enumerate(walk.instance):
        if np.shape(image) != shape or not np.issubdtype(np.asarray(image).dtype, np.integer):
            raise BadInput(f"frame {frame}: an instance image is {shape} whole numbers, got {np.shape(image)}")
        low, high = int(image.min()), int(image.max())
        if low < BACKGROUND or high > max(known):
            raise BadInput(f"frame {frame}: the instance image has ids that no thing has: {low}..{high}")
    if [seen.id for seen in walk.visible] != [thing.id for thing in walk.room.objects]:
        raise BadInput("a walk's `visible` must name every object of its room, in the order of their ids")
    return known
