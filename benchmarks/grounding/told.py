"""What oracles are told: the question that is being asked, and what is true in every frame of its room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.questions.question import Question
from scene_r1_engines.errors import BadInput

Oracle = Literal["window", "box", "mask"]
ORACLES: tuple[Oracle, ...] = get_args(Oracle)


class Told:
    """The truth that stands in for a stage. Set by whoever asks, read by the oracles.

    question: the one that is asked now. use: the stages that are answered from the truth. instance: of the room that
    was streamed, the image of ids of a frame.
    """

    def __init__(self) -> None:
        self.question: Question | None = None
        self.use: frozenset[Oracle] = frozenset()
        self.instance: Callable[[int], NDArray[np.int16]] | None = None

    def now(self) -> Question:
        """Raises BadInput when nothing is being asked."""
        if self.question is None:
            raise BadInput("an oracle was asked, but nobody told it the question")
        return self.question

    def mask(self, frame: int) -> NDArray[np.bool_]:
        """(H, W) bool: what is visible of the question's target in a frame."""
        question = self.now()
        if self.instance is None:
            raise BadInput("an oracle was asked for a mask, but nobody told it the room")
        ids = self.instance(frame)
        if question.target is None:
            return np.zeros(ids.shape, np.bool_)
        return np.asarray(ids == question.target)


def oracles(words: str) -> frozenset[Oracle]:
    """The stages of "window,box". Raises BadInput naming the one that is none."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    for word in chosen:
        if word not in ORACLES:
            raise BadInput(f"there is no oracle {word[:40]!r}: known are {', '.join(ORACLES)}")
    return frozenset(one for one in ORACLES if one in chosen)


def said(use: frozenset[Oracle]) -> str:
    """The stages as one word for tables and keys; "none" for none."""
    return ",".join(one for one in ORACLES if one in use) or "none"


def ladder(use: frozenset[Oracle]) -> Sequence[frozenset[Oracle]]:
    """The rows that show where the loss is: what is asked for, then with the truth of one stage after the other."""
    rows = [use]
    for stage in ORACLES:
        if stage not in rows[-1]:
            rows.append(rows[-1] | {stage})
    return rows
