"""What is true about one answer: of a time, of a box, or of words. Checked once, here, so that rewards need not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from scene_r1_engines.answer_format import Window
from scene_r1_engines.answer_format.bounds import Seconds, Sides
from scene_r1_engines.errors import BadInput
from scene_r1_engines.reasoner import Box
from scene_r1_export.rewards.words import ANSWER_KINDS, MOST_LETTERS, AnswerKind, number_in, plain_words


@dataclass(frozen=True, slots=True)
class WhenTruth:
    """windows_s: (start, end) of every stretch in which the thing is visible; () where it never is. start_s, end_s: of
    the recording, as the prompt says them: an answer outside of them is none. Raises BadInput for what cannot be."""

    windows_s: tuple[Window, ...]
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        Seconds.of(self.start_s, self.end_s)
        for start, end in self.windows_s:
            if not (math.isfinite(start) and math.isfinite(end) and 0.0 <= start < end):
                raise BadInput(f"a true window must have 0 <= start < end seconds, got {start} to {end}")


@dataclass(frozen=True, slots=True)
class WhereTruth:
    """box: xyxy of the thing in the space that the model speaks (pixels of the picture as it was shown, or 0..1000 of
    it); None where the picture does not show it. width, height: of that space. Raises BadInput for what cannot be."""

    box: Box | None
    width: int
    height: int

    def __post_init__(self) -> None:
        sides = Sides(self.width, self.height)
        if self.box is not None and not sides.hold(self.box):
            raise BadInput(
                f"a true box must have 0 <= x0 < x1 <= {self.width} and 0 <= y0 < y1 <= {self.height}, "
                f"got {[*self.box]}: is it in the picture's own pixels?"
            )


@dataclass(frozen=True, slots=True)
class AnswerTruth:
    """answer: as a person would write it ("3", "red", "the red mug", "2.4"). kind: how it is compared. Raises BadInput
    for an answer that its kind cannot have."""

    answer: str
    kind: AnswerKind = "word"

    def __post_init__(self) -> None:
        if self.kind not in ANSWER_KINDS:
            raise BadInput(f"answer_kind must be one of {', '.join(ANSWER_KINDS)}, got {str(self.kind)[:40]!r}")
        if len(self.answer) > MOST_LETTERS:
            raise BadInput(f"a true answer has at most {MOST_LETTERS} letters, got {len(self.answer)}: say it shorter")
        if self.kind == "word":
            if not plain_words(self.answer):
                raise BadInput(f"a true answer must have words, got {self.answer!r}")
            return
        number = number_in(self.answer, self.kind)
        if number is None or (self.kind != "number" and number <= 0.0):
            above = "" if self.kind == "number" else " above 0"
            raise BadInput(f"a true answer in {self.kind} must be a number{above}, got {self.answer!r}")


Truth: TypeAlias = WhenTruth | WhereTruth | AnswerTruth
