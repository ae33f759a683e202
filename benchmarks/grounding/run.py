"""A room streamed through the shipped runtime, its questions asked, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding.oracles import ToldReasoner, ToldSegmenter
from benchmarks.grounding.scored import Scored, broken, scored
from benchmarks.grounding.told import Oracle, Told
from scene_r1.answer import Answer, Status
from scene_r1.config import Config
from scene_r1.frame import RgbdFrame
from scene_r1.grounder import Grounder
from scene_r1.rooms.questions.question import Question
from scene_r1.sources import FrameSource
from scene_r1.watching import Replay
from scene_r1_engines.errors import EngineFailed, SceneR1Error
from scene_r1_engines.reasoner import Reasoner
from scene_r1_engines.segmenter import Segmenter


class Scene(Protocol):
    """A recorded room with its truth."""

    @property
    def name(self) -> str: ...

    @property
    def questions(self) -> Sequence[Question]: ...

    def source(self) -> FrameSource: ...

    def instance(self, frame: int) -> NDArray[np.int16]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What the page of pictures needs of one answer: the frame it rests on."""

    question: Question
    answer: Answer
    frame: RgbdFrame | None
    scored: Scored


@dataclass(slots=True)
class Watched:
    """How streaming went. frames: streamed; keyframes: held at the end; seconds: until the model had seen them."""

    frames: int = 0
    keyframes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class RoomResult:
    """rows: of each oracle row in the order asked, its scored questions. failed: why the room could not be judged."""

    scene: str
    rows: list[list[Scored]] = field(default_factory=list)
    watched: Watched = field(default_factory=Watched)
    failed: str = ""


class Bench:
    """The engines of a run, opened once; a grounder of its own for each room."""

    def __init__(self, config: Config, told: Told, reasoner: Reasoner, segmenter: Segmenter) -> None:
        self.config, self.told = config, told
        self._reasoner, self._segmenter = reasoner, segmenter
        self._grounder: Grounder | None = None

    def again(self) -> Iterable[tuple[int, NDArray[np.uint8], float]]:
        """The keyframes of the room that is streamed now, for an engine that was lost; any thread."""
        grounder = self._grounder
        return () if grounder is None else grounder.keyframes_again()

    @contextmanager
    def watching(self, frames: Iterable[RgbdFrame], watched: Watched) -> Iterator[Grounder]:
        """Stream frames as fast as they come and yield the grounder, every keyframe seen.

        Raises EngineFailed where the reasoner does not get that far.
        """
        begun = time.perf_counter()
        lent = ToldReasoner(self._reasoner, self.told)
        with Grounder(lambda replay: lent, ToldSegmenter(self._segmenter, self.told), self.config) as grounder:
            self._grounder = grounder
            try:
                for frame in frames:
                    grounder.take(frame)
                if not grounder.end(time.monotonic_ns() + round(self.config.limits.settle_s * 1e9)):
                    raise EngineFailed("the reasoner has not seen all keyframes: raise limits.settle_s")
                watched.frames = grounder.selector.counters.offered
                watched.keyframes = len(grounder.memory)
                watched.seconds = time.perf_counter() - begun
                yield grounder
            finally:
                self._grounder = None

    def judge(
        self, scene: Scene, rows: Sequence[frozenset[Oracle]], on_answer: Callable[[int, Shown], None]
    ) -> RoomResult:
        """Every question of a room under every row of oracles; VQA only under the first, where none has a part.

        on_answer: (number of the row, what was seen). A room that cannot be read or streamed is a failed one, and what
        it says is kept; a question that raises is a wrong answer.
        """
        result = RoomResult(scene.name, [[] for _ in rows])
        try:
            with scene.source() as source, self.watching(source.frames(), result.watched) as grounder:
                self.told.instance = scene.instance
                for number, use in enumerate(rows):
                    for question in scene.questions:
                        if number == 0 or question.task == "find":
                            shown = self._ask(grounder, question, use)
                            result.rows[number].append(shown.scored)
                            on_answer(number, shown)
        except SceneR1Error as error:
            result.failed = f"{type(error).__name__}: {error}"
        finally:
            self.told.instance, self.told.question, self.told.use = None, None, frozenset()
        return result

    def _ask(self, grounder: Grounder, question: Question, use: frozenset[Oracle]) -> Shown:
        self.told.question, self.told.use = question, use
        begun = time.perf_counter()
        try:
            answer = grounder.ask(question.text, task=question.task)
        except SceneR1Error as error:
            row = broken(question, error, time.perf_counter() - begun)
            return Shown(question, Answer(Status.NOT_FOUND, None, {}, {}, reason=str(error)), None, row)
        row = scored(question, answer, time.perf_counter() - begun)
        return Shown(question, answer, _frame_of(grounder, question, answer), row)


def _frame_of(grounder: Grounder, question: Question, answer: Answer) -> RgbdFrame | None:
    """The frame that an answer rests on; where it rests on none, the keyframe that shows most of the thing."""
    if answer.evidence:
        return grounder.frames(answer)[0]
    shown = {index: (x1 - x0) * (y1 - y0) for index, (x0, y0, x1, y1) in question.boxes_2d.items()}
    held = [keyframe for keyframe in grounder.memory if keyframe.index in shown]
    return max(held, key=lambda keyframe: shown[keyframe.index]).frame() if held else None


@contextmanager
def bench(config: Config, told: Told, opened: Callable[[Replay], Reasoner]) -> Iterator[Bench]:
    """The engines that a configuration names, for many rooms. opened: the reasoner, as Grounder takes it."""
    holder: list[Bench] = []

    def replay() -> Any:
        return holder[0].again() if holder else ()

    with config.segmenter.open() as segmenter, opened(replay) as reasoner:
        holder.append(Bench(config, told, reasoner, segmenter))
        yield holder[0]
