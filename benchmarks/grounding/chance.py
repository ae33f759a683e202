"""What guessing achieves: an engine that guesses, and the level that guesses reach on the questions of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding.scores import box_iou, temporal_iou, vqa_score
from benchmarks.grounding.told import Told
from scene_r1.box import Box3D, iou
from scene_r1.rooms.questions.question import Question
from scene_r1_engines.errors import BadFrame, BadInput
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, ImageGrounding, LabelledBox, TextAnswer, TimeGrounding

ABSENT = 0.25
"""How often a guess says that the thing is not there: as often as that is so."""
DRAWS = 200
LEAST_SHARE = 0.05
"""A guessed box or window is at least this share of the picture's side or of the recording."""


class GuessingReasoner:
    """A Reasoner that looks at nothing: a time span and a box at random, and an answer that some question of the same
    kind has. What any model has to beat."""

    name = "guess"
    grounding_pixels = None

    def __init__(self, told: Told, answers: Mapping[str, Sequence[str]], seed: int) -> None:
        """answers: of each family, those that are drawn from where an answer is no choice."""
        self._told, self._answers = told, answers
        self._rng = np.random.default_rng([seed, 0x6E55])
        self._sizes: dict[int, tuple[int, int]] = {}
        self._times: dict[int, float] = {}

    @property
    def held(self) -> frozenset[int]:
        return frozenset(self._times)

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        if keyframe_id in self._times:
            raise BadFrame(f"keyframe {keyframe_id} is held already")
        self._sizes[keyframe_id] = (image.shape[1], image.shape[0])
        self._times[keyframe_id] = timestamp_s

    def forget(self, keyframe_id: int) -> None:
        if self._times.pop(keyframe_id, None) is None:
            raise BadInput(f"keyframe {keyframe_id} is not held")
        del self._sizes[keyframe_id]

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        return True

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        if not self._times:
            return TimeGrounding(Finish.NOT_READY)
        if self._rng.random() < ABSENT:
            return TimeGrounding(Finish.NOT_FOUND)
        start, end = _span(self._rng) * (max(self._times.values()) + 1e-3)
        return TimeGrounding(Finish.OK, (float(start), float(end)), "", 0.5)

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        if keyframe_id not in self._sizes:
            raise BadInput(f"keyframe {keyframe_id} is not held")
        box = LabelledBox(_box(self._rng, self._sizes[keyframe_id]), "guess", 0.5)
        return ImageGrounding(Finish.OK, keyframe_id, (box,))

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        asked = self._told.now()
        pool = asked.choices or self._answers.get(asked.family, ())
        if not pool:
            return TextAnswer(Finish.NOT_FOUND)
        return TextAnswer(Finish.OK, str(pool[int(self._rng.integers(len(pool)))]), "", 0.5)

    def close(self) -> None:
        self._sizes.clear()
        self._times.clear()

    def __enter__(self) -> GuessingReasoner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def find_chance(
    questions: Sequence[Question],
    durations_s: Mapping[str, float],
    sizes: Mapping[str, tuple[int, int]],
    boxes: Mapping[str, Sequence[Box3D]],
    seed: int,
) -> dict[str, float]:
    """What guesses reach on find questions whose thing is there, mean over DRAWS guesses for each.

    temporal_iou, box_iou50: of random spans and of random boxes in a random frame that shows the thing. acc25, acc50:
    of the true box of a random object of the room, which is more than a guess knows. durations_s, sizes (width,
    height), boxes (of all objects): of each scene.
    """
    rng = np.random.default_rng([seed, 0xC4A9])
    rows = []
    for question in questions:
        if question.box_3d is None:
            continue
        spans = [_span(rng) * durations_s[question.scene] for _ in range(DRAWS)]
        overlap = np.mean([temporal_iou((float(a), float(b)), question.windows_s) for a, b in spans])
        shown = list(question.boxes_2d.values())
        guesses = [_box(rng, sizes[question.scene]) for _ in range(DRAWS)]
        hits = [box_iou(box, shown[int(rng.integers(len(shown)))]) >= 0.5 for box in guesses]
        truth = Box3D.from_corners(question.box_3d.low, question.box_3d.high)
        ious = np.array([iou(box, truth) for box in boxes[question.scene]])
        rows.append((overlap, np.mean(hits), np.mean(ious >= 0.25), np.mean(ious >= 0.5)))
    if not rows:
        return {}
    means = np.mean(rows, axis=0)
    return dict(zip(("temporal_iou", "box_iou50", "acc25", "acc50"), map(float, means), strict=True))


def vqa_levels(questions: Sequence[Question]) -> tuple[dict[str, float], dict[str, float]]:
    """(chance, majority) of each family of questions that are answered in words.

    chance: the mean score of a random choice, or where there are no choices of another question's answer. majority:
    the score of always saying the one thing that scores best on these very questions.
    """
    chance: dict[str, float] = {}
    majority: dict[str, float] = {}
    for family in dict.fromkeys(one.family for one in questions):
        own = [one for one in questions if one.family == family]
        answers = [one.answer for one in own]
        guesses = [
            np.mean([vqa_score(one, said) for said in (one.choices or answers[:i] + answers[i + 1 :] or [""])])
            for i, one in enumerate(own)
        ]
        chance[family] = float(np.mean(guesses))
        majority[family] = max(float(np.mean([vqa_score(one, said) for one in own])) for said in set(answers))
    return chance, majority


def _span(rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,) start and end in 0..1."""
    while True:
        span = np.sort(rng.random(2))
        if span[1] - span[0] >= LEAST_SHARE:
            return span


def _box(rng: np.random.Generator, size: tuple[int, int]) -> tuple[float, float, float, float]:
    (x0, x1), (y0, y1) = _span(rng) * size[0], _span(rng) * size[1]
    return float(x0), float(y0), float(x1), float(y1)
