"""A reasoner that hangs or dies in its worker, beneath a session that goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.engines.small_reasoners import Behaviour, open_obedient
from tests.runtime.session_parts import SmallTracker, Walk, eventually, half_turn

from scene_r1.answer import Answer, Status
from scene_r1.config import Config, KeyframesConfig
from scene_r1.session import Session, State
from scene_r1.watching import Replay
from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.segmenter import open_segmenter
from scene_r1_engines.worker import IsolatedReasoner


@pytest.fixture(scope="module")
def walk() -> Walk:
    return half_turn(12)


@contextmanager
def opened() -> Iterator[tuple[Session, IsolatedReasoner]]:
    """A session, and the reasoner in a worker that it asks."""
    workers: list[IsolatedReasoner] = []

    def reasoner(replay: Replay) -> IsolatedReasoner:
        patience = {"grace_s": 0.1, "step_timeout_s": 1.0}  # of a worker that hangs; else minutes, as models may take
        workers.append(IsolatedReasoner("obedient", Behaviour(), replay, opener=open_obedient, **patience))
        return workers[0]

    config = Config(keyframes=KeyframesConfig(4))
    with Session(reasoner, lambda: open_segmenter("depth_cut"), config, tracker=SmallTracker) as session:
        yield session, workers[0]


def asked(session: Session, question: str, seconds: float = 60.0) -> Answer:
    return session.ask(question, Limits(time.monotonic_ns() + int(seconds * 1e9)), task="vqa")


def holds(session: Session, worker: IsolatedReasoner) -> set[int]:
    """The keyframes that the worker's reasoner has when a question is answered again; until a new worker has them, a
    question fails, or says that it is not ready or has run out of time."""

    def answered() -> bool:
        try:
            return asked(session, "what is there?", 5.0).status is Status.OK
        except EngineFailed:
            return False

    eventually(answered, 60.0)
    return {int(index) for index in re.findall(r"(\d+)@", worker.answer("held", Limits()).text)}


def test_an_engine_that_never_returns_ends_with_its_budget_and_the_next_question_is_answered(walk: Walk) -> None:
    with opened() as (session, worker):
        for frame, _ in walk[:6]:
            session.observe(frame)
        assert holds(session, worker)
        first = worker.answer("pid", Limits()).text
        assert asked(session, "sleep 600", 0.5).status is Status.TIMED_OUT
        for frame, _ in walk[6:]:
            session.observe(frame)  # the stream has not noticed
        assert holds(session, worker) == {keyframe.index for keyframe in session.keyframes}
        assert worker.answer("pid", Limits()).text != first  # the one that hung is gone
        assert session.counters.frames == session.counters.mapped == len(walk)
        assert session.state is State.RUNNING


@pytest.mark.parametrize("death", ["abort", "exit 3"])
def test_an_engine_that_dies_at_work_fails_its_question_and_has_its_keyframes_again_for_the_next(
    walk: Walk, death: str
) -> None:
    with opened() as (session, worker):
        for frame, _ in walk[:8]:
            session.observe(frame)
        with pytest.raises(EngineFailed):
            asked(session, death)
        assert session.counters.failed == 1
        for frame, _ in walk[8:]:
            session.observe(frame)
        assert holds(session, worker) == {keyframe.index for keyframe in session.keyframes}
        assert session.state is State.RUNNING
