"""Who fits a question: a small program that reads the scene graph and the walk, and knows nothing of any wording.

It reads a meaning twice. The strict reading takes words at their word and wants every relation by a clear margin. The
lenient one asks what somebody might have meant: similar words and colours, half the margins, furniture and clutter
too, and things that the walk has never seen. A question is fair when both give the same one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import get_args

import numpy as np

from scene_r1 import pose
from scene_r1.rooms.questions.graph import (
    Graph,
    Thing,
    between,
    center_distance_m,
    rests_on,
    same_level,
    share_under,
)
from scene_r1.rooms.questions.meaning import PICTURE_RELATIONS, Meaning, Noun, PictureRelation, Relation
from scene_r1.rooms.questions.naming import could_be_called, could_have_color
from scene_r1.rooms.questions.picture import Picture
from scene_r1.rooms.questions.seen_walk import SeenWalk
from scene_r1.rooms.questions.sightings import Sightings

NEXT_TO_M = 0.45
FURTHER_RATIO, FURTHER_M = 2.0, 0.5
"""A rival of what is next to something is further from it by this factor and by this much."""
NEARER_RATIO, NEARER_M = 1.4, 0.25
"""The closest is closer than the second by this factor and by this much; the farthest likewise."""
SIZE_RATIO, LENIENT_SIZE_RATIO = 1.3, 1.1
UNDER_SHARE = 0.6
BETWEEN_WAY, BETWEEN_OFF, BETWEEN_M = (0.25, 0.75), 0.2, 1.6
TARGET_SEEN = 0.6
TARGET_SIDE = 20.0 / 320.0
TARGET_FRAMES = 3
ANCHOR_FRAMES = 2

Measure = Callable[[Thing], float]


@dataclass(frozen=True, slots=True, eq=False)
class Solver:
    """The readings of meanings in one walk."""

    walk: SeenWalk
    graph: Graph
    sightings: Sightings
    picture: Picture
    _worth: dict[int, bool] = field(default_factory=dict)
    _could_be: dict[Noun, tuple[Thing, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, walk: SeenWalk) -> Solver:
        """Raises BadInput for a walk whose parts do not belong together."""
        sightings, graph = Sightings.of(walk), Graph.of(walk.room)
        return cls(walk, graph, sightings, Picture(walk, graph, sightings))

    def only(self, meaning: Meaning) -> Thing | None:
        """The object that a find question means when there can be no doubt which."""
        strict = self.clearly(meaning)
        return self.graph.things[min(strict)] if len(strict) == 1 and self.maybe(meaning) == strict else None

    def clearly(self, meaning: Meaning) -> frozenset[int]:
        """Ids of the objects that fit by the strict reading; none when an anchor's name is no one thing's."""
        anchors = [self.named(noun) for noun in meaning.anchors]
        if any(len(things) != 1 for things in anchors):
            return frozenset()
        chosen = tuple(things[0] for things in anchors)
        rivals = [thing for thing in self.called(meaning.noun) if thing not in chosen]
        return self._related(meaning.relation, rivals, chosen, strict=True)

    def maybe(self, meaning: Meaning) -> frozenset[int]:
        """Ids of all things, furniture and clutter included, that fit by some lenient reading."""
        out: frozenset[int] = frozenset()
        for chosen in product(*(self.could_be(noun) for noun in meaning.anchors)):
            if len(set(chosen)) == len(chosen):
                rivals = [thing for thing in self.could_be(meaning.noun) if thing not in chosen]
                out |= self._related(meaning.relation, rivals, chosen, strict=False)
        return out

    def called(self, noun: Noun) -> list[Thing]:
        """The objects of exactly that shape and colour."""
        return [
            thing
            for thing in self.graph.objects
            if noun.shape in (None, thing.name) and noun.color in (None, thing.color)
        ]

    def named(self, noun: Noun) -> list[Thing]:
        """The objects and the furniture of exactly that name: what an anchor may be."""
        pieces = [piece for piece in self.graph.furniture if noun.color is None and piece.name == noun.shape]
        return [*self.called(noun), *pieces]

    def could_be(self, noun: Noun) -> tuple[Thing, ...]:
        """All things that somebody might mean by a noun."""
        if noun not in self._could_be:
            self._could_be[noun] = tuple(
                thing
                for thing in self.graph.things.values()
                if (could_be_called(thing.name, noun.shape) if noun.shape else thing.kind != "shell")
                and (noun.color is None or could_have_color(thing.name, thing.color, noun.color))
            )
        return self._could_be[noun]

    def shortest_name(self, thing: Thing) -> Noun | None:
        """What to call a thing so that nothing else can be meant; None when no name will do."""
        nouns = [Noun(thing.name)] if thing.color is None else [Noun(thing.name), Noun(thing.name, thing.color)]
        for noun in nouns:
            could = [other for other in self.could_be(noun) if not self._longer_named(other, thing)]
            if could == [thing]:
                return noun
        return None

    def share_seen(self, thing: Thing) -> float:
        """How much of an object the walk has seen (0..1)."""
        return self.walk.visible[thing.id].fraction

    def seen_well(self, thing: Thing, frames: int = ANCHOR_FRAMES) -> bool:
        """Whether some stretch of the walk and at least so many frames show a thing clearly."""
        return len(self.sightings.clear(thing.id)) >= frames and bool(self.sightings.windows_s(thing.id))

    def worth_asking(self, thing: Thing) -> bool:
        """Whether an object can be found: most of it seen, in three frames, in one of them whole and large."""
        if thing.id not in self._worth:
            self._worth[thing.id] = (
                self.share_seen(thing) >= TARGET_SEEN
                and self.seen_well(thing, TARGET_FRAMES)
                and any(self._whole(thing, s.frame, s.box) for s in self.sightings.clear(thing.id))
            )
        return self._worth[thing.id]

    def _longer_named(self, other: Thing, thing: Thing) -> bool:
        # Beside a `coffee table` the plain `table` is the other one.
        return thing.kind == other.kind == "furniture" and other.name.endswith(" " + thing.name)

    def _whole(self, thing: Thing, frame: int, box: tuple[float, float, float, float]) -> bool:
        width, height = self.sightings.size
        if max(box[2] - box[0], box[3] - box[1]) < TARGET_SIDE * width:
            return False
        corners = np.array(list(product(*zip(thing.box.low, thing.box.high, strict=True))))
        uv = self.walk.intrinsics.project(pose.apply(pose.inverse(self.walk.poses[frame]), corners))
        with np.errstate(invalid="ignore"):
            return bool(np.all((uv >= -0.5) & (uv <= (width - 0.5, height - 0.5))))

    def _related(
        self, relation: Relation | None, rivals: Sequence[Thing], anchors: tuple[Thing, ...], strict: bool
    ) -> frozenset[int]:
        if relation is None:
            return _ids(rivals)
        if relation in PICTURE_RELATIONS:
            holds = self.picture.clearly if strict else self.picture.maybe
            way: PictureRelation = get_args(PictureRelation)[PICTURE_RELATIONS.index(relation)]
            return _ids(thing for thing in rivals if holds(way, thing, anchors[0]))
        if relation == "on":
            carrier = anchors[0]
            return _ids(
                thing for thing in rivals if (thing.support == carrier.id if strict else rests_on(thing, carrier))
            )
        if relation == "under":
            share = UNDER_SHARE if strict else UNDER_SHARE / 2
            return _ids(thing for thing in rivals if share_under(thing, anchors[0]) >= share)
        if relation == "next_to":
            return self._next_to(rivals, anchors[0], strict)
        if relation == "between":
            return _ids(thing for thing in rivals if self._between(thing, anchors[0], anchors[1], strict))
        if relation in ("closest_to", "farthest_from"):
            return self._by_distance(rivals, anchors[0], relation == "closest_to", strict)
        measures: tuple[Measure, ...] = (_height,) if relation in ("tall", "short") else (_size, _edge)
        return _by_size(rivals, measures, relation in ("largest", "tall", "big"), strict)

    def _next_to(self, rivals: Sequence[Thing], anchor: Thing, strict: bool) -> frozenset[int]:
        gaps = {thing.id: self.graph.gap_m(thing, anchor) for thing in rivals if not rests_on(thing, anchor)}
        if not strict:
            return frozenset(id for id, gap in gaps.items() if gap <= 1.5 * NEXT_TO_M)
        beside = [
            thing
            for thing in rivals
            if thing.id in gaps and gaps[thing.id] <= NEXT_TO_M and same_level(thing, anchor)
            and share_under(thing, anchor) == share_under(anchor, thing) == 0.0
        ]  # fmt: skip
        nearest = min(gaps.values(), default=0.0)
        apart = max(FURTHER_RATIO * nearest, nearest + FURTHER_M)
        return _ids(beside) if sum(gap < apart for gap in gaps.values()) == 1 else frozenset()

    def _between(self, thing: Thing, a: Thing, b: Thing, strict: bool) -> bool:
        along, off = between(thing, a, b)
        low, high = BETWEEN_WAY
        if not strict:
            return low / 2 <= along <= (1.0 + high) / 2 and off <= 2 * BETWEEN_OFF
        near = center_distance_m(a, b) <= BETWEEN_M and thing.support == a.support == b.support
        return near and low <= along <= high and off <= BETWEEN_OFF

    def _by_distance(
        self, rivals: Sequence[Thing], anchor: Thing, closest: bool, strict: bool
    ) -> frozenset[int]:  # fmt: skip
        if len(rivals) < 2 and strict:
            return frozenset()
        if strict:  # what stands on the anchor is not close to it, and a question about others would forget it
            rivals = [thing for thing in rivals if not rests_on(thing, anchor)]
        part = 1.0 if strict else 0.5
        out: list[set[int]] = []
        # Near is near by faces to the one and by middles to the other: both must agree, or either will do.
        for distance in (self.graph.gap_m, center_distance_m):
            away = {thing.id: distance(thing, anchor) for thing in rivals}
            ratio, margin = 1.0 + part * (NEARER_RATIO - 1.0), part * NEARER_M
            if distance is center_distance_m:
                ratio = 1.0 + (ratio - 1.0) / 2  # of middles even near things are some way apart
            out.append(_extreme(away, ratio, margin, highest=not closest))
        return _one_by_all(out) if strict else frozenset().union(*out)


def _by_size(
    rivals: Sequence[Thing], measures: tuple[Measure, ...], highest: bool, strict: bool
) -> frozenset[int]:  # fmt: skip
    if len(rivals) < 2 and strict:
        return frozenset()
    ratio = SIZE_RATIO if strict else LENIENT_SIZE_RATIO
    out = [_extreme({thing.id: of(thing) for thing in rivals}, ratio, 0.0, highest) for of in measures]
    return _one_by_all(out) if strict else frozenset().union(*out)


def _extreme(values: dict[int, float], ratio: float, margin: float, highest: bool) -> set[int]:
    """The ids whose value is not beaten by the best by both the ratio and the margin."""
    if not values:
        return set()
    if highest:
        best = max(values.values())
        return {id for id, value in values.items() if value * ratio > best or value + margin > best}
    best = min(values.values())
    return {id for id, value in values.items() if value < best * ratio or value < best + margin or value == best}


def _one_by_all(found: Sequence[set[int]]) -> frozenset[int]:
    """The one thing that every measure gives alone; nothing otherwise."""
    first = found[0]
    return frozenset(first) if len(first) == 1 and all(other == first for other in found) else frozenset()


def _size(thing: Thing) -> float:
    return thing.size_m


def _height(thing: Thing) -> float:
    return thing.height_m


def _edge(thing: Thing) -> float:
    return float(np.cbrt(thing.volume_m3))


def _ids(things: Iterable[Thing]) -> frozenset[int]:
    return frozenset(thing.id for thing in things)
