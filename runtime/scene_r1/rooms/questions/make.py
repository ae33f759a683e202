"""Questions of one walk: how many of each kind, and which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from scene_r1.rooms.questions.absent import ABSENT_FORMS, absent_drafts
from scene_r1.rooms.questions.draft import Draft
from scene_r1.rooms.questions.find import ATTRIBUTE_FORMS, RELATION_FORMS, SELDOM, find_drafts
from scene_r1.rooms.questions.question import VQA_FAMILIES, Question
from scene_r1.rooms.questions.seen_walk import SeenWalk
from scene_r1.rooms.questions.solver import Solver
from scene_r1.rooms.questions.vqa import vqa_drafts
from scene_r1_engines.errors import BadInput

MAX_QUESTIONS = 1000
SELDOM_CHANCE = 0.5

Drafts = Callable[[str], Iterator[Draft]]


def make_questions(walk: SeenWalk, scene: str, count: int, seed: int = 0) -> tuple[Question, ...]:
    """Questions of one walk with their truth: the same for the same arguments.

    Two thirds are find questions, the rest VQA; over many rooms a quarter of the find questions are `absent`, and the
    others are shared between attributes and relations. Each has one answer by every reading the solver knows; a room
    that does not offer `count` of them gives fewer.

    scene: the name of the room's folder, part of each id. seed: as a rule the room's.
    Raises BadInput for a count outside 1..1000, a negative seed, an empty scene, or a walk whose parts disagree.
    """
    solver = Solver.of(walk)
    drafts = draft_questions(solver, count, seed)
    if not scene or not isinstance(scene, str):
        raise BadInput(f"questions belong to a scene: give the name of the room's folder, not {scene!r}")
    return tuple(draft.question(solver, scene, number) for number, draft in enumerate(drafts))


def draft_questions(solver: Solver, count: int, seed: int = 0) -> tuple[Draft, ...]:
    """`make_questions` before they are numbered, with the meaning of each."""
    for name, value, low, high in (("count", count, 1, MAX_QUESTIONS), ("seed", seed, 0, None)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            raise BadInput(f"{name} must be a whole number >= {low}{f' and <= {high}' if high else ''}, got {value!r}")
    rng = np.random.default_rng([int(seed), solver.graph.room.seed, 0x0A5C])
    turn = _turn(int(seed))
    finds = count - round(count / 3)
    absents = int(finds / 4 + turn / 4)  # the turns make it a quarter over four rooms, whatever the count
    relations = (finds - absents + turn % 2) // 2

    def find(form: str) -> Iterator[Draft]:
        return find_drafts(solver, form, rng)

    related = _chosen(RELATION_FORMS, find, relations, rng)
    attributes = _chosen(ATTRIBUTE_FORMS, find, finds - absents - len(related), rng, related)
    true = [*attributes, *related]
    if len(true) < finds - absents:
        true += _chosen(RELATION_FORMS, find, finds - absents - len(true), rng, true)
        absents = min(absents, int(len(true) / 3 + turn / 4))  # a quarter of what can be asked, not of what was wanted
    absent = _chosen(ABSENT_FORMS, lambda form: absent_drafts(solver, form, rng), absents, rng)
    answers = {family: bool((turn + turn // 2) % 2) for family in VQA_FAMILIES}

    def vqa(form: str) -> Iterator[Draft]:
        family = next(family for family in VQA_FAMILIES if family == form)
        answers[family] = not answers[family]  # a second existence question has the other answer
        return vqa_drafts(solver, family, rng, answers[family])

    return (*true, *absent, *_chosen(VQA_FAMILIES, vqa, count - finds, rng))


def _turn(seed: int) -> int:
    """0..3, each as often as the others among the seeds of every split, whose last digits are not free."""
    return (seed // 10 + seed) % 4


def _chosen(
    forms: Sequence[str], drafts_of: Drafts, wanted: int, rng: np.random.Generator, others: Sequence[Draft] = ()
) -> list[Draft]:
    """Up to `wanted` drafts, form after form in a random order, round after round, until no form has another one.

    Things that were not asked for yet come first. others: drafts that are taken already.
    """
    chosen: list[Draft] = []
    # Whoever draws the lowest number comes first; forms that few rooms offer have a good chance.
    drawn = {form: float(rng.random()) * (SELDOM_CHANCE if form in SELDOM else 1.0) for form in forms}
    open_forms = sorted(forms, key=lambda form: drawn[form])
    asked = {draft.meaning for draft in others}
    targets = {draft.target for draft in others if draft.target is not None}
    while open_forms and len(chosen) < wanted:
        for form in tuple(open_forms):
            if len(chosen) == wanted:
                break
            best = None
            for draft in drafts_of(form):
                if draft.meaning in asked:
                    continue
                best = best or draft
                if draft.target not in targets:
                    best = draft
                    break
            if best is None:
                open_forms.remove(form)
                continue
            chosen.append(best)
            asked.add(best.meaning)
            if best.target is not None:
                targets.add(best.target)
    return chosen
