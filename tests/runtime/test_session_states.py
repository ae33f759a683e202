"""The states of a session: which may follow which, what each allows, and why it is degraded."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import cv2
import pytest
from tests.runtime.session_parts import (
    Gated,
    PacedSource,
    SmallTracker,
    eventually,
    half_turn,
    in_thread,
    session_of,
)

import scene_r1
from scene_r1.answer import Status
from scene_r1.config import Config, LiveConfig
from scene_r1.session import Session, State
from scene_r1.session.counters import Counters
from scene_r1.session.state import FOLLOWS, OPEN, States
from scene_r1_engines.errors import BadConfig, BadInput, BadState, CameraLost, EngineFailed
from scene_r1_engines.segmenter import open_segmenter


@pytest.fixture(scope="module")
def walk():
    return half_turn()


def states_in(state: State) -> States:
    """Led there by legal steps."""
    way = {
        State.CREATED: (),
        State.READY: (State.READY,),
        State.RUNNING: (State.READY, State.RUNNING),
        State.DEGRADED: (State.READY, State.RUNNING, State.DEGRADED),
        State.CLOSED: (State.CLOSED,),
    }[state]
    states = States()
    for one in way:
        states.enter(one)
    return states


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_a_state_is_followed_by_those_of_the_table_and_the_refusal_of_any_other_names_both(before, after) -> None:
    states = states_in(before)
    if after in FOLLOWS[before]:
        states.enter(after)
        assert states.now is after
    else:
        with pytest.raises(BadState, match=f"{before.value}.*{after.value}"):
            states.enter(after)
        assert states.now is before


@pytest.mark.parametrize("state", State)
def test_only_an_open_session_takes_frames_and_questions(state: State) -> None:
    states = states_in(state)
    if state in OPEN:
        states.require("ask")
    else:
        with pytest.raises(BadState, match=f"{state.value} cannot ask"):
            states.require("ask")


def test_looking_at_it_changes_between_running_and_degraded_and_nothing_else() -> None:
    told = []
    states = States(lambda state, reasons: told.append((state.value, reasons)))
    states.look(("lost",))
    assert states.now is State.CREATED
    states.enter(State.READY)
    states.look(())
    assert states.now is State.READY
    states.look(("lost",))
    states.look(("lost",))
    states.look(())
    states.look(())
    states.enter(State.CLOSED)
    states.look(("lost",))
    assert states.now is State.CLOSED
    assert told == [("ready", ()), ("degraded", ("lost",)), ("running", ()), ("closed", ())]


def test_a_session_goes_from_created_to_closed_and_each_misuse_is_a_bad_state(walk) -> None:
    reasoner = Gated(walk)
    session = Session(lambda replay: reasoner, lambda: open_segmenter("depth_cut"), tracker=SmallTracker)
    assert session.state is State.CREATED
    assert (session.keyframes, session.reasons, session.counters) == ((), (), Counters())
    misuses = (
        lambda: session.observe(walk[0][0]),
        lambda: session.ask("where?"),
        lambda: session.run(PacedSource([])),
        lambda: session.record(SimpleNamespace()),
        lambda: session.show(SimpleNamespace()),
    )
    for misuse in misuses:
        with pytest.raises(BadState, match="created cannot"):
            misuse()
    with session:
        assert session.state is State.READY
        with pytest.raises(BadState, match="ready cannot become ready"):
            session.start()
        session.observe(walk[0][0])
        assert session.state is State.RUNNING
    assert session.state is State.CLOSED
    for misuse in (*misuses, session.start):
        with pytest.raises(BadState, match="closed cannot"):
            misuse()
    session.close()
    assert reasoner.closed == 1


def test_an_engine_that_does_not_open_leaves_the_session_and_the_others_closed(walk) -> None:
    reasoner = Gated(walk)

    def refuse():
        raise BadConfig("no such tracker here")

    session = Session(lambda replay: reasoner, lambda: open_segmenter("depth_cut"), tracker=refuse)
    with pytest.raises(BadConfig, match="no such tracker"):
        session.start()
    assert session.state is State.CLOSED
    assert reasoner.closed == 1


def test_a_question_before_the_first_keyframe_is_not_ready(walk) -> None:
    with session_of(Gated(walk)) as session:
        answer = session.ask("where is the block?")
        assert answer.status is Status.NOT_READY
        assert answer.live.stale_ms is None
        assert session.state is State.READY


def test_a_lost_pose_degrades_the_session_and_questions_are_still_answered(walk) -> None:
    tracker = SmallTracker()
    tracker.lost_at = set(range(10, 20))
    reasoner = Gated(walk)
    reasoner.go.set()
    with session_of(reasoner, tracker=tracker) as session:
        for frame, _ in walk[:12]:
            session.observe(frame)
        assert session.state is State.DEGRADED
        assert session.reasons == ("the camera's pose is lost",)
        assert session.ask("where is the block?").status is Status.OK
        for frame, _ in walk[12:]:
            session.observe(frame)
        assert session.state is State.RUNNING
        assert session.counters.lost == 10
        assert not tracker.lost_at & {keyframe.index for keyframe in session.keyframes}


def test_a_first_frame_without_a_pose_degrades_a_session_that_never_ran(walk) -> None:
    tracker = SmallTracker()
    tracker.lost_at = {0}
    with session_of(Gated(walk), tracker=tracker) as session:
        session.observe(walk[0][0])
        assert session.state is State.DEGRADED
        assert not session.keyframes


def test_a_camera_that_is_gone_degrades_the_session_until_it_is_back(walk) -> None:
    source = PacedSource([frame for frame, _ in walk], endless=True)
    with session_of(Gated(walk)) as session:
        thread, _ = in_thread(lambda: session.run(source))
        eventually(lambda: session.counters.frames == len(walk))
        assert session.state is State.RUNNING
        source.gone("unplugged")
        assert session.state is State.DEGRADED
        assert session.reasons == ("the camera gives nothing: unplugged",)
        source.gone("")
        assert session.state is State.RUNNING
        source.fault = CameraLost("for good")
        thread.join(10.0)
        assert session.state is State.DEGRADED
        assert session.reasons == ("the camera gives nothing: for good",)


def test_a_recorder_that_has_failed_degrades_the_session_and_the_stream_goes_on(walk) -> None:
    recorder = SimpleNamespace(
        failed=None, refuses="", dropped=3, frame=lambda *_: None, event=lambda *_: None, close=lambda: None
    )
    with session_of(Gated(walk)) as session:
        session.record(recorder)
        for frame, _ in walk[:5]:
            session.observe(frame)
        assert session.state is State.RUNNING
        recorder.failed = "the disk is full"
        session.observe(walk[5][0])
        assert session.state is State.DEGRADED
        assert session.reasons == ("recording has stopped: the disk is full",)
        assert session.counters.recorder_dropped == 3


def test_what_ends_the_thread_that_tells_the_reasoner_is_said_by_the_state_and_the_next_question(walk) -> None:
    class Odd(Gated):
        def settle(self, now_s=None, deadline_ns=None):
            raise RuntimeError("no error of ours")

    with session_of(Odd(walk)) as session:
        session.observe(walk[0][0])
        eventually(lambda: session.reasons)
        assert "no error of ours" in session.reasons[0]
        with pytest.raises(EngineFailed) as caught:
            session.ask("where is the block?")
        assert isinstance(caught.value.__cause__, RuntimeError)
        session.observe(walk[1][0])


def test_an_unknown_tracker_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadConfig, match="did you mean visual"):
        LiveConfig("visuel")
    with pytest.raises(BadInput):
        Session.open(Config(live=LiveConfig("host")), model="no/such/folder")


def test_the_package_offers_the_session_and_imports_it_on_use_alone() -> None:
    assert scene_r1.Session is Session
    with pytest.raises(AttributeError, match="Sesion"):
        _ = scene_r1.Sesion
    code = "import sys, scene_r1; assert 'numpy' not in sys.modules; scene_r1.Session; assert 'numba' in sys.modules"
    paths = ":".join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": paths, "HOME": "/nonexistent"}, check=True)


def test_a_frame_that_there_is_no_memory_for_does_not_end_the_stream(walk, monkeypatch) -> None:
    reasoner, tracker = Gated(walk), SmallTracker()
    frames, track = [one[0] for one in walk], tracker.track

    def starving(frame):
        if frame.index == frames[2].index:
            raise MemoryError
        return track(frame)

    monkeypatch.setattr(tracker, "track", starving)
    with session_of(reasoner, tracker=tracker) as session:
        session.run(PacedSource(frames[:6]))
        counted = session.counters
        assert (counted.frames, counted.starved, counted.mapped) == (6, 1, 5)
        assert session.state is State.RUNNING


def test_opencv_has_as_many_threads_as_the_settings_give_it_and_zero_leaves_them(walk) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        for given, then in ((0, 3), (2, 2)):
            with session_of(Gated(walk), opencv_threads=given):
                assert cv2.getNumThreads() == then
    finally:
        cv2.setNumThreads(before)
    for wrong in (-1, 257, True, 1.0):
        with pytest.raises(BadConfig, match="opencv_threads"):
            LiveConfig(opencv_threads=wrong)  # type: ignore[arg-type]
