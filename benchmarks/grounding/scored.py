"""One question, what came of it, and how right it is: a line of questions.jsonl."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.grounding.scores import box_iou, temporal_iou, vqa_score
from scene_r1.answer import Answer, Box2D
from scene_r1.box import Box3D, iou
from scene_r1.rooms.questions.question import Question

LARGE_M = 0.2
"""A thing is large when its longest side is at least this."""


@dataclass(frozen=True, slots=True)
class Scored:
    """status: of the answer, or the name of the error that was raised. total_s: as the caller waited; stages_ms: the
    answer's own timings.

    Of a find question whose thing is there: temporal_iou; box_iou: of the 2D box that the answer rests on with what is
    visible of the thing in that frame, 0 where there is none or it is not visible there; iou_3d: 0 unless ok. Of one
    whose thing is not there, all three are None. vqa: score of an answer in words, else None.
    """

    id: str
    scene: str
    family: str
    form: str
    text: str
    status: str
    reason: str
    total_s: float
    stages_ms: dict[str, float]
    answer: str = ""
    rationale: str = ""
    confidence: float | None = None
    window_s: tuple[float, float] | None = None
    boxes_2d: tuple[tuple[int, tuple[float, float, float, float]], ...] = ()
    box_3d: dict[str, Any] | None = None
    true_answer: str = ""
    true_windows_s: tuple[tuple[float, float], ...] = ()
    true_box_3d: dict[str, Any] | None = None
    large: bool = False
    held_out: bool = False
    temporal_iou: float | None = None
    box_iou: float | None = None
    iou_3d: float | None = None
    vqa: float | None = None
    engine: dict[str, str] = field(default_factory=dict)

    @property
    def there(self) -> bool:
        """Whether it is a find question whose thing is there."""
        return self.iou_3d is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN."""
        return asdict(self)


def scored(question: Question, answer: Answer, total_s: float) -> Scored:
    """How an answer compares with its question's truth."""
    said = _told(question, answer.status.value, answer.reason, total_s, dict(answer.timings_ms))
    said |= {
        "answer": answer.answer,
        "rationale": answer.rationale,
        "confidence": answer.confidence,
        "window_s": answer.window_s,
        "boxes_2d": tuple((box.frame, box.xyxy) for box in answer.boxes_2d),
        "box_3d": None if answer.box_3d is None else answer.box_3d.to_json(),
        "engine": dict(answer.engine),
    }
    if question.task == "vqa":
        return Scored(**said, vqa=vqa_score(question, answer.answer) if answer.status.value == "ok" else 0.0)
    truth = true_box(question)
    if truth is None:
        return Scored(**said)
    pointed = rests_on(answer)
    shown = None if pointed is None else question.boxes_2d.get(pointed.frame)
    return Scored(
        **said,
        temporal_iou=temporal_iou(answer.window_s, question.windows_s),
        box_iou=0.0 if pointed is None or shown is None else box_iou(pointed.xyxy, shown),
        iou_3d=0.0 if answer.box_3d is None else iou(answer.box_3d, truth),
    )


def broken(question: Question, error: Exception, total_s: float) -> Scored:
    """A question that ended in an error: an outcome like any other, and wrong."""
    said = _told(question, type(error).__name__, str(error), total_s, {})
    if question.task == "vqa":
        return Scored(**said, vqa=0.0)
    if question.target is None:
        return Scored(**said)
    return Scored(**said, temporal_iou=0.0, box_iou=0.0, iou_3d=0.0)


def rests_on(answer: Answer) -> Box2D | None:
    """The 2D box that an answer rests on: the one that was segmented first for the 3D box; where there is no 3D box,
    the first that the model pointed at."""
    if answer.box_3d is not None and answer.evidence:
        first = answer.evidence[0]
        return Box2D(first.frame, first.xyxy, answer.answer)
    return answer.boxes_2d[0] if answer.boxes_2d else None


def true_box(question: Question) -> Box3D | None:
    """The exact box of a question's target."""
    return None if question.box_3d is None else Box3D.from_corners(question.box_3d.low, question.box_3d.high)


def _told(question: Question, status: str, reason: str, total_s: float, stages_ms: dict[str, float]) -> dict[str, Any]:
    truth = true_box(question)
    return {
        "id": question.id,
        "scene": question.scene,
        "family": question.family,
        "form": question.form,
        "text": question.text,
        "status": status,
        "reason": reason,
        "total_s": total_s,
        "stages_ms": stages_ms,
        "true_answer": question.answer,
        "true_windows_s": question.windows_s,
        "true_box_3d": None if truth is None else truth.to_json(),
        "large": truth is not None and max(truth.size) >= LARGE_M - 1e-9,
        "held_out": question.held_out,
    }
