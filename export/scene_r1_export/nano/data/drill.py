"""Short exercises beside the questions: a name, and at once its box or its times. A question spends forty tokens on
four coordinates; an exercise spends twelve, and what is learned from it is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.shapes import SHAPES
from scene_r1.rooms.questions.draft import is_held_out
from scene_r1.rooms.questions.meaning import Noun
from scene_r1_export.nano.data.sights import Picture
from scene_r1_export.nano.data.when import ends, span
from scene_r1_export.nano.words import Drill, coordinates

ABSENT = 0.3


def of_picture(picture: Picture, count: int, rng: np.random.Generator) -> list[Drill]:
    """Up to `count` names, each with its box in this picture or with `not found`."""
    objects = [sight for sight in picture.sights if sight.thing.kind == "object"]
    names: dict[str, list[int]] = {}
    for number, sight in enumerate(objects):
        for name in _names(sight.thing.name, sight.thing.color):
            names.setdefault(name, []).append(number)
    size = (picture.image.shape[0], picture.image.shape[1])
    there = [
        Drill(name, coordinates(objects[numbers[0]].box, size), ((objects[numbers[0]].thing.id,),) * 4)
        for name, numbers in names.items()
        if len(numbers) == 1 and objects[numbers[0]].clear
    ]
    there = [there[int(i)] for i in rng.permutation(len(there))]
    absent = _absent(set(names) | {sight.thing.name for sight in picture.sights}, rng, max(2, round(count * ABSENT)))
    return [*there[: count - len(absent)], *(Drill(name, (" not found",)) for name in absent)]


def of_walk(pictures: Sequence[Picture], count: int, rng: np.random.Generator) -> list[Drill]:
    """Up to `count` names, each with when it is first and last clearly shown, or with `not found`."""
    times: dict[str, dict[int, list[float]]] = {}
    faint: set[str] = set()
    for picture in pictures:
        for sight in picture.sights:
            if sight.thing.kind != "object":
                faint.add(sight.thing.name)  # a chair may be furniture too
                continue
            for name in _names(sight.thing.name, sight.thing.color):
                faint.add(name)
                if sight.clear:
                    times.setdefault(name, {}).setdefault(sight.thing.id, []).append(picture.seconds)
    there = []
    for name, seen in times.items():
        moments = sorted({moment for each in seen.values() for moment in each})
        told = ends(moments)
        there.append(Drill(name, (f" in view {span(told)}", "."), (tuple(seen),) * len(told)))
    there = [there[int(i)] for i in rng.permutation(len(there))]
    absent = _absent(faint, rng, max(2, round(count * ABSENT)))
    return [*there[: count - len(absent)], *(Drill(name, (" not found",)) for name in absent)]


def _names(shape: str, color: str) -> tuple[str, str, str]:
    return f"{color} {shape}", shape, f"{color} object"


def _absent(there: set[str], rng: np.random.Generator, count: int) -> list[str]:
    """Names of nothing that is there; half of them in words that are true of something.

    Never a pair that no room for training has: it would be learned as one that never is.
    """
    shapes = sorted({name for name in there if name in SHAPES})
    colors = sorted({name.split()[0] for name in there if name.endswith(" object")})
    found: list[str] = []
    for _ in range(4 * count):
        near = bool(shapes) and bool(colors) and rng.random() < 0.5
        shape = shapes[int(rng.integers(len(shapes)))] if near else SHAPES[int(rng.integers(len(SHAPES)))]
        color = colors[int(rng.integers(len(colors)))] if near else list(COLORS)[int(rng.integers(len(COLORS)))]
        name = _names(shape, color)[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
        denied = name not in there and name not in found
        if denied and not (name == f"{color} {shape}" and is_held_out(Noun(shape, color))):
            found.append(name)
        if len(found) == count:
            break
    return found
