"""Answers to questions about the room, from the scene graph and the walk; none where people might disagree."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.questions.graph import Thing, center_distance_m
from scene_r1.rooms.questions.meaning import Meaning, Noun
from scene_r1.rooms.questions.phrases import the
from scene_r1.rooms.questions.solver import Solver

COUNTED_SEEN, UNSEEN = 0.4, 0.02
"""What is counted is seen this much at least, what is not counted less than that much; in between nobody knows."""
CLOSER_RATIO, CLOSER_M = 1.4, 0.2
TOUCHING_M = 0.05
"""What stands on something or touches it: nobody asks whether that is closer."""
VOLUME_RATIO, SIZE_RATIO, HEIGHT_RATIO = 2.0, 1.25, 1.5
DISTANCE_M = 0.3


def answer(solver: Solver, meaning: Meaning) -> str | None:
    """The answer as a person would write it; None when people might answer differently."""
    if meaning.kind == "count":
        number = count(solver, meaning.noun)
        return None if number is None else str(number)
    if meaning.kind == "color":
        thing = solver.only(meaning)
        return None if thing is None or not solver.worth_asking(thing) else thing.color
    if meaning.kind == "existence":
        return _exists(solver, meaning.noun)
    if meaning.kind == "room_size":
        return f"{float(np.prod(solver.graph.room.size_m[:2])):.1f}"
    things = [_told(solver, noun) for noun in meaning.anchors]
    a, b = things if len(things) == 2 else (None, None)
    if a is None or b is None or a == b:
        return None
    if meaning.kind == "distance":
        gap = solver.graph.gap_m(a, b)
        return f"{gap:.1f}" if gap >= DISTANCE_M else None
    if meaning.kind == "closer":
        to = _told(solver, meaning.noun)
        first = None if to is None or to in (a, b) else _closer(solver, to, a, b)
    else:
        first = _taller(a, b) if meaning.kind == "taller" else _bigger(a, b)
    return None if first is None else the(meaning.anchors[0] if first else meaning.anchors[1])


def count(solver: Solver, noun: Noun) -> int | None:
    """How many objects of that name the walk has shown; None when that is not certain, or none were shown."""
    fitting = solver.called(noun)
    if {thing.id for thing in solver.could_be(noun)} != {thing.id for thing in fitting}:
        return None
    seen = [thing for thing in fitting if solver.share_seen(thing) >= COUNTED_SEEN and solver.seen_well(thing)]
    hidden = [
        thing for thing in fitting if solver.share_seen(thing) < UNSEEN and not solver.sightings.all(thing.id)
    ]  # fmt: skip
    return len(seen) if seen and len(seen) + len(hidden) == len(fitting) else None


def _exists(solver: Solver, noun: Noun) -> str | None:
    if any(solver.worth_asking(thing) for thing in solver.called(noun)):
        return "yes"
    return "no" if not solver.maybe(Meaning("existence", noun)) else None


def _told(solver: Solver, noun: Noun) -> Thing | None:
    """The one thing of that name, when the walk has shown it."""
    things = solver.named(noun)
    if len(things) != 1 or solver.shortest_name(things[0]) != noun or not solver.seen_well(things[0]):
        return None
    known = things[0].kind != "object" or solver.share_seen(things[0]) >= COUNTED_SEEN
    return things[0] if known else None


def _closer(solver: Solver, to: Thing, a: Thing, b: Thing) -> bool | None:
    """Whether a is the closer one; by faces clearly, and by middles too."""
    near, far = solver.graph.gap_m(a, to), solver.graph.gap_m(b, to)
    first = near < far
    near, far = min(near, far), max(near, far)
    middles = center_distance_m(a, to), center_distance_m(b, to)
    one, two = middles if first else middles[::-1]
    clear = near > TOUCHING_M and far >= CLOSER_RATIO * near and far >= near + CLOSER_M
    clear = clear and two >= one * (1 + (CLOSER_RATIO - 1) / 2)
    return first if clear else None


def _bigger(a: Thing, b: Thing) -> bool | None:
    first = a.volume_m3 > b.volume_m3
    one, two = (a, b) if first else (b, a)
    clear = one.volume_m3 >= VOLUME_RATIO * two.volume_m3 and one.size_m >= SIZE_RATIO * two.size_m
    return first if clear else None


def _taller(a: Thing, b: Thing) -> bool | None:
    first = a.height_m > b.height_m
    one, two = (a, b) if first else (b, a)
    return first if one.height_m >= HEIGHT_RATIO * two.height_m else None
