"""A question about a recorded room, with everything that is true about its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from scene_r1.rooms.model.room import Box
from scene_r1.rooms.model.splits import Split

Task = Literal["find", "vqa"]
FindFamily = Literal["attribute", "relation", "absent"]
VqaFamily = Literal["count", "color", "existence", "closer", "bigger", "room_size", "distance"]
FIND_FAMILIES: tuple[FindFamily, ...] = get_args(FindFamily)
VQA_FAMILIES: tuple[VqaFamily, ...] = get_args(VqaFamily)
AnswerKind = Literal["word", "number", "metres", "square_metres"]

Xyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Question:
    """One question and its truth. Times: seconds since the first frame. Pixels: of the colour image.

    id: unique in its file. scene: name of the room's folder. split: of the room. form: the phrasing's or relation's
    name (`left_of`, `largest`, ...), so that results can be told apart.

    Of a find question, and empty for `absent` and in VQA: target: the object's id; name: what it is called
    ("red mug"); windows_s: (start, end) of every stretch in which it is visible, the best first; boxes_2d: frame ->
    xyxy of what is visible of it there, for every such frame; box_3d: its exact box in the world; held_out: whether
    its shape and colour are met together in no room for training.

    Of VQA: answer: as a person would write it ("3", "red", "yes", "the red mug", "2.4"); answer_kind: how it is
    compared; choices: the words it is one of, for answer_kind "word".

    rationale: true, short, of what can be seen; what a model may be taught to think.
    """

    id: str
    scene: str
    split: Split
    text: str
    task: Task
    family: FindFamily | VqaFamily
    form: str
    rationale: str
    target: int | None = None
    name: str = ""
    windows_s: tuple[tuple[float, float], ...] = ()
    boxes_2d: Mapping[int, Xyxy] = field(default_factory=dict)
    box_3d: Box | None = None
    held_out: bool = False
    answer: str = ""
    answer_kind: AnswerKind = "word"
    choices: tuple[str, ...] = ()
