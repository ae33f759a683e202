"""A Reasoner that says what a test tells it to: the 3D side is judged against a truth that no random model knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from scene_r1_engines.answer_format.question import check_question
from scene_r1_engines.errors import BadFrame, BadInput, EngineFailed, SceneR1Error
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Effort, Finish, ImageGrounding, LabelledBox, TextAnswer, TimeGrounding

Boxes = tuple[tuple[float, float, float, float], ...]


class ScriptedReasoner:
    """boxes: keyframe id -> what `where` shows in it, or how it finishes, or what it raises. Keeps the contract of
    Reasoner otherwise: ids, times and calls after `close` are checked."""

    name = "scripted"

    def __init__(
        self,
        boxes: Callable[[int], Boxes | Finish | SceneR1Error],
        window_s: tuple[float, float] | Finish = (0.0, 1000.0),
        sure: Callable[[int], float] = lambda index: 0.9,
        words: str | Finish = "two",
        grounding_pixels: int | None = None,
        failing: Iterable[str] = (),
    ) -> None:
        self.boxes, self.window_s, self.sure, self.words = boxes, window_s, sure, words
        self.grounding_pixels = grounding_pixels
        self.failing = set(failing)
        self.watched: dict[int, tuple[np.ndarray, float]] = {}
        self.settled: list[float | None] = []
        self.asked: list[tuple[str, int | None, bool]] = []
        self.limits: list[Limits] = []
        self.closed = 0

    def _check(self, what: str) -> None:
        if self.closed:
            raise EngineFailed("the reasoner is closed")
        if what in self.failing:
            raise EngineFailed(f"{what} broke")

    def watch(self, keyframe_id, image, timestamp_s) -> None:
        self._check("watch")
        if keyframe_id in self.watched or timestamp_s < 0.0 or image.dtype != np.uint8:
            raise BadFrame(f"keyframe {keyframe_id}")
        self.watched[keyframe_id] = image, timestamp_s

    def forget(self, keyframe_id) -> None:
        self._check("forget")
        if self.watched.pop(keyframe_id, None) is None:
            raise BadInput(f"keyframe {keyframe_id} is not held")

    def settle(self, now_s=None, deadline_ns=None) -> bool:
        self._check("settle")
        self.settled.append(now_s)
        return True

    def when(self, question, limits) -> TimeGrounding:
        self._note(question, None, limits)
        if isinstance(self.window_s, Finish):
            return TimeGrounding(self.window_s, rationale="looked")
        effort = Effort(timings_ms={"prefill": 2.0, "decode": 3.0})
        return TimeGrounding(Finish.OK, self.window_s, "it is early", 0.8, effort=effort)

    def where(self, question, keyframe_id, limits, image=None) -> ImageGrounding:
        self._note(question, keyframe_id, limits, image is not None)
        if keyframe_id not in self.watched:
            raise BadInput(f"keyframe {keyframe_id} is not held")
        said = self.boxes(keyframe_id)
        if isinstance(said, SceneR1Error):
            raise said
        if isinstance(said, Finish):
            return ImageGrounding(said, keyframe_id)
        boxes = tuple(LabelledBox(xyxy, "block", self.sure(keyframe_id)) for xyxy in said)
        effort = Effort(late_encodes=1, timings_ms={"decode": 1.0})
        return ImageGrounding(Finish.OK, keyframe_id, boxes, f"it is red in {keyframe_id}", effort=effort)

    def answer(self, question, limits) -> TextAnswer:
        self._note(question, None, limits)
        if isinstance(self.words, Finish):
            return TextAnswer(self.words)
        return TextAnswer(Finish.OK, self.words, "counted them", 0.7)

    def _note(self, question, keyframe_id, limits, image=False) -> None:
        self._check("when" if keyframe_id is None else "where")
        self.asked.append((check_question(question), keyframe_id, image))
        self.limits.append(limits)

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> ScriptedReasoner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
