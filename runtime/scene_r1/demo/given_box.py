"""The same things from their true 2D boxes: what the 3D side makes of them when no model has to find them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scene_r1.answer import Answer
from scene_r1.box import Box3D
from scene_r1.demo.judged import FOUND_IOU, distance_m, overlap, true_box
from scene_r1.grounder import Grounder
from scene_r1.locate import locate
from scene_r1.rooms.questions.question import Question, Xyxy


@dataclass(frozen=True, slots=True, eq=False)
class GivenBox:
    """name: of the thing. frame: the keyframe that shows it best, and xyxy its true 2D box there, pixels."""

    name: str
    frame: int
    xyxy: Xyxy
    answer: Answer
    truth: Box3D

    @property
    def iou(self) -> float:
        """With the true box; 0 where nothing was lifted."""
        return overlap(self.answer.box_3d, self.truth)

    @property
    def off_m(self) -> float | None:
        """From centre to centre, metres."""
        return distance_m(self.answer.box_3d, self.truth)

    @property
    def right(self) -> bool:
        return self.iou >= FOUND_IOU

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "frame": self.frame,
            "xyxy": list(self.xyxy),
            "iou": round(self.iou, 4),
            "center_off_m": None if self.off_m is None else round(self.off_m, 4),
            "truth": self.truth.to_json(),
            **self.answer.to_json(),
        }


def given_boxes(grounder: Grounder, questions: Sequence[Question]) -> Iterator[GivenBox]:
    """Each thing that the questions are for, once, lifted from its true 2D box in the keyframe that shows it best.

    A thing that no keyframe shows clearly is left out: it has no 2D box there.
    """
    keyframes = {keyframe.index: keyframe.frame() for keyframe in grounder.memory}
    done: set[int] = set()
    for question in questions:
        truth = true_box(question)
        held = {index: xyxy for index, xyxy in question.boxes_2d.items() if index in keyframes}
        if truth is None or question.target is None or question.target in done or not held:
            continue
        done.add(question.target)
        frame = best_frame(held, grounder)
        answer = locate(keyframes[frame], held[frame], keyframes.values(), grounder.segmenter, grounder.lifter)
        yield GivenBox(question.name, frame, held[frame], answer, truth)


def best_frame(boxes: dict[int, Xyxy], grounder: Grounder) -> int:
    """The keyframe in which a thing is whole, else the one in which most of it is seen."""

    def shown(index: int) -> tuple[bool, float]:
        camera = grounder.memory[index].color_intrinsics
        x0, y0, x1, y1 = boxes[index]
        whole = x0 > 0.0 and y0 > 0.0 and x1 < camera.width and y1 < camera.height
        return whole, (x1 - x0) * (y1 - y0)

    return max(sorted(boxes), key=shown)
