"""How two things stand to each other in the pictures of a walk: beside, and before or behind one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.rooms.questions.graph import Graph, Thing
from scene_r1.rooms.questions.meaning import PictureRelation
from scene_r1.rooms.questions.seen_walk import SeenWalk
from scene_r1.rooms.questions.sightings import Sightings

ASIDE = 0.15
"""Middles this far apart, in widths of the picture, are clearly beside each other."""
DEEPER_M = 0.25
IN_LINE = 0.4
"""Behind and in front are said of things that lie about one way: middles within this many widths."""
MIN_FRAMES = 2
NEIGHBOURS_M = 1.5
"""People tell a thing's place by what is near it."""
NEARBY_M = 1.0
"""A thing this near, and never in one picture with the other, may well be beside it in somebody's eyes."""


class Offsets(NamedTuple):
    """Of the frames that show two things: how much further right (widths), deeper (metres) the first is; (M,) each.

    clear: whether both are clearly seen there.
    """

    right: NDArray[np.float64]
    deeper_m: NDArray[np.float64]
    clear: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What the pictures of one walk tell."""

    walk: SeenWalk
    graph: Graph
    sightings: Sightings
    _offsets: dict[tuple[int, int], Offsets] = field(default_factory=dict)

    def clearly(self, relation: PictureRelation, a: Thing, b: Thing) -> bool:
        """Whether a is so in every frame that clearly shows both, with a margin, and in two frames at least."""
        if self.graph.gap_m(a, b) > NEIGHBOURS_M:
            return False
        both = self._of(a, b)
        right, deeper = both.right[both.clear], both.deeper_m[both.clear]
        if len(right) < MIN_FRAMES:
            return False
        if relation in ("left_of", "right_of"):
            return bool(np.all(_signed(relation, right) >= ASIDE))
        return bool(np.all(_signed(relation, deeper) >= DEEPER_M) and np.all(np.abs(right) <= IN_LINE))

    def maybe(self, relation: PictureRelation, a: Thing, b: Thing) -> bool:
        """Whether a is so in any frame that shows a bit of both, by half the margin."""
        both = self._of(a, b)
        if len(both.right) == 0:
            return self.graph.gap_m(a, b) < NEARBY_M
        if relation in ("left_of", "right_of"):
            return bool(np.any(_signed(relation, both.right) >= ASIDE / 2))
        return bool(np.any(_signed(relation, both.deeper_m) >= DEEPER_M / 2))

    def _of(self, a: Thing, b: Thing) -> Offsets:
        if (a.id, b.id) not in self._offsets:
            second = {seen.frame: seen for seen in self.sightings.all(b.id) if seen.faint}
            pairs = [(s, second[s.frame]) for s in self.sightings.all(a.id) if s.faint and s.frame in second]
            width = self.sightings.size[0]
            apart = a.box.center - b.box.center
            right = [(s.box[0] + s.box[2] - t.box[0] - t.box[2]) / 2 / width for s, t in pairs]
            deeper = [float(pose.inverse(self.walk.poses[s.frame])[2, :3] @ apart) for s, _ in pairs]
            clear = [s.clear and t.clear for s, t in pairs]
            self._offsets[a.id, b.id] = Offsets(np.array(right), np.array(deeper), np.array(clear, np.bool_))
        return self._offsets[a.id, b.id]


def _signed(relation: PictureRelation, offset: NDArray[np.float64]) -> NDArray[np.float64]:
    return -offset if relation in ("left_of", "in_front_of") else offset
