"""A question that was asked, and its answer beside the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from scene_r1.answer import Answer, Status
from scene_r1.box import Box3D, iou
from scene_r1.grounder import Grounder
from scene_r1.rooms.questions.question import Question
from scene_r1.rooms.questions.scores import box_iou, temporal_iou, vqa_score
from scene_r1_engines.errors import SceneR1Error

FOUND_IOU = 0.25
"""From here on a 3D box counts as found, as in ScanRefer's Acc@0.25."""
RIGHT_SCORE = 0.5
"""From here on an answer in words counts as right: the word or the number itself, or within a quarter of a measure."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """seconds: as whoever asked waited. fault: what was raised in the place of an answer, else empty."""

    question: Question
    answer: Answer
    seconds: float
    fault: str = ""

    @property
    def truth(self) -> Box3D | None:
        """The exact box of the thing; None where the question is for none."""
        return true_box(self.question)

    @property
    def temporal_iou(self) -> float:
        """Of the time that was said, with the best time in which the thing is seen; 0 where none was said."""
        return temporal_iou(self.answer.window_s, self.question.windows_s)

    @property
    def box_ious(self) -> tuple[float | None, ...]:
        """Of each 2D box that the model gave, with what is visible of the thing there; None: it is not visible."""
        shown = self.question.boxes_2d
        boxes = self.answer.boxes_2d
        return tuple(box_iou(one.xyxy, shown[one.frame]) if one.frame in shown else None for one in boxes)

    @property
    def iou(self) -> float:
        """Of the 3D box with the true one; 0 where one of them is not there."""
        return overlap(self.answer.box_3d, self.truth)

    @property
    def off_m(self) -> float | None:
        """From the box's centre to the true one, metres."""
        return distance_m(self.answer.box_3d, self.truth)

    @property
    def score(self) -> float:
        """Of an answer in words, in [0, 1]."""
        return vqa_score(self.question, self.answer.answer) if self.answer.status is Status.OK else 0.0

    @property
    def right(self) -> bool:
        """Whether it counts as found, as rightly not found, or as rightly answered."""
        if self.fault:
            return False
        if self.question.task == "vqa":
            return self.score >= RIGHT_SCORE
        if self.truth is None:
            return self.answer.status is Status.NOT_FOUND
        return self.iou >= FOUND_IOU

    def to_json(self) -> dict[str, Any]:
        """The answer's own JSON, and the truth beside it."""
        question, truth = self.question, self.truth
        judged: dict[str, Any] = {
            "question": question.text,
            "task": question.task,
            "family": question.family,
            "form": question.form,
            "seconds": round(self.seconds, 3),
            "right": self.right,
            "fault": self.fault,
            "true_answer": question.answer,
            "true_windows_s": [list(window) for window in question.windows_s],
            "true_box_3d": None if truth is None else truth.to_json(),
        }
        if question.task == "vqa":
            judged["score"] = round(self.score, 4)
        else:
            ious = [None if one is None else round(one, 4) for one in self.box_ious]
            judged |= {"temporal_iou": round(self.temporal_iou, 4), "box_ious": ious, "iou": round(self.iou, 4)}
            judged["center_off_m"] = None if self.off_m is None else round(self.off_m, 4)
        return {**judged, **self.answer.to_json()}


def asked(grounder: Grounder, question: Question) -> Judged:
    """Ask it. What is raised is an outcome like any other: it is said, and the next question may do better."""
    begun = time.perf_counter()
    try:
        answer = grounder.ask(question.text, task=question.task)
    except SceneR1Error as error:
        answer = Answer(Status.NOT_FOUND, None, {"model": grounder.model}, {}, reason=str(error))
        return Judged(question, answer, time.perf_counter() - begun, f"{type(error).__name__}: {error}")
    return Judged(question, answer, time.perf_counter() - begun)


def true_box(question: Question) -> Box3D | None:
    """The exact box of a question's target."""
    return None if question.box_3d is None else Box3D.from_corners(question.box_3d.low, question.box_3d.high)


def overlap(box: Box3D | None, truth: Box3D | None) -> float:
    """IoU in 3D; 0 where there is no box or no truth."""
    return 0.0 if box is None or truth is None else iou(box, truth)


def distance_m(box: Box3D | None, truth: Box3D | None) -> float | None:
    """Between the centres of two boxes, metres; None where there are not two."""
    if box is None or truth is None:
        return None
    return float(np.linalg.norm(np.subtract(box.center, truth.center)))
