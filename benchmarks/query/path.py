"""The path that is measured: a recording watched by a grounder as it is shipped, then questions to it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import room_walk, with_progress
from scene_r1.config import Config
from scene_r1.grounder import Grounder
from scene_r1.sources import FrameSource, open_source
from scene_r1_engines.errors import EngineFailed, SceneR1Error

COLORS = ("white", "red", "black", "blue", "wooden", "small", "grey", "green")
THINGS = ("mug", "book", "box", "chair", "bottle", "keyboard", "lamp", "bag", "plant", "remote control")
PLACES = ("on the table", "next to the laptop", "under the desk", "by the window", "on the shelf", "near the door")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. total_ms: as the caller waited. status: of the answer, or the name of the error that was raised.
    stages: the answer's own timings; a name with a dot is a part of the stage before it. reason: the answer's, where it
    is not ok, or the error's message."""

    question: str
    status: str
    total_ms: float
    stages: dict[str, float]
    views: int
    reason: str = ""

    @property
    def unattributed(self) -> float:
        """Share of what the caller waited for that no stage accounts for."""
        known = sum(ms for name, ms in self.stages.items() if "." not in name and name != "total")
        return 1.0 - known / self.total_ms


def config_of(think_tokens: int, threads: int | None, gpu_layers: int) -> Config:
    """The defaults of the runtime, with what the benchmark's options say in their place."""
    config = Config()
    return replace(
        config,
        limits=replace(config.limits, think_tokens=think_tokens),
        reasoner=replace(config.reasoner, threads=threads, gpu_layers=gpu_layers),
    )


@contextmanager
def recording(data: Path | None, seed: int, cache: Path, frames: int) -> Iterator[FrameSource]:
    """The recording that was named, or a walk of so many frames through the room of that seed."""
    with open_source(data) if data is not None else room_walk(seed, cache, frames) as source:
        yield source


def watched(grounder: Grounder, source: FrameSource, frames: int) -> dict[str, Any]:
    """Stream the first so many frames as fast as they come, and wait until the model has seen the keyframes.

    Raises EngineFailed where it has not in the end: questions would then be timed with what was left to do.
    """
    start = time.perf_counter_ns()
    total = min(frames, source.info.frames or frames)
    for frame in with_progress(islice(source.frames(), frames), total, "watch"):
        grounder.take(frame)
    if not grounder.end(time.monotonic_ns() + round(grounder.config.limits.settle_s * 1e9)):
        raise EngineFailed("the reasoner has not seen all keyframes: raise limits.settle_s")
    return {
        "frames": grounder.selector.counters.offered,
        "keyframes": len(grounder.memory),
        "watch_ms": (time.perf_counter_ns() - start) / 1e6,
    }


def questions(count: int, seed: int) -> list[str]:
    """Different questions as far as the words go round; the same for the same seed."""
    rng = np.random.default_rng([seed, 0x0A5C])
    said = [f"where is the {color} {thing} {place}?" for color in COLORS for thing in THINGS for place in PLACES]
    order = rng.permutation(len(said))
    return [said[order[i % len(said)]] for i in range(count)]


def ask(grounder: Grounder, question: str) -> Asked:
    """One question through the shipped path. What an engine raises is an outcome too, under the error's name."""
    start = time.perf_counter_ns()
    try:
        answer = grounder.ask(question)
    except SceneR1Error as error:
        return Asked(question, type(error).__name__, (time.perf_counter_ns() - start) / 1e6, {}, 0, str(error))
    total_ms = (time.perf_counter_ns() - start) / 1e6
    stages, views = dict(answer.timings_ms), len(answer.evidence)
    return Asked(question, answer.status.value, total_ms, stages, views, answer.reason)


def statuses(asked: Sequence[Asked]) -> dict[str, int]:
    """How the questions ended, the most frequent first."""
    return dict(Counter(one.status for one in asked).most_common())


def reached(asked: Sequence[Asked]) -> dict[str, float]:
    """Share of the questions that came to each stage."""
    seen = Counter(name for one in asked for name in one.stages if "." not in name and name != "total")
    return {name: count / len(asked) for name, count in seen.items()}
