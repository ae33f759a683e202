"""Engines that answer some stages from the truth and leave the others to the engine they stand before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding.told import Told
from scene_r1.rooms.questions.question import Question
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, ImageGrounding, LabelledBox, Reasoner, TextAnswer, TimeGrounding
from scene_r1_engines.segmenter import Segmenter
from scene_r1_engines.view import Masks, Prompt, View


class ToldReasoner:
    """A Reasoner before another one: the time window and the 2D box from the truth where they are to be.

    One engine serves many rooms: `close` gives its keyframes up and leaves it open, for loading a model takes longer
    than asking it.
    """

    def __init__(self, inner: Reasoner, told: Told) -> None:
        self._inner, self._told = inner, told
        self._watched: dict[int, float] = {}  # and when
        self.grounding_pixels = inner.grounding_pixels

    @property
    def name(self) -> str:
        use = [stage for stage in ("window", "box") if stage in self._told.use]
        return "+".join([self._inner.name, *(f"true {stage}" for stage in use)])

    @property
    def held(self) -> frozenset[int]:
        """As the engine behind accounts for them; else those it was given."""
        held: frozenset[int] = getattr(self._inner, "held", frozenset(self._watched))
        return held

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        self._inner.watch(keyframe_id, image, timestamp_s)
        self._watched[keyframe_id] = timestamp_s

    def forget(self, keyframe_id: int) -> None:
        self._watched.pop(keyframe_id, None)
        self._inner.forget(keyframe_id)

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        return self._inner.settle(now_s, deadline_ns)

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        if "window" not in self._told.use:
            return self._inner.when(question, limits)
        truth = self._told.now()
        if not truth.windows_s:
            return TimeGrounding(Finish.NOT_FOUND)
        return TimeGrounding(Finish.OK, self._best_window(truth), truth.rationale, 1.0)

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        if "box" not in self._told.use:
            return self._inner.where(question, keyframe_id, limits, image)
        truth = self._told.now()
        box = truth.boxes_2d.get(keyframe_id)
        if box is None:
            return ImageGrounding(Finish.NOT_FOUND, keyframe_id)
        return ImageGrounding(Finish.OK, keyframe_id, (LabelledBox(box, truth.name, 1.0),))

    def _best_window(self, truth: Question) -> tuple[float, float]:
        """Of the times in which the thing is visible, the one whose keyframes show most of it: an engine knows the
        keyframes and nothing else. The best of all where no keyframe shows it in any of them."""
        shown = {
            self._watched[frame]: (x1 - x0) * (y1 - y0)
            for frame, (x0, y0, x1, y1) in truth.boxes_2d.items()
            if frame in self._watched
        }

        def seen_px(window: tuple[float, float]) -> float:
            return sum(area for time_s, area in shown.items() if window[0] <= time_s <= window[1])

        return max(truth.windows_s, key=seen_px)

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        return self._inner.answer(question, limits)

    def close(self) -> None:
        for keyframe_id in sorted(self._watched.keys() & self.held):
            self._inner.forget(keyframe_id)
        self._watched.clear()

    def __enter__(self) -> ToldReasoner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ToldSegmenter:
    """A Segmenter before another one: with the oracle `mask`, what is visible of the target, whatever the prompt."""

    def __init__(self, inner: Segmenter, told: Told) -> None:
        self._inner, self._told = inner, told

    @property
    def name(self) -> str:
        return "true mask" if "mask" in self._told.use else self._inner.name

    @property
    def degraded(self) -> bool:
        return "mask" not in self._told.use and self._inner.degraded

    def segment(self, view: View, prompts: Sequence[Prompt]) -> Masks:
        if "mask" not in self._told.use:
            return self._inner.segment(view, prompts)
        mask = self._told.mask(view.id)
        masks = np.repeat(mask[None], len(prompts), axis=0)
        return Masks(view.id, masks, np.full(len(prompts), float(mask.any()), np.float32))

    def track(
        self, views: Iterable[View], prompts: Mapping[int, Prompt], hints: Mapping[int, Prompt] = {}
    ) -> Iterator[Masks]:
        if "mask" not in self._told.use:
            yield from self._inner.track(views, prompts, hints)
            return
        for view in views:
            yield self.segment(view, [Prompt(mask=np.ones(view.image.shape[:2], np.bool_))])

    def close(self) -> None:
        """The engine behind is its owner's to close."""

    def __enter__(self) -> ToldSegmenter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
