"""Questions while frames come in: each in its turn, put to the keyframes as they are then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from scene_r1 import pose
from scene_r1.answer import Answer, Live
from scene_r1.ask import Scene, find, in_words
from scene_r1.ask.inquiry import STATUS
from scene_r1.grounder import Task
from scene_r1.lift import Lifter
from scene_r1.session.informer import Informer
from scene_r1.session.scene_map import Snapshot
from scene_r1.session.turn import Turn
from scene_r1.timings import Timings
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, Reasoner
from scene_r1_engines.segmenter import Segmenter

WHY = {
    Finish.NOT_READY: "no keyframe has come yet: ask again in a moment",
    Finish.TIMED_OUT: "the time ran out before this question's turn came: raise the timeout",
    Finish.CANCELLED: "cancelled before this question's turn came",
}


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """What a question is put to. model: as every answer names it. newest_ns: when the newest frame came in, host
    monotonic."""

    reasoner: Reasoner
    segmenter: Segmenter
    lifter: Lifter
    model: str
    turn: Turn
    informer: Informer
    closing: threading.Event
    newest_ns: Callable[[], int | None]

    def answered(self, question: str, limits: Limits, task: Task, settled: Callable[[], Snapshot]) -> Answer:
        """settled: gives the map with the newest candidate in it, when the question's turn has come. Raises Busy,
        and what the reasoner raises."""
        limits = self._cancellable(limits)
        clock = Timings()
        with ExitStack() as held:
            with clock.stage("wait"):
                finish = held.enter_context(self.turn.taken(limits))
            if finish is not None:
                return self._unasked(finish, clock)
            with clock.stage("watch"):
                now = settled()
                if not now.keyframes:
                    return self._aged(self._unasked(Finish.NOT_READY, clock), now)
                finish = held.enter_context(self.informer.still(now.keyframes, limits))
            if finish is not None:
                return self._aged(self._unasked(finish, clock), now)
            scene = Scene(now.keyframes, now.start_ns, self.reasoner, self.segmenter, self.lifter)
            answer = (find if task == "find" else in_words)(question, limits, scene, clock)
        if self.model:
            answer = replace(answer, engine={"reasoner": self.reasoner.name, "model": self.model, **answer.engine})
        return self._aged(answer, now)

    def _cancellable(self, limits: Limits) -> Limits:
        """The same limits, and closing the session cancels."""
        asked, closing = limits.cancelled, self.closing
        return replace(limits, cancelled=lambda: closing.is_set() or asked())

    def _unasked(self, finish: Finish, clock: Timings) -> Answer:
        """The answer of a question that never came to the model."""
        return Answer(STATUS[finish], None, {"reasoner": self.reasoner.name}, clock.ms(), reason=WHY[finish])

    def _aged(self, answer: Answer, now: Snapshot) -> Answer:
        """The answer with how old it is and what it hangs on: the first view that agrees with it, else the first."""
        views = sorted(answer.evidence, key=lambda view: not view.supports)
        agree = {view.frame for view in views if view.supports} or {view.frame for view in views}
        by_index = {keyframe.index: keyframe for keyframe in now.keyframes}
        done_ns, newest_ns = time.monotonic_ns(), self.newest_ns()
        seen_ns = max((by_index[index].received_ns for index in agree), default=None)
        live = Live(
            stale_ms=None if newest_ns is None else (done_ns - newest_ns) / 1e6,
            evidence_age_ms=None if seen_ns is None else (done_ns - seen_ns) / 1e6,
            revision=now.revision,
            keyframes=tuple(by_index[view.frame] for view in answer.evidence),
        )
        if answer.box_3d is not None:
            keyframe = by_index[views[0].frame]
            at = now.anchored[keyframe.index]
            assert keyframe.T_world_camera is not None  # a frame without a pose is no keyframe
            T_world_anchor = keyframe.T_world_camera @ pose.inverse(at.T_anchor_camera)
            live = replace(live, anchor=at.anchor, T_world_anchor=T_world_anchor)
        return replace(answer, live=live)
