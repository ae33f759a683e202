"""Find questions with an answer: by what a thing looks like, and by where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from scene_r1.rooms.questions import phrases
from scene_r1.rooms.questions.draft import Draft
from scene_r1.rooms.questions.graph import Thing, center_distance_m
from scene_r1.rooms.questions.meaning import PICTURE_RELATIONS, RELATIONS, SIZE_RELATIONS, SIZE_WORDS, Meaning, Noun
from scene_r1.rooms.questions.question import FindFamily
from scene_r1.rooms.questions.rationale import found
from scene_r1.rooms.questions.solver import BETWEEN_M, Solver

ATTRIBUTE_FORMS: tuple[str, ...] = ("shape_color", "shape", "color", "size", "color_place")
RELATION_FORMS: tuple[str, ...] = RELATIONS
SELDOM = frozenset({"left_of", "right_of", "behind", "in_front_of", "under", "on", "size"})
"""Forms that few rooms offer: taken first more often than others, they end up about as frequent."""
GENERIC = ("object", "thing")


def find_drafts(solver: Solver, form: str, rng: np.random.Generator) -> Iterator[Draft]:
    """The questions of one form (of ATTRIBUTE_FORMS or RELATION_FORMS) that mean one thing worth asking for.

    In random order, but for relations: nouns that name the shape come first, then colours, then `the object`.
    """
    attribute = form in ATTRIBUTE_FORMS
    family: FindFamily = "attribute" if attribute else "relation"
    for meaning in _attributes(solver, form, rng) if attribute else _relations(solver, form, rng):
        target = solver.only(meaning)
        if target is not None and solver.worth_asking(target):
            yield Draft(
                family, form, meaning, ask(meaning, rng), found(solver, meaning, target), target.id
            )  # fmt: skip


def ask(meaning: Meaning, rng: np.random.Generator) -> str:
    """One of the ways to ask for what a meaning describes."""
    generic = GENERIC[int(rng.integers(len(GENERIC)))]
    described = phrases.described(meaning, int(rng.integers(1000)), generic)
    template = phrases.FIND[int(rng.integers(len(phrases.FIND)))]
    return phrases.sentence(template, meaning.noun, it=described)


def anchors_of(solver: Solver, things: tuple[Thing, ...]) -> list[tuple[Thing, Noun]]:
    """Those of `things` that can tell where another is: seen by the walk, and with a name of their own."""
    named = [(thing, solver.shortest_name(thing)) for thing in things if solver.seen_well(thing)]
    return [(thing, noun) for thing, noun in named if noun is not None]


def _attributes(solver: Solver, form: str, rng: np.random.Generator) -> Iterator[Meaning]:
    objects = solver.graph.objects
    for i in rng.permutation(len(objects)):
        thing = objects[int(i)]
        if form == "shape_color":
            yield Meaning("find", Noun(thing.name, thing.color))
        elif form == "shape":
            yield Meaning("find", Noun(thing.name))
        elif form == "color":
            yield Meaning("find", Noun(None, thing.color))
        elif form == "size":
            for noun in (Noun(thing.name), Noun(thing.name, thing.color)):
                if len(solver.called(noun)) == 2:
                    yield from (
                        Meaning("find", noun, SIZE_WORDS[int(j)]) for j in rng.permutation(len(SIZE_WORDS))
                    )  # fmt: skip
        else:
            carrier = solver.graph.supporter(thing)
            if carrier is not None and solver.seen_well(carrier):
                yield Meaning("find", Noun(None, thing.color), "on", (Noun(carrier.name),))


def _relations(solver: Solver, form: str, rng: np.random.Generator) -> Iterator[Meaning]:
    relation = next(relation for relation in RELATIONS if relation == form)
    things = solver.graph.objects if relation in (*PICTURE_RELATIONS, "between") else solver.graph.furniture
    if relation in ("next_to", "closest_to", "farthest_from"):
        things = (*solver.graph.objects, *solver.graph.furniture)
    named = anchors_of(solver, things)
    anchors: list[tuple[Noun, ...]] = [(noun,) for _, noun in named]
    if relation in SIZE_RELATIONS:
        anchors = [()]
    elif relation == "between":
        pairs = permutations(named, 2)
        anchors = [(a[1], b[1]) for a, b in pairs if center_distance_m(a[0], b[0]) <= BETWEEN_M]
    for nouns in _rivalled(solver):
        choices = [(noun, chosen) for noun in nouns for chosen in anchors]
        for i in rng.permutation(len(choices)):
            noun, chosen = choices[int(i)]
            if noun not in chosen:
                yield Meaning("find", noun, relation, chosen)


def _rivalled(solver: Solver) -> tuple[list[Noun], list[Noun], list[Noun]]:
    """Shapes, colours and `object`, as far as each fits two objects that the walk shows: there a relation is needed."""
    seen = [thing for thing in solver.graph.objects if solver.sightings.clear(thing.id)]
    shapes, colors = [thing.name for thing in seen], [str(thing.color) for thing in seen]
    return (
        [Noun(shape) for shape in dict.fromkeys(shapes) if shapes.count(shape) > 1],
        [Noun(None, color) for color in dict.fromkeys(colors) if colors.count(color) > 1],
        [Noun()] if len(seen) > 1 else [],
    )
