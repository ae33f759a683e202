"""Questions about one picture: where in it is the thing, or is it not there?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.shapes import SHAPES
from scene_r1.rooms.questions import phrases
from scene_r1.rooms.questions.draft import is_held_out
from scene_r1.rooms.questions.meaning import Meaning, Noun
from scene_r1_export.nano.data.shard import Asked, Thing
from scene_r1_export.nano.data.sights import Picture, Sight
from scene_r1_export.nano.words import NOT_FOUND, Exchange, box_answer
from scene_r1_export.rewards import WhereTruth

OF_THE_ROOM = 0.35
"""How often a question is one about the whole room, relations among them."""
ABSENT = 0.25
SILENT = 0.25
"""How often it is answered without thinking."""


def where(picture: Picture, asked: Sequence[Asked], count: int, rng: np.random.Generator) -> list[Exchange]:
    """Up to `count` exchanges about a picture, different ones. asked: the find questions of its room."""
    objects = [sight for sight in picture.sights if sight.thing.kind == "object"]
    said = []
    for _ in range(count):
        draw = rng.random() if asked else rng.uniform(OF_THE_ROOM, 1.0)
        if draw < OF_THE_ROOM:
            said.append(_of_room(picture, asked[int(rng.integers(len(asked)))], rng))
        elif draw < OF_THE_ROOM + ABSENT or not any(sight.clear for sight in objects):
            said.append(_absent(picture, objects, rng))
        else:
            said.append(_present(picture, objects, rng))
    return said


def described(thing: Thing, picture: Picture | None, support: Thing | None) -> str:
    """`red mug on the table`, with the place only where the picture shows it."""
    name = " ".join(word for word in (thing.color, thing.name) if word)
    if support is not None and picture is not None and picture.of(support.id) is not None:
        return f"{name} on the {support.name}"
    return f"{name} on the floor" if thing.support == -1 else name


def ask(noun: Noun, rng: np.random.Generator) -> str:
    """One of the ways to ask for a thing by what it looks like."""
    generic = ("object", "thing")[int(rng.integers(2))]
    it = phrases.described(Meaning("find", noun), 0, generic)
    return phrases.sentence(phrases.FIND[int(rng.integers(len(phrases.FIND)))], noun, it=it)


def _present(picture: Picture, objects: Sequence[Sight], rng: np.random.Generator) -> Exchange:
    clear = [sight for sight in objects if sight.clear]
    one = clear[int(rng.integers(len(clear)))]
    thing = one.thing
    nouns = [Noun(thing.name, thing.color)] * 2
    if sum(sight.thing.name == thing.name for sight in objects) == 1:
        nouns += [Noun(thing.name)] * 2
    if sum(sight.thing.color == thing.color for sight in objects) == 1:
        nouns.append(Noun(None, thing.color))
    if sum((sight.thing.name, sight.thing.color) == (thing.name, thing.color) for sight in objects) > 1:
        return _absent(picture, objects, rng)
    return found(picture, one, ask(nouns[int(rng.integers(len(nouns)))], rng), rng)


def _absent(picture: Picture, objects: Sequence[Sight], rng: np.random.Generator) -> Exchange:
    shapes, colors = {sight.thing.name for sight in objects}, {sight.thing.color for sight in objects}
    there = {(sight.thing.name, sight.thing.color) for sight in objects}
    furniture = {sight.thing.name for sight in picture.sights if sight.thing.kind != "object"}
    nouns: list[Noun] = []
    tries = 0
    while tries < 8 or not nouns:
        tries += 1
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        color = list(COLORS)[int(rng.integers(len(COLORS)))]
        if shapes and rng.random() < 0.5:  # each of its words is true of something else
            shape = sorted(shapes)[int(rng.integers(len(shapes)))]
            color = sorted(colors)[int(rng.integers(len(colors)))] if rng.random() < 0.5 else color
        if (shape, color) not in there and not is_held_out(Noun(shape, color)):
            nouns.append(Noun(shape, color))
        if shape not in shapes and shape not in furniture:
            nouns.append(Noun(shape))
        if color not in colors:
            nouns.append(Noun(None, color))
    noun = nouns[int(rng.integers(len(nouns)))]
    return missing(picture, ask(noun, rng), phrases.the(noun), rng)


def _of_room(picture: Picture, asked: Asked, rng: np.random.Generator) -> Exchange:
    sight = picture.of(asked.target)
    if sight is not None and asked.target is not None:
        return found(picture, sight, asked.text, rng)
    return missing(picture, asked.text, meant(asked), rng)


def meant(asked: Asked) -> str:
    """What a find question asks for, in its shortest words: `the mug on the table`."""
    meaning = Meaning(
        "find",
        Noun(asked.noun.shape or None, asked.noun.color or None),
        asked.relation or None,  # type: ignore[arg-type]
        tuple(Noun(anchor.shape or None, anchor.color or None) for anchor in asked.anchors),
    )
    return phrases.described(meaning, 0)


def found(picture: Picture, sight: Sight, question: str, rng: np.random.Generator) -> Exchange:
    """The exchange about a thing that is in the picture."""
    thing = sight.thing
    support = next((other.thing for other in picture.sights if other.thing.id == thing.support), None)
    thought = f"It is the {described(thing, picture, support)}." if rng.random() >= SILENT else None
    answer = box_answer(sight.box, f"{thing.color} {thing.name}", picture.image.shape[:2])
    height, width = picture.image.shape[:2]
    return Exchange("where", question, thought, answer, WhereTruth(sight.box, width, height), shown=((thing.id,),) * 4)


def missing(picture: Picture, question: str, it: str, rng: np.random.Generator) -> Exchange:
    """The exchange about a thing that is not."""
    thought = f"I do not see {it}." if rng.random() >= SILENT else None
    height, width = picture.image.shape[:2]
    return Exchange("where", question, thought, NOT_FOUND, WhereTruth(None, width, height))
