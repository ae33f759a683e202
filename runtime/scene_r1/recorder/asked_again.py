"""A recording's questions put again to the same engines, and its answers compared with the new ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from scene_r1.answer import Answer
from scene_r1.ask import Scene, find, in_words
from scene_r1.config import Config
from scene_r1.grounder import model_name, reasoner_of
from scene_r1.lift import Lifter
from scene_r1.session.scene_map import Snapshot
from scene_r1.timings import Timings
from scene_r1.watching import Wanted, Watching

COMPARED = ("status", "answer", "rationale", "window_s", "boxes_2d", "box_3d")
"""What of an answer must be the same; times and ages cannot be."""
SLACK = 1e-3
"""Of a number in an answer: metres, pixels or seconds, as they are rounded for JSON."""
SLICE_NS = 200_000_000


@dataclass(frozen=True, slots=True)
class Compared:
    """One question. same: None where there is nothing to compare with. differences: field by field, in words."""

    id: object
    question: str
    same: bool | None
    differences: tuple[str, ...] = ()


class AskedAgain:
    """Opens the engines of a configuration with the first question. A context manager that owns them.

    model: the model's folder, or None for nano. Raises as `reasoner_of` and `SegmenterConfig.open`.
    """

    def __init__(self, config: Config, model: str | None) -> None:
        self.name = model_name(config, model)
        self._config = config
        self._model = model
        self._wanted = Wanted()
        self._watching: Watching | None = None
        self._engines = ExitStack()

    def ask(self, question: str, task: str, now: Snapshot) -> Answer:
        """The answer to a question about the map as it is. Raises BadQuestion and what the reasoner raises."""
        if self._watching is None:
            self._reasoner = self._engines.enter_context(reasoner_of(self._config, self._model)(self._wanted.again))
            self._segmenter = self._engines.enter_context(self._config.segmenter.open())
            self._lifter = Lifter(self._config.lift)
            self._watching = Watching(self._reasoner, self._wanted)
        self._wanted.keyframes, self._wanted.start_ns = now.keyframes, now.start_ns
        self._watching.mend()
        ends_ns = time.monotonic_ns() + round(self._config.limits.settle_s * 1e9)
        while not self._watching.settle(None, time.monotonic_ns() + SLICE_NS) and time.monotonic_ns() < ends_ns:
            self._watching.mend()
        scene = Scene(now.keyframes, now.start_ns, self._reasoner, self._segmenter, self._lifter)
        asked = find if task == "find" else in_words
        return asked(question, self._config.limits.from_now(), scene, Timings())

    def close(self) -> None:
        self._engines.close()

    def __enter__(self) -> AskedAgain:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def compared(asked: Mapping[str, Any], recorded: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Compared:
    """asked: the question's event. recorded: the answer's event, None where there is none. now: the new answer."""
    number, question = asked.get("id"), str(asked.get("question", ""))
    then = None if recorded is None else recorded.get("answer")
    if not isinstance(then, Mapping):
        why = "no answer was recorded" if recorded is None else f"it failed: {recorded.get('error', 'no reason given')}"
        return Compared(number, question, None, (why,))
    differences = tuple(
        f"{name} was {_short(then.get(name))}, is {_short(now.get(name))}"
        for name in COMPARED
        if not alike(then.get(name), now.get(name))
    )
    return Compared(number, question, not differences, differences)


def alike(a: object, b: object) -> bool:
    """Equal, numbers to within SLACK."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= SLACK
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
