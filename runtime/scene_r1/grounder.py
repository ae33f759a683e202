"""One scene from its first frame to its questions: selector, memory, reasoner, segmenter and lifter together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer
from scene_r1.ask import Scene, find, in_words
from scene_r1.config import Config
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.keyframes.selector import Decision
from scene_r1.lift import Lifter
from scene_r1.memory import Keyframe, SceneMemory
from scene_r1.stream import kept_in_step
from scene_r1.timings import Timings
from scene_r1.watching import MOST_FAILURES, Replay, Wanted, Watching
from scene_r1_engines.errors import BadInput
from scene_r1_engines.limits import Limits
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.nano import model_folder
from scene_r1_engines.reasoner import Reasoner, open_reasoner
from scene_r1_engines.segmenter import Segmenter

Task = Literal["find", "vqa"]
TASKS: tuple[Task, ...] = ("find", "vqa")
SLICE_NS = 200_000_000
"""How long `end` leaves the reasoner to itself before it shows progress and listens to an interrupt again."""
PAUSE_S = 0.01


class Grounder:
    """Streams frames and answers questions about them. A context manager that owns its engines; for one thread.

    A reasoner that breaks does not stop the stream: it is noted, the keyframes that it missed are offered again with
    the next keyframe and before the next question, and that question raises what still stands in the way.
    """

    def __init__(
        self,
        reasoner: Callable[[Replay], Reasoner],
        segmenter: Segmenter,
        config: Config | None = None,
        model: str = "",
    ) -> None:
        """reasoner: opens the reasoner; it is given a Replay, for one that lives in a worker process. model: the name
        of what it runs, which every answer then says as its engine `model`."""
        self.config = config or Config()
        self.model = model
        keyframes, memory = self.config.keyframes, self.config.memory
        self.selector = KeyframeSelector(keyframes.k, keyframes.selection, keyframes.observation)
        self.memory = SceneMemory(memory.max_bytes, memory.jpeg_quality)
        self.lifter = Lifter(self.config.lift)
        self._wanted = Wanted()
        with ExitStack() as stack:
            self.segmenter = stack.enter_context(segmenter)
            self.reasoner = stack.enter_context(reasoner(self._wanted.again))
            self._engines = stack.pop_all()
        self._watching = Watching(self.reasoner, self._wanted)

    def take(self, frame: RgbdFrame, idle_s: float = 0.0) -> Decision:
        """One frame of the stream; returns what the selector made of it.

        idle_s: how long the reasoner may work before this returns. 0: it learns the time; one in this process then
        encodes one keyframe at the most, where one is due, and one in a worker works on by itself.
        """
        if self._wanted.start_ns is None:
            self._wanted.start_ns = frame.timestamp_ns
        decision = self._keep(self.selector.offer(frame))
        now_s = (frame.timestamp_ns - self._wanted.start_ns) / 1e9
        self._watching.settle(now_s, time.monotonic_ns() + round(idle_s * 1e9))
        return decision

    def end(self, deadline_ns: int | None = None, on_wait: Callable[[], None] | None = None) -> bool:
        """The recording is over: settle the last keyframe, and wait until the reasoner has seen them all.

        on_wait is called several times a second, to show progress. Returns whether the reasoner is done: False at the
        deadline, and where it keeps breaking.
        """
        self._keep(self.selector.settle())
        failures = 0
        while failures < MOST_FAILURES:
            if not self._watching.in_step:
                self._watching.show()
            until_ns = time.monotonic_ns() + SLICE_NS
            done = self._watching.settle(None, until_ns if deadline_ns is None else min(until_ns, deadline_ns))
            if done:
                return True
            failures = failures + 1 if done is None else 0
            if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                return False
            if on_wait is not None:
                on_wait()
            time.sleep(PAUSE_S)  # one that works elsewhere answers at once
        return False

    def ask(self, question: str, limits: Limits | None = None, task: Task = "find") -> Answer:
        """The answer to a question about what was seen so far. task: "find" a thing, or answer in words ("vqa").

        limits: those of the configuration, from now, where none are given. Raises BadQuestion, BadInput for another
        task, EngineFailed where the reasoner breaks, and what keeps it from taking the keyframes where something does.
        """
        if task not in TASKS:
            raise BadInput(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        clock = Timings()
        with clock.stage("watch"):
            self._keep(self.selector.settle())
            self._watching.mend()
        scene = Scene(self._wanted.keyframes, self._wanted.start_ns or 0, self.reasoner, self.segmenter, self.lifter)
        ask = find if task == "find" else in_words
        answer = ask(question, limits or self.config.limits.from_now(), scene, clock)
        if not self.model:
            return answer
        engine = {"reasoner": self.reasoner.name, "model": self.model, **answer.engine}
        return replace(answer, engine=engine)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """Held now, in order of time."""
        return tuple(self.memory)

    @property
    def failures(self) -> int:
        """How often the reasoner broke while nobody asked."""
        return self._watching.failures

    def keyframes_again(self) -> Iterator[tuple[int, NDArray[np.uint8], float]]:
        """What the reasoner watches, in order of time; may be called from any thread."""
        return self._wanted.again()

    def frames(self, answer: Answer) -> list[RgbdFrame]:
        """The frames of an answer's evidence, in its order, as the memory holds them."""
        return [self.memory[view.frame].frame() for view in answer.evidence]

    def close(self) -> None:
        self._engines.close()

    def __enter__(self) -> Grounder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _keep(self, decision: Decision) -> Decision:
        """Carry a decision out in the memory, and show the reasoner what has changed there."""
        decision = kept_in_step(decision, self.selector, self.memory)
        if decision.inserted is not None or decision.evicted is not None:
            self._wanted.keyframes = tuple(self.memory)
            self._watching.show()
        return decision


def open_grounder(config: Config, model: str | os.PathLike[str] | None = None) -> Grounder:
    """A grounder with the engines that a configuration names. model: the model's folder, for the llama.cpp reasoner;
    None or "nano": Scene-R1 nano, which comes with the package.

    Raises BadConfig, MissingExtra, BadModelFile as the engines do.
    """
    opened, name = reasoner_of(config, model), model_name(config, model)
    return Grounder(opened, config.segmenter.open(), config, name)


def model_name(config: Config, model: str | os.PathLike[str] | None = None) -> str:
    """What the model calls itself: in its manifest, or as the server names it. Raises BadModelFile."""
    wanted = config.reasoner
    return wanted.server.model if wanted.name == "openai" else read_manifest(model_folder(model)).name


def reasoner_of(config: Config, model: str | os.PathLike[str] | None = None) -> Callable[[Replay], Reasoner]:
    """What opens the reasoner that a configuration names, as Grounder takes it; else as `open_grounder`."""
    wanted = config.reasoner
    if wanted.name == "openai":
        settings = wanted.server.settings(config.keyframes.k, wanted.image_pixels)
        return lambda replay: open_reasoner(wanted.name, settings)
    llama = wanted.llama(os.fspath(model_folder(model)), config.keyframes.k, config.limits.max_tokens)

    def opened(replay: Replay) -> Reasoner:
        if wanted.isolation == "inline":
            return open_reasoner(wanted.name, llama)
        from scene_r1_engines.worker import IsolatedReasoner  # on use: it brings multiprocessing with it

        return IsolatedReasoner(wanted.name, llama, replay, niceness=wanted.niceness)

    return opened
