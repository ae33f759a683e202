"""Find questions about what is not there: near enough to what is there to be worth a look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.shapes import SHAPES
from scene_r1.rooms.questions.draft import Draft, may_be_denied
from scene_r1.rooms.questions.find import anchors_of, ask
from scene_r1.rooms.questions.meaning import Meaning, Noun, Relation
from scene_r1.rooms.questions.rationale import missing
from scene_r1.rooms.questions.solver import Solver

ABSENT_FORMS: tuple[str, ...] = ("swapped_color", "missing_shape", "empty_relation")
AWAY_M = 1.2
"""Nobody calls this far `next to`."""
OPEN_BELOW = ("table", "desk", "sofa", "chair", "bench", "armchair", "sideboard")
PLACES: tuple[Relation, ...] = ("on", "under", "next_to")


def absent_drafts(solver: Solver, form: str, rng: np.random.Generator) -> Iterator[Draft]:
    """The questions of one form of ABSENT_FORMS that nothing in the room answers, seen or not, in random order."""
    for meaning in _meanings(solver, form, rng):
        if may_be_denied(solver, meaning.noun) and not solver.maybe(meaning):
            yield Draft("absent", form, meaning, ask(meaning, rng), missing(solver, meaning))


def absent_nouns(solver: Solver, form: str, rng: np.random.Generator) -> Iterator[Noun]:
    """Nouns that fit nothing: a shape of the room in a colour of the room, or a shape that the room has not."""
    shapes = list(dict.fromkeys(thing.name for thing in solver.graph.objects))
    colors = list(dict.fromkeys(str(thing.color) for thing in solver.graph.objects))
    if form == "missing_shape":
        there = [Noun(shape) for shape in SHAPES]
        nouns = [noun for noun in there if not solver.could_be(noun)]
        nouns += [Noun(noun.shape, list(COLORS)[int(rng.integers(len(COLORS)))]) for noun in nouns]
    else:
        nouns = [Noun(shape, color) for shape in shapes for color in colors]
    for i in rng.permutation(len(nouns)):
        noun = nouns[int(i)]
        if not solver.could_be(noun) and may_be_denied(solver, noun):
            yield noun


def _meanings(solver: Solver, form: str, rng: np.random.Generator) -> Iterator[Meaning]:
    if form != "empty_relation":
        yield from (Meaning("absent", noun) for noun in absent_nouns(solver, form, rng))
        return
    things = [thing for thing in solver.graph.objects if solver.seen_well(thing)]
    nouns = list(dict.fromkeys(noun for thing in things for noun in (Noun(thing.name), Noun(thing.name, thing.color))))
    anchors = anchors_of(solver, (*solver.graph.objects, *solver.graph.furniture))
    choices = list(product(nouns, PLACES, anchors))
    for i in rng.permutation(len(choices)):
        noun, relation, (anchor, name) = choices[int(i)]
        if name == noun or (relation != "next_to" and anchor.kind == "object"):
            continue
        if relation == "under" and anchor.name.split()[-1] not in OPEN_BELOW:
            continue
        if relation == "on" and not any(thing.support == anchor.id for thing in solver.graph.objects):
            continue
        gaps = [solver.graph.gap_m(thing, anchor) for thing in solver.could_be(noun) if thing is not anchor]
        if relation != "next_to" or (gaps and min(gaps) >= AWAY_M):
            yield Meaning("absent", noun, relation, (name,))
