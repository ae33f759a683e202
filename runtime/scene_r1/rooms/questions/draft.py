"""A question with its sense, before it gets its number."""

from __future__ import annotations

from dataclasses import dataclass

from scene_r1.rooms.model.shapes import SHAPES, shape_number
from scene_r1.rooms.model.splits import held_out, split_of
from scene_r1.rooms.questions.meaning import Meaning, Noun
from scene_r1.rooms.questions.question import AnswerKind, FindFamily, Question, Task, VqaFamily
from scene_r1.rooms.questions.solver import Solver


@dataclass(frozen=True, slots=True)
class Draft:
    """What is asked and what is true of it. target: of a find question with an answer, the object's id. The other
    fields as in Question."""

    family: FindFamily | VqaFamily
    form: str
    meaning: Meaning
    text: str
    rationale: str
    target: int | None = None
    answer: str = ""
    answer_kind: AnswerKind = "word"
    choices: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """By its family."""
        return "find" if self.family in ("attribute", "relation", "absent") else "vqa"

    def question(self, solver: Solver, scene: str, number: int) -> Question:
        """The question with its truth, numbered within its scene."""
        room = solver.graph.room
        thing = None if self.target is None else room.object(self.target)
        seen = () if thing is None else solver.sightings.clear(thing.id)
        return Question(
            id=f"{scene}/q{number:03d}",
            scene=scene,
            split=split_of(room.seed),
            text=self.text,
            task=self.task,
            family=self.family,
            form=self.form,
            rationale=self.rationale,
            target=self.target,
            name="" if thing is None else thing.name,
            windows_s=() if thing is None else solver.sightings.windows_s(thing.id),
            boxes_2d={sighting.frame: sighting.box for sighting in seen},
            box_3d=None if thing is None else thing.box,
            held_out=thing is not None and is_held_out(Noun(thing.shape, thing.color)),
            answer=self.answer,
            answer_kind=self.answer_kind,
            choices=self.choices,
        )


def is_held_out(noun: Noun) -> bool:
    """Whether a shape and colour are met together in no room for training."""
    return noun.shape in SHAPES and noun.color is not None and held_out(shape_number(noun.shape), noun.color)


def may_be_denied(solver: Solver, noun: Noun) -> bool:
    """Whether a question may be about the absence of a noun.

    In rooms for training no held-out pair is: a model would learn that such a thing is never there.
    """
    return split_of(solver.graph.room.seed) == "test" or not is_held_out(noun)
