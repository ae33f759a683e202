"""What one text is worth against one truth: its form and what it says, each in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scene_r1.rooms.questions.scores import box_iou, temporal_iou
from scene_r1_engines.answer_format import Verdict, parse_answer, parse_when, parse_where
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.reasoner import Box, Finish
from scene_r1_export.rewards.form import in_form
from scene_r1_export.rewards.truth import AnswerTruth, Truth, WhenTruth, WhereTruth
from scene_r1_export.rewards.words import answer_match


@dataclass(frozen=True, slots=True)
class Rewards:
    """format: 1 for a text in form whose answer reads for its task, else 0. task: how right the answer is, in [0, 1];
    an answer that reads is judged whether its text is in form or not."""

    format: float
    task: float

    @property
    def total(self) -> float:
        """In [0, 2]."""
        return self.format + self.task


NOTHING = Rewards(0.0, 0.0)


def reward(text: str, truth: Truth) -> Rewards:
    """That of the task which the truth is about. Never raises for a text, whatever it holds."""
    if isinstance(truth, WhenTruth):
        return reward_when(text, truth)
    return reward_where(text, truth) if isinstance(truth, WhereTruth) else reward_answer(text, truth)


def reward_when(text: str, truth: WhenTruth) -> Rewards:
    """Temporal IoU with the true window that fits best; 1 for `not found` of what is never visible, and 0 for it of
    what is. A span that ends before it starts, or lies outside of the recording, is no answer: 0, form included."""

    def task(window_s: Any) -> float:
        return temporal_iou(window_s, truth.windows_s)

    return _rewards(text, lambda: parse_when(text, truth.start_s, truth.end_s), not truth.windows_s, task)


def reward_where(text: str, truth: WhereTruth) -> Rewards:
    """Box IoU; 1 for `not found` where the picture does not show the thing, and 0 for it where it does.

    Of several boxes the best one counts, divided by how many there are: a guess more never pays.
    """
    true = truth.box

    def task(boxes: Any) -> float:
        said: list[Box] = [box for box, _ in boxes]
        return 0.0 if true is None else max(box_iou(box, true) for box in said) / len(said)

    return _rewards(text, lambda: parse_where(text, truth.width, truth.height), true is None, task)


def reward_answer(text: str, truth: AnswerTruth) -> Rewards:
    """`answer_match` of what stands in the answer."""

    def task(said: Any) -> float:
        return answer_match(said, truth.answer, truth.kind)

    return _rewards(text, lambda: parse_answer(text), False, task)


def _rewards(text: str, parse: Callable[[], Verdict], absent: bool, task: Callable[[Any], float]) -> Rewards:
    """absent: `not found` is the truth. task: what a value that was read is worth."""
    try:
        verdict = parse()
    except BadAnswer:
        return NOTHING
    if verdict.finish not in (Finish.OK, Finish.NOT_FOUND):
        return NOTHING
    form = float(in_form(text))
    if verdict.finish is Finish.NOT_FOUND:
        return Rewards(form, float(absent))
    return Rewards(form, 0.0 if absent else task(verdict.value))
