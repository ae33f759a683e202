"""The demo as one picture: the frame behind each answer, and below it the same things from their true 2D boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scene_r1.demo.given_box import GivenBox, best_frame
from scene_r1.demo.judged import Judged
from scene_r1.demo.told import given_line, verdict
from scene_r1.drawing import Exhibit, evidence_sheet
from scene_r1.grounder import Grounder

COLUMNS = 3


def sheet(grounder: Grounder, judged: Sequence[Judged], given: Sequence[GivenBox]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, three pictures in a row, question and answer below each.

    Yellow is the 2D box, blue the mask, orange the answer's 3D box, green the true one. Raises BadInput where the
    memory holds no keyframe.
    """
    views = [_answered(grounder, one) for one in judged] + [_given(grounder, one) for one in given]
    return evidence_sheet(views, min(COLUMNS, len(views)) or None)


def _answered(grounder: Grounder, one: Judged) -> Exhibit:
    answer, index = one.answer, _frame_of(grounder, one)
    frame = grounder.memory[index].frame()
    pointed = next((box.xyxy for box in answer.boxes_2d if box.frame == index), None)
    mask = next((view.mask for view in answer.evidence if view.frame == index), None)
    if one.question.task == "vqa":
        said = f'"{answer.answer}"' if answer.answer else "no answer"
        return Exhibit(frame, caption=f"{one.question.text} - {said}, {verdict(one)}; true: {one.question.answer}")
    return Exhibit(frame, pointed, mask, answer.box_3d, f"{one.question.text} - {verdict(one)}", one.truth)


def _given(grounder: Grounder, one: GivenBox) -> Exhibit:
    mask = next((view.mask for view in one.answer.evidence if view.frame == one.frame), None)
    frame = grounder.memory[one.frame].frame()
    return Exhibit(frame, one.xyxy, mask, one.answer.box_3d, f"2D box given: {given_line(one).strip()}", one.truth)


def _frame_of(grounder: Grounder, one: Judged) -> int:
    """The keyframe that an answer rests on; where it rests on none, the one that shows most of what was sought, else
    the one in the middle of the walk."""
    if one.answer.evidence:
        return one.answer.evidence[0].frame
    held = {index: xyxy for index, xyxy in one.question.boxes_2d.items() if index in grounder.memory}
    if held:
        return best_frame(held, grounder)
    indices = [keyframe.index for keyframe in grounder.memory]
    return indices[len(indices) // 2]
