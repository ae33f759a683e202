"""Questions about the room that a word or a number answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.questions import phrases, rationale
from scene_r1.rooms.questions.absent import ABSENT_FORMS, absent_nouns
from scene_r1.rooms.questions.answers import COUNTED_SEEN, answer
from scene_r1.rooms.questions.draft import Draft
from scene_r1.rooms.questions.find import anchors_of
from scene_r1.rooms.questions.graph import Thing
from scene_r1.rooms.questions.meaning import Kind, Meaning, Noun
from scene_r1.rooms.questions.question import VqaFamily
from scene_r1.rooms.questions.solver import Solver

TRIES = 400
"""Pairs and triples of things that are tried for one family."""
MANY_SHARE = 0.75
"""How often a count is of what there are several of: in most rooms most things are alone, and 1 would always do."""


def vqa_drafts(solver: Solver, family: VqaFamily, rng: np.random.Generator, yes: bool) -> Iterator[Draft]:
    """The questions of one family that have one answer, in random order. yes: the answer to an existence question."""
    if family == "count":
        return _counts(solver, rng)
    if family == "color":
        return _colors(solver, rng)
    if family == "existence":
        return _existences(solver, rng, yes)
    if family == "room_size":
        return _room_sizes(solver, rng)
    return _comparisons(solver, family, rng)


def _counts(solver: Solver, rng: np.random.Generator) -> Iterator[Draft]:
    objects = solver.graph.objects
    nouns = [n for t in objects for n in (Noun(t.name), Noun(None, t.color), Noun(t.name, t.color))]
    nouns = [noun for noun in dict.fromkeys(nouns) if not phrases.is_plural(noun)]
    order = [nouns[int(i)] for i in rng.permutation(len(nouns))]
    if rng.random() < MANY_SHARE:
        order = [noun for noun in order if len(solver.called(noun)) > 1]
    for noun in order:
        meaning = Meaning("count", noun)
        number = answer(solver, meaning)
        if number is not None:
            seen = [thing for thing in solver.called(noun) if solver.share_seen(thing) >= COUNTED_SEEN]
            text = phrases.sentence(_one(phrases.COUNT, rng), things=phrases.several(noun))
            form = "_".join(word for word, given in (("shape", noun.shape), ("color", noun.color)) if given)
            why = rationale.counted(solver, noun, seen)
            yield Draft("count", form, meaning, text, why, answer=number, answer_kind="number")


def _colors(solver: Solver, rng: np.random.Generator) -> Iterator[Draft]:
    for thing in _shuffled(solver.graph.objects, rng):
        meanings = [Meaning("color", Noun(thing.name))]
        carrier = solver.graph.supporter(thing)
        if carrier is not None and solver.seen_well(carrier):
            meanings.append(Meaning("color", Noun(thing.name), "on", (Noun(carrier.name),)))
        for meaning in meanings:
            if solver.only(meaning) is thing and (word := answer(solver, meaning)) is not None:
                described = phrases.described(meaning, int(rng.integers(1000)))
                text = phrases.sentence(_one(phrases.COLOR, rng), meaning.noun, it=described)
                why = rationale.colored(solver, meaning, thing)
                form = meaning.relation or "shape"
                yield Draft("color", form, meaning, text, why, answer=word, choices=tuple(COLORS))
                break


def _existences(solver: Solver, rng: np.random.Generator, yes: bool) -> Iterator[Draft]:
    if yes:
        nouns = iter([Noun(thing.name, thing.color) for thing in _shuffled(solver.graph.objects, rng)])
    else:
        nouns = absent_nouns(solver, ABSENT_FORMS[0], rng)  # each of its words is true of something else
    for noun in nouns:
        meaning = Meaning("existence", noun)
        word = answer(solver, meaning)
        if word != ("yes" if yes else "no"):
            continue
        text = phrases.sentence(_one(phrases.EXISTENCE, rng), noun, one=phrases.a(noun))
        if yes:
            thing = next(thing for thing in solver.called(noun) if solver.worth_asking(thing))
            why = rationale.place(solver, thing, phrases.a(noun), phrases.is_plural(noun))
        else:
            why = rationale.missing(solver, meaning)
        yield Draft("existence", word, meaning, text, why, answer=word, choices=("yes", "no"))


def _room_sizes(solver: Solver, rng: np.random.Generator) -> Iterator[Draft]:
    meaning = Meaning("room_size")
    area = answer(solver, meaning)
    if area is not None:
        text, why = _one(phrases.ROOM_SIZE, rng), rationale.measured(solver, area)
        yield Draft("room_size", "floor", meaning, text, why, answer=area, answer_kind="square_metres")


def _comparisons(solver: Solver, family: VqaFamily, rng: np.random.Generator) -> Iterator[Draft]:
    objects = anchors_of(solver, solver.graph.objects)
    pairs = [(a, b) for (_, a), (_, b) in permutations(objects, 2)]  # both ways: either may be the answer
    meanings = [Meaning("distance", anchors=pair) for pair in pairs]
    if family == "closer":
        to = [noun for _, noun in anchors_of(solver, (*solver.graph.objects, *solver.graph.furniture))]
        meanings = [Meaning("closer", noun, anchors=pair) for pair in pairs for noun in to if noun not in pair]
    elif family == "bigger":
        kinds: tuple[Kind, ...] = ("bigger", "taller")
        meanings = [Meaning(kind, anchors=pair) for pair in pairs for kind in kinds]
    for i in rng.permutation(len(meanings))[:TRIES]:
        meaning = meanings[int(i)]
        word = answer(solver, meaning)
        if word is None:
            continue
        a, b = (phrases.the(noun) for noun in meaning.anchors)
        text = phrases.sentence(_one(_WAYS[meaning.kind], rng), a=a, b=b, to=phrases.the(meaning.noun))
        why = rationale.compared(solver, meaning)
        if family == "distance":
            yield Draft(family, "nearest_faces", meaning, text, why, answer=word, answer_kind="metres")
        else:
            yield Draft(family, meaning.kind, meaning, text, why, answer=word, choices=(a, b))


_WAYS: dict[Kind, tuple[str, ...]] = {
    "closer": phrases.CLOSER,
    "bigger": phrases.BIGGER,
    "taller": phrases.TALLER,
    "distance": phrases.DISTANCE,
}


def _one(templates: tuple[str, ...], rng: np.random.Generator) -> str:
    return templates[int(rng.integers(len(templates)))]


def _shuffled(things: tuple[Thing, ...], rng: np.random.Generator) -> list[Thing]:
    return [things[int(i)] for i in rng.permutation(len(things))]
