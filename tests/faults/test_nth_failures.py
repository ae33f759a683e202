"""Whatever fails, at whichever call: one typed error, and what is held afterwards is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.faults.failing import each_call
from tests.runtime.block_walk import BLOCK
from tests.runtime.session_parts import Gated, PacedSource, SmallTracker, Walk, again, half_turn, session_of
from tests.runtime.textured_room import shot, swing

from scene_r1 import memory, pose
from scene_r1.answer import Answer, Status
from scene_r1.box import iou
from scene_r1.config import Config, KeyframesConfig
from scene_r1.keyframes import selector
from scene_r1.lift import Lifter
from scene_r1.memory import SceneMemory
from scene_r1.session import Session, State
from scene_r1.session.scene_map import SceneMap
from scene_r1.tracking import TrackState
from scene_r1.tracking.visual import VisualTracker, tracker
from scene_r1_engines.depth_cut import DepthCut
from scene_r1_engines.errors import BadRecording, BudgetExceeded, EngineFailed, SceneR1Error

ASIDE = pose.from_quaternion((0.25, -1.0, 0.125), (0.0, 0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def walk() -> Walk:
    return half_turn(12)


def no_memory() -> BaseException:
    return MemoryError()


def no_memory_in_opencv() -> BaseException:
    error = cv2.error("Failed to allocate 921600 bytes")
    error.code = cv2.Error.StsNoMem
    return error


ALLOCATIONS: dict[str, tuple[object, str, Callable[[], BaseException]]] = {
    "encoding a keyframe": (memory, "_encoded", no_memory),
    "encoding it in OpenCV": (cv2, "imencode", no_memory_in_opencv),
    "putting it into the memory": (SceneMemory, "put", no_memory),
    "moving it": (SceneMemory, "move", no_memory),
    "observing a frame": (selector.Observer, "__call__", no_memory),
    "judging a frame": (selector.QualityMeter, "__call__", no_memory),
    "a column of voxels": (selector.VoxelTable, "set_column", no_memory),
    "counting voxels": (selector.VoxelTable, "rank", no_memory),
    "a new table of voxels": (selector, "VoxelTable", no_memory),
    "tracking": (SmallTracker, "track", no_memory),
    "the place of an anchor": (SmallTracker, "T_world_anchor", no_memory),
}


def check_whole(held: SceneMap, poses: dict[int, np.ndarray]) -> None:
    """What a question would be put to is of one map, the corrected one, and agrees in all its parts. poses: of the
    frames, before the correction."""
    _, now = held.settled()
    assert [one.index for one in now.keyframes] == [one.index for one in held.memory]
    assert list(held.selector.keyframes) == [one.index for one in held.memory]
    for one in now.keyframes:
        at = now.anchored[one.index]
        np.testing.assert_allclose(one.T_world_camera, ASIDE @ poses[one.index], atol=1e-9)
        T_world_anchor = held.tracker.T_world_anchor(at.anchor)
        np.testing.assert_allclose(T_world_anchor @ at.T_anchor_camera, one.T_world_camera, atol=1e-9)
    assert held.memory.nbytes == sum(one.nbytes for one in held.memory)


@pytest.mark.parametrize("what", ALLOCATIONS)
def test_no_memory_at_the_nth_call_of_a_step_is_a_typed_error_and_the_map_is_never_half_updated(
    walk: Walk, what: str
) -> None:
    frames = again(walk)
    last = [replace(frames[-1], index=1000 + n, timestamp_ns=(1000 + n) * 10**9) for n in range(6)]
    poses = {frame.index: frame.T_world_camera for frame in (*frames, *last)}
    step = 7 if what in ("observing a frame", "judging a frame", "tracking") else 3
    for nth in each_call(*ALLOCATIONS[what], step=step):
        theirs = SmallTracker()
        held = SceneMap(Config(keyframes=KeyframesConfig(4)), theirs)
        refused: list[BudgetExceeded] = []
        with nth:
            for frame in frames:
                if frame.index == len(walk):
                    theirs.correct(ASIDE)
                try:
                    held.take(frame)
                except BudgetExceeded as error:
                    refused.append(error)
                    # a question that is asked just now finds the old map or the new one
                    assert [one.index for one in held.settled()[1].keyframes] == [one.index for one in held.keyframes]
        assert len(refused) == nth.happened, what
        assert all(str(error).startswith("frame ") for error in refused)
        assert all(isinstance(error.__cause__, MemoryError | cv2.error) for error in refused)
        for frame in last:  # as many as it takes to build the selector anew
            held.take(frame)
        check_whole(held, poses)
        assert held.settled()[1].revision == 1
        assert len(held.memory) >= 3


def test_no_memory_while_a_candidate_is_settled_fails_the_question_alone(walk: Walk) -> None:
    """A frame of the walk that is not in yet goes in when a question is asked."""
    held = SceneMap(Config(keyframes=KeyframesConfig(2)), SmallTracker())
    waiting = None
    for frame, _ in walk:
        held.take(frame)
        if held.selector.if_settled != held.selector.keyframes:
            waiting = held.selector.if_settled
            break
    assert waiting is not None, "the walk leaves no candidate"
    before = held.keyframes
    for nth in each_call(memory, "_encoded", no_memory):
        if nth.n > 1:
            break
        with nth, pytest.raises(BudgetExceeded, match="the newest keyframe"):
            held.settled()
    assert held.settled()[1].keyframes == before
    for frame, _ in walk[-4:]:
        held.take(replace(frame, index=frame.index + 100, timestamp_ns=frame.timestamp_ns + 10**10))
    assert list(held.selector.keyframes) == [one.index for one in held.memory]


def asked(session: Session) -> Answer | SceneR1Error:
    """The answer, or what was raised in its place."""
    try:
        return session.ask("where is the red block?")
    except SceneR1Error as error:
        return error


@pytest.mark.parametrize(("owner", "name"), [(DepthCut, "track"), (Lifter, "__call__"), (memory.Keyframe, "frame")])
def test_no_memory_for_an_answer_is_a_typed_error_and_the_next_question_is_answered(
    walk: Walk, owner: type, name: str
) -> None:
    reasoner = Gated(walk)
    reasoner.go.set()
    with session_of(reasoner, 4) as session:
        for frame, _ in walk:
            session.observe(frame)
        for nth in each_call(owner, name, no_memory, step=4):
            with nth:
                found = asked(session)
            assert isinstance(found, BudgetExceeded) == nth.happened, found
            assert not nth.happened or isinstance(found.__cause__, MemoryError)
            if nth.n > 4:
                break
        assert iou(session.ask("where is the red block?").box_3d, BLOCK.box) > 0.6
        assert session.counters.failed >= 1


def test_an_engine_that_fails_at_its_nth_call_costs_at_most_that_question(walk: Walk) -> None:
    reasoner, frames = Gated(walk * 40), again(walk, 40)
    reasoner.boxes = lambda index: (walk[index % len(walk)][1],)
    reasoner.go.set()
    failed = 0
    with session_of(reasoner, 2) as session:
        stream = iter(frames)
        for nth in each_call(reasoner, "_check", lambda: EngineFailed("at that very call")):
            with nth:
                for _ in range(3):
                    session.observe(next(stream))
                found = asked(session)
            if isinstance(found, EngineFailed):
                assert "at that very call" in str(found)
                failed += 1
            answer = session.ask("where is the red block?")
            assert answer.status is Status.OK
            assert sorted(reasoner.watched) == [one.index for one in session.keyframes]
            if nth.n >= 12:
                break
        assert failed >= 1
        assert session.state is State.RUNNING


def test_a_source_that_breaks_at_its_nth_frame_leaves_those_before_it_and_the_next_source_goes_on(walk: Walk) -> None:
    reasoner, frames = Gated(walk * 3), again(walk, 3)
    reasoner.go.set()

    class Breaking(PacedSource):
        def frames(self):
            for item in super().frames():
                yield self.handed(item)

        def handed(self, item):
            return item

    with session_of(reasoner, 4) as session:
        done = 0
        for nth in each_call(Breaking, "handed", lambda: BadRecording("walk.db3", "is cut off")):
            with nth:
                rest = frames[done : done + 4]
                if nth.n <= 4:
                    with pytest.raises(BadRecording, match="cut off"):
                        session.run(Breaking(rest))
                    assert session.state is State.DEGRADED
                    assert "cut off" in session.reasons[0]
                else:
                    session.run(Breaking(rest))
                    assert session.state is State.RUNNING
            done += min(nth.n - 1, 4)
            assert session.counters.frames == session.counters.mapped == done
        assert session.ask("what?", task="vqa").status is Status.OK


STAGES = ("picture_of", "fix", "adjust", "make_keyframe", "LocalView", "flow")
STEPS = swing(24)[:9]


@pytest.fixture(scope="module")
def room() -> list:
    return [shot(i, T) for i, T in enumerate(STEPS)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_tracker_whose_nth_call_of_a_stage_fails_says_a_right_pose_or_none_ever_after(room: list, stage: str) -> None:
    for nth in each_call(tracker, stage, no_memory, step=3 if stage in ("fix", "picture_of", "flow") else 1):
        with VisualTracker() as theirs:
            placed, first = 0, None
            with nth:
                for frame, T_true in zip(room, STEPS, strict=True):
                    try:
                        told = theirs.track(frame)
                    except MemoryError:
                        continue
                    if told.T_world_camera is None:
                        continue
                    first = pose.inverse(T_true @ pose.inverse(told.T_world_camera)) if first is None else first
                    np.testing.assert_allclose(told.T_world_camera[:3, 3], (first @ T_true)[:3, 3], atol=0.02)
                    placed += 1
            assert placed >= len(room) - 3
            told = theirs.track(replace(room[-1], index=100, timestamp_ns=room[-1].timestamp_ns + 33_333_333))
            assert told.state is not TrackState.LOST
