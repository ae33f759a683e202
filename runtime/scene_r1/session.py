"""One scene from its first frame to its questions: selector, memory, reasoner, segmenter and lifter together."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Literal, Protocol, TypeAlias, runtime_checkable

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
from scene_r1_engines.errors import BadInput, SceneR1Error
from scene_r1_engines.limits import Limits
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.nano import model_folder
from scene_r1_engines.reasoner import Reasoner, open_reasoner
from scene_r1_engines.segmenter import Segmenter

Task = Literal["find", "vqa"]
TASKS: tuple[Task, ...] = ("find", "vqa")
Replay: TypeAlias = Callable[[], Iterable[tuple[int, NDArray[np.uint8], float]]]
"""Gives a reasoner its keyframes again: (id, (H, W, 3) uint8 RGB, seconds since the start of the recording)."""

SLICE_NS = 200_000_000
"""How long `end` leaves the reasoner to itself before it shows progress and listens to an interrupt again."""
PAUSE_S = 0.01
MOST_FAILURES = 3
"""In a row, before `end` waits no longer for a reasoner that breaks."""
log = logging.getLogger(__name__)


@runtime_checkable
class Accounting(Protocol):
    """A reasoner that learns only later what was refused or lost, and says what it holds, or is still to be handed."""

    @property
    def held(self) -> frozenset[int]: ...


class Wanted:
    """The keyframes that the reasoner is to watch, and their clock: the part of a session that a replay needs.

    A reasoner in a worker asks for them from a thread of its own, which lives until that reasoner is let go of. So it
    gets this and not the session, which would else keep itself alive through that thread.
    """

    def __init__(self) -> None:
        self.start_ns: int | None = None
        """timestamp_ns of the first frame, which is 0 s; None before it."""
        self.keyframes: tuple[Keyframe, ...] = ()
        """In order of time; replaced, never changed, for it is read by that thread."""

    def again(self) -> Iterator[tuple[int, NDArray[np.uint8], float]]:
        """As a Replay; from any thread."""
        for keyframe in self.keyframes:
            yield keyframe.index, keyframe.image(), self.seconds(keyframe)

    def seconds(self, keyframe: Keyframe) -> float:
        """A keyframe's time since the start of the recording."""
        return (keyframe.timestamp_ns - (self.start_ns or 0)) / 1e9


class Session:
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
        self.failures = 0
        """How often the reasoner broke while nobody asked."""
        self._fault: SceneR1Error | None = None  # the last of them, since the last question
        self._wanted = Wanted()
        self._watched: set[int] = set()
        with ExitStack() as stack:
            self.segmenter = stack.enter_context(segmenter)
            self.reasoner = stack.enter_context(reasoner(self._wanted.again))
            self._engines = stack.pop_all()

    def take(self, frame: RgbdFrame, idle_s: float = 0.0) -> Decision:
        """One frame of the stream; returns what the selector made of it.

        idle_s: how long the reasoner may work before this returns. 0: it learns the time; one in this process then
        encodes one keyframe at the most, where one is due, and one in a worker works on by itself.
        """
        if self._wanted.start_ns is None:
            self._wanted.start_ns = frame.timestamp_ns
        decision = self._keep(self.selector.offer(frame))
        now_s = (frame.timestamp_ns - self._wanted.start_ns) / 1e9
        self._settle(now_s, time.monotonic_ns() + round(idle_s * 1e9))
        return decision

    def end(self, deadline_ns: int | None = None, on_wait: Callable[[], None] | None = None) -> bool:
        """The recording is over: settle the last keyframe, and wait until the reasoner has seen them all.

        on_wait is called several times a second, to show progress. Returns whether the reasoner is done: False at the
        deadline, and where it keeps breaking.
        """
        self._keep(self.selector.settle())
        failures = 0
        while failures < MOST_FAILURES:
            if not self._in_step:
                self._show()
            until_ns = time.monotonic_ns() + SLICE_NS
            done = self._settle(None, until_ns if deadline_ns is None else min(until_ns, deadline_ns))
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
            self._mend()
        scene = Scene(self._wanted.keyframes, self._wanted.start_ns or 0, self.reasoner, self.segmenter, self.lifter)
        ask = find if task == "find" else in_words
        answer = ask(question, limits or self.config.limits.from_now(), scene, clock)
        if not self.model:
            return answer
        engine = {"reasoner": self.reasoner.name, "model": self.model, **answer.engine}
        return replace(answer, engine=engine)

    def keyframes_again(self) -> Iterator[tuple[int, NDArray[np.uint8], float]]:
        """What the reasoner watches, in order of time; may be called from any thread."""
        return self._wanted.again()

    def frames(self, answer: Answer) -> list[RgbdFrame]:
        """The frames of an answer's evidence, in its order, as the memory holds them."""
        return [self.memory[view.frame].frame() for view in answer.evidence]

    def close(self) -> None:
        self._engines.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _keep(self, decision: Decision) -> Decision:
        """Carry a decision out in the memory, and show the reasoner what has changed there."""
        decision = kept_in_step(decision, self.selector, self.memory)
        if decision.inserted is not None or decision.evicted is not None:
            self._wanted.keyframes = tuple(self.memory)
            self._show()
        return decision

    def _show(self) -> None:
        """Make what the reasoner watches what the memory holds, as far as it works."""
        held = {keyframe.index: keyframe for keyframe in self._wanted.keyframes}
        self._strike()
        try:
            for index in sorted(self._watched - held.keys()):
                with suppress(BadInput):  # it is not held: that is what is wanted
                    self.reasoner.forget(index)
                self._watched.discard(index)
            for index in sorted(held.keys() - self._watched):
                # what the memory holds and not the camera's picture: so a replay shows the reasoner the same pixels
                self.reasoner.watch(index, held[index].image(), self._wanted.seconds(held[index]))
                self._watched.add(index)
        except SceneR1Error as error:  # one in a worker says here what it refused a while ago
            self._note(error)

    def _settle(self, now_s: float | None, deadline_ns: int) -> bool | None:
        """As Reasoner.settle; None where it broke."""
        try:
            return self.reasoner.settle(now_s, deadline_ns)
        except SceneR1Error as error:
            self._note(error)
            return None

    def _mend(self) -> None:
        """Before a question: what the reasoner missed. Raises what it says if it still does not take it."""
        before, self._fault = self._fault, None
        if before is not None:
            log.warning("the reasoner failed while nobody asked: %s", before)
        for _ in range(MOST_FAILURES):
            if self._in_step:
                return
            self._show()
        if not self._in_step and self._fault is not None:
            raise self._fault

    @property
    def _in_step(self) -> bool:
        self._strike()
        return self._watched == {keyframe.index for keyframe in self._wanted.keyframes}

    def _strike(self) -> None:
        """Strike off what the reasoner was shown and has refused or lost since: it is to be shown that again. What it
        is to forget stays, so that it is told to."""
        if isinstance(self.reasoner, Accounting):
            self._watched -= {keyframe.index for keyframe in self._wanted.keyframes} - self.reasoner.held

    def _note(self, error: SceneR1Error) -> None:
        self.failures += 1
        self._fault = error
        log.info("the reasoner failed, the stream goes on: %s", error)


def open_session(config: Config, model: str | os.PathLike[str] | None = None) -> Session:
    """A session with the engines that a configuration names. model: the model's folder, for the llama.cpp reasoner;
    None or "nano": Scene-R1 nano, which comes with the package.

    Raises BadConfig, MissingExtra, BadModelFile as the engines do.
    """
    opened, name = reasoner_of(config, model), model_name(config, model)
    return Session(opened, config.segmenter.open(), config, name)


def model_name(config: Config, model: str | os.PathLike[str] | None = None) -> str:
    """What the model calls itself: in its manifest, or as the server names it. Raises BadModelFile."""
    wanted = config.reasoner
    return wanted.server.model if wanted.name == "openai" else read_manifest(model_folder(model)).name


def reasoner_of(config: Config, model: str | os.PathLike[str] | None = None) -> Callable[[Replay], Reasoner]:
    """What opens the reasoner that a configuration names, as Session takes it. model, errors: as of `open_session`."""
    wanted = config.reasoner
    if wanted.name == "openai":
        settings = wanted.server.settings(config.keyframes.k, wanted.image_pixels)
        return lambda replay: open_reasoner(wanted.name, settings)
    llama = wanted.llama(os.fspath(model_folder(model)), config.keyframes.k, config.limits.max_tokens)

    def opened(replay: Replay) -> Reasoner:
        if wanted.isolation == "inline":
            return open_reasoner(wanted.name, llama)
        from scene_r1_engines.worker import IsolatedReasoner  # on use: it brings multiprocessing with it

        return IsolatedReasoner(wanted.name, llama, replay)

    return opened
