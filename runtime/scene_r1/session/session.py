"""Session: frames of a running camera in, answers out, both at once."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import cv2

from scene_r1.answer import Answer
from scene_r1.config import Config, config_to_toml, load_config
from scene_r1.frame import RgbdFrame
from scene_r1.grounder import TASKS, Task, model_name, reasoner_of
from scene_r1.keyframes.selector import Decision
from scene_r1.lift import Lifter
from scene_r1.memory import Keyframe
from scene_r1.session.company import Company, Recording, Showing
from scene_r1.session.counters import Counters
from scene_r1.session.heap import give_back
from scene_r1.session.informer import Informer
from scene_r1.session.moving import moved
from scene_r1.session.opened import Opened
from scene_r1.session.questions import Questions
from scene_r1.session.scene_map import SceneMap, Snapshot
from scene_r1.session.state import State, States
from scene_r1.session.turn import Turn
from scene_r1.sources import FrameSource
from scene_r1.tracking.tracker import PoseTracker, TrackState, open_tracker
from scene_r1.warmup import warm_up
from scene_r1.watching import Replay, Wanted
from scene_r1_engines.answer_format.question import check_question
from scene_r1_engines.errors import BadInput, BadState, BudgetExceeded, Busy, SceneR1Error
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Reasoner
from scene_r1_engines.segmenter import Segmenter

CAMERA_GONE = ("reconnecting", "lost")
"""States of a live source in which no frames come."""
log = logging.getLogger(__name__)


class Session:
    """The front door: takes a camera's frames and answers questions about what they showed, at the same time.

        with scene_r1.Session.open("scene.toml") as session:
            session.observe(frame)            # or, on a thread of its own: session.run(source)
            answer = session.ask("where is the mug?")

    Frames come from one thread, questions from any. `observe` never waits for a question: one is put to the keyframes
    as they are when its turn comes, and the reasoner learns afterwards what has changed meanwhile. One question may
    wait for another. Everything that is held is bounded by the configuration: keyframes, their bytes, voxels; two
    questions; one thread of its own, besides those of the engines.

    Poses come from the tracker that the configuration names; frames without one never enter the map. What can be
    answered is answered in every state but the first and the last.
    """

    def __init__(
        self,
        reasoner: Callable[[Replay], Reasoner],
        segmenter: Callable[[], Segmenter],
        config: Config | None = None,
        model: str = "",
        tracker: Callable[[], PoseTracker] | None = None,
    ) -> None:
        """reasoner, model: as Grounder takes them. segmenter, tracker: open these; without one, the configuration's
        tracker. Nothing is opened before `start`."""
        self.config = config or Config()
        self.model = model
        self._open = reasoner, segmenter, tracker or (lambda: open_tracker(self.config.live.tracker))
        self._states = States(self._told)
        self._turn = Turn()
        self._company = Company()
        self._tally = {"questions": 0, "answered": 0, "failed": 0, "busy": 0}
        self._tally_lock = threading.Lock()
        self._closing = threading.Event()
        self._started = False
        self._source: FrameSource | None = None
        self._source_counters: dict[str, int] = {}
        self._camera_fault = ""
        self._hand_on_ns = 0
        self._shown: tuple[str, Answer] | None = None  # the last answer that has a box, where a viewer shows it

    @classmethod
    def open(
        cls,
        config: Config | str | os.PathLike[str] | None = None,
        model: str | os.PathLike[str] | None = None,
    ) -> Session:
        """A session that is ready, with the engines of a configuration, or of the TOML file that says it.

        model: the model's folder, or None for Scene-R1 nano. Raises BadConfig, MissingExtra, BadModelFile as they do.
        """
        settings = config if isinstance(config, Config) else load_config(config)
        session = cls(reasoner_of(settings, model), settings.segmenter.open, settings, model_name(settings, model))
        session.start()
        return session

    def start(self) -> None:
        """Open the engines. Raises BadState where that was done, and what they raise; then the session is closed."""
        if self._states.now is not State.CREATED:
            self._states.enter(State.READY)  # raises: it may not follow
        if self.config.live.opencv_threads:
            cv2.setNumThreads(self.config.live.opencv_threads)
        for stage, seconds in warm_up():  # else the first frames wait for the kernels, and the newest drop meanwhile
            log.debug("%s took %.1f s to load", stage, seconds)
        reasoner, segmenter, tracker = self._open
        wanted = Wanted()
        try:
            opened = self._opened = Opened(reasoner(wanted.again), self._company, self._turn, self._closing)
            self._informer = opened.informer = Informer(opened.reasoner, wanted)
            segments = opened.keep(segmenter())
            self._map = opened.keep(SceneMap(self.config, tracker()))
            lifter = Lifter(self.config.lift)
        except BaseException:
            self.close()
            raise
        self._questions = Questions(
            opened.reasoner,
            segments,
            lifter,
            self.model,
            self._turn,
            self._informer,
            self._closing,
            self._map.newest_ns,
        )
        self._end = weakref.finalize(
            self, self._opened.close
        )  # also when nobody refers to it, or the interpreter exits
        self._started = True
        self._states.enter(State.READY)

    # ---- frames

    def observe(self, frame: RgbdFrame) -> Decision:
        """One frame of the stream; returns what the selector made of it. For one thread; never waits for a question.

        A frame that repeats an index or goes back in time is left out and counted, and so is one whose pose is
        unknown. Raises BadState, what the tracker raises for a frame it cannot work on, and BudgetExceeded where there
        is no memory for it: the keyframes are as they were then, and the next frame is taken.
        """
        self._states.require("take a frame")
        with self._map.lock:
            taken = self._map.take(frame)
            start_ns = time.thread_time_ns()
            if taken.tracked is None:
                self._states.look(self.reasons)
                return taken.decision
            self._company.frame(taken, self._map)
            self._show_moved(taken.tracked.revision)
            self._inform(self._map.now_s)
            self._hand_on_ns += time.thread_time_ns() - start_ns
        if self._states.now is State.READY:
            self._states.enter(State.RUNNING)
        self._states.look(self.reasons)
        return taken.decision

    def run(self, source: FrameSource, on_frame: Callable[[RgbdFrame, Decision], None] | None = None) -> None:
        """Observe every frame of a source, until it ends or this session is closed; which closes the source too.

        on_frame: called after each frame. Raises what the source raises, and is degraded then; BadState where another
        source runs; BadInput where the source begins before what was seen already.
        """
        self._states.require("run a source")
        if self._source is not None:
            raise BadState("a session that runs a source cannot run another beside it: wait for its end")
        self._source, self._camera_fault = source, ""
        try:
            for frame in source.frames():
                before = self._map.tally.repeated
                try:
                    decision = self.observe(frame)
                except BudgetExceeded as error:  # counted; there may be memory for the next one
                    log.warning("%s", error)
                    continue
                if self._map.tally.repeated > before and self._map.newest_index > frame.index:
                    raise BadInput(
                        f"{source.info.path} begins anew at frame {frame.index}: open another session for it"
                    )
                if on_frame is not None:
                    on_frame(frame, decision)
                del frame
        except Exception as error:
            if self._closing.is_set() and isinstance(error, SceneR1Error):
                return
            self._camera_fault = str(error) or type(error).__name__
            self._states.look(self.reasons)
            raise
        finally:
            self._source_counters = dict(getattr(source, "counters", {}))
            self._source = None
        if not self._closing.is_set():
            self._settled(ended=True)

    def record(self, recorder: Recording) -> None:
        """Hand everything that happens to a recorder that was started; it is closed with the session."""
        self._states.require("record")
        recorder.event("settings", {"toml": config_to_toml(self.config), "model": self.model})
        self._company.recorder = recorder

    def show(self, viewer: Showing) -> None:
        """Show everything that happens in a viewer; it is closed with the session."""
        self._states.require("show")
        self._company.viewer = viewer

    # ---- questions

    def ask(self, question: str, limits: Limits | None = None, task: Task = "find") -> Answer:
        """The answer to a question about what was seen so far, from any thread. Its `live` says how old that is.

        limits, task: as of Grounder.ask; waiting for another question counts. Status `not_ready` before the first
        keyframe. Raises BadState, Busy where a question waits already, BadQuestion, BudgetExceeded where there is no
        memory for it, and what the reasoner raises.
        """
        self._states.require("ask")
        if task not in TASKS:
            raise BadInput(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        asked = check_question(question)
        number = self._count("questions")
        try:
            event = {"id": number, "question": asked, "task": task}
            bounds = limits or self.config.limits.from_now()
            answer = self._questions.answered(asked, bounds, task, lambda: self._settled(event))
        except BaseException as error:
            self._count("busy" if isinstance(error, Busy) else "failed")
            self._company.event("answer", {"id": number, "error": f"{type(error).__name__}: {error}"})
            if isinstance(error, MemoryError):
                raise BudgetExceeded("no memory left to answer with: ask again, or hold fewer keyframes") from error
            raise
        give_back()
        self._count("answered")
        self._company.event("answer", {"id": number, "answer": answer.to_json()})
        self._company.answered(asked, answer)
        hangs = answer.live is not None and answer.live.T_world_anchor is not None
        self._shown = (asked, answer) if hangs and self._company.viewer is not None else None
        return answer

    def moved(self, answer: Answer) -> Answer:
        """An earlier answer with its box and points where they are at the map's present revision.

        Raises BadInput for an answer that hangs on nothing (no session gave it, or it has no box), or whose place the
        tracker holds no longer.
        """
        self._states.require("move an answer")
        live = answer.live
        if live is None or live.T_world_anchor is None:
            raise BadInput("this answer hangs on no place of a map: move only answers of a session that have a box")
        T_world_anchor, revision = self._map.T_world_anchor(live.anchor)
        if T_world_anchor is None:
            raise BadInput("the part of the map that this answer hangs on is no longer held: ask again")
        return moved(answer, live, T_world_anchor, revision)

    def frames(self, answer: Answer) -> list[RgbdFrame]:
        """The frames of an answer's evidence, in its order, as they were when it was given."""
        return [keyframe.frame() for keyframe in (answer.live.keyframes if answer.live is not None else ())]

    # ---- how it is

    @property
    def state(self) -> State:
        if self._states.now not in (State.CREATED, State.CLOSED):
            self._states.look(self.reasons)
        return self._states.now

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the session is degraded, in words for people; empty while it is not."""
        found: list[str] = []
        if not self._started:
            return ()
        if self._map.track_state is TrackState.LOST:
            found.append("the camera's pose is lost")
        status = getattr(self._source, "status", None)
        fault = self._camera_fault or (
            status.reason if status is not None and status.state.value in CAMERA_GONE else ""
        )
        if fault:
            found.append(f"the camera gives nothing: {fault}")
        if self._map.clock_fault:
            found.append(self._map.clock_fault)
        if self._company.recording_fault:
            found.append(f"recording has stopped: {self._company.recording_fault}")
        elif self._company.recording_refuses:
            found.append(f"frames are not recorded: {self._company.recording_refuses}")
        if self._informer.failure is not None:
            found.append(f"the reasoner is told of no new keyframes: {self._informer.failure}")
        return tuple(found)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """Held now, in order of time."""
        return self._map.keyframes if self._started else ()

    @property
    def counters(self) -> Counters:
        if not self._started:
            return Counters()
        selected, source = self._map.selector.counters, self._source
        return Counters(
            **asdict(self._map.tally),
            **self._tally,
            keyframes=len(self._map.keyframes),
            inserted=selected.inserted,
            evicted=selected.evicted,
            waiting=max(0, self._turn.inside - 1),
            reasoner_failures=self._informer.failures,
            recorder_dropped=self._company.recorder_dropped,
            viewer_dropped=self._company.viewer_dropped,
            memory_bytes=self._map.memory.nbytes,
            source=self._source_counters if source is None else dict(getattr(source, "counters", {})),
            cpu_ms={**self._map.cpu_ms(), "hand_on": self._hand_on_ns / 1e6},
        )

    @property
    def at_rest(self) -> bool:
        """Whether the reasoner has seen every keyframe that is due, as far as it has said."""
        return self._informer.at_rest

    def close(self) -> None:
        """End the question that is asked, the source that runs, the recording and the engines; again is fine.

        At most 2 s with a reasoner in a worker; one in this process ends the picture it has in work first."""
        if self._states.now is State.CLOSED:
            return
        self._closing.set()
        with suppress(BadState):  # another thread was sooner
            self._states.enter(State.CLOSED)
        opened = getattr(self, "_opened", None)
        if opened is not None:
            opened.close(self._source)

    def __enter__(self) -> Session:
        if self._states.now is State.CREATED:
            self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _settled(self, asked: dict[str, Any] | None = None, ended: bool = False) -> Snapshot:
        """The map with the newest candidate in it, which everybody is told. asked: the question's event."""
        with self._map.lock:
            if asked is not None:
                self._company.event("question", asked)
            decision, now = self._map.settled()
            self._company.decided(decision)
            self._inform(None if ended else self._map.now_s)
        return now

    def _show_moved(self, revision: int) -> None:
        """The answer that is shown, where it is at that revision of the map; without its box where nothing tells."""
        shown = self._shown
        if shown is None or shown[1].live is None or shown[1].live.revision == revision:
            return
        asked, answer = shown
        try:
            answer = self.moved(answer)
            self._shown = asked, answer
        except BadInput as error:
            answer = replace(answer, box_3d=None, reason=str(error))
            self._shown = None
        self._company.answered(asked, answer)

    def _inform(self, now_s: float | None) -> None:
        self._informer.tell(self._map.keyframes, self._map.start_ns, now_s)

    def _count(self, what: str) -> int:
        with self._tally_lock:
            self._tally[what] += 1
            return self._tally[what]

    def _told(self, state: State, reasons: tuple[str, ...]) -> None:
        log.info("the session is %s%s", state.value, "".join(f": {reason}" for reason in reasons))
        self._company.event("state", {"state": state.value, "reasons": list(reasons)})
