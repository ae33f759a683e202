"""Keyframes and answers move with the tracker's map, and nothing keeps a pose that was corrected."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.block_walk import BLOCK
from tests.runtime.session_parts import Gated, SmallTracker, again, half_turn, session_of

from scene_r1 import pose
from scene_r1.answer import Answer, Live, Status
from scene_r1.box import Box3D, iou
from scene_r1.session.moving import moved
from scene_r1_engines.errors import BadFrame, BadInput

UP_30 = pose.from_quaternion((0.5, -0.2, 0.1), (0.0, 0.0, np.sin(np.pi / 12), np.cos(np.pi / 12)))
ASIDE = np.eye(4)
ASIDE[:3, 3] = (0.25, -1.0, 0.125)


@pytest.fixture(scope="module")
def walk():
    return half_turn()


@pytest.fixture
def reasoner(walk) -> Gated:
    reasoner = Gated(walk * 2)
    reasoner.boxes = lambda index: (walk[index % len(walk)][1],)
    reasoner.go.set()
    return reasoner


@pytest.mark.parametrize("correction", [ASIDE, UP_30], ids=["aside", "turned"])
def test_after_a_correction_every_keyframe_hangs_where_its_anchor_is(walk, reasoner, correction) -> None:
    tracker, frames = SmallTracker(), again(walk)
    with session_of(reasoner, 6, tracker) as session:
        for frame in frames[:30]:
            session.observe(frame)
        before = {keyframe.index: keyframe for keyframe in session.keyframes}
        tracker.correct(correction)
        session.observe(frames[30])
        assert session.counters.revisions == 1
        for keyframe in session.keyframes:
            expected = correction @ before[keyframe.index].T_world_camera
            assert np.allclose(keyframe.T_world_camera, expected, atol=1e-9)
            assert keyframe.color is before[keyframe.index].color
        held = len(session.keyframes)
        for frame in frames[31:]:
            session.observe(frame)
        counted = session.counters
        # one frame for each keyframe that the selector was given again, no more
        assert counted.skipped == held
        assert counted.mapped == len(frames) - held
        answer = session.ask("where is the block?")
    assert answer.status is Status.OK
    center = pose.apply(correction, [BLOCK.box.center])[0]
    assert np.linalg.norm(np.subtract(answer.box_3d.center, center)) < 0.05


def test_a_corrected_map_takes_no_keyframe_twice(walk, reasoner) -> None:
    """The walk again, in a world that was moved meanwhile: with voxels left where they were all of it would be new."""
    frames, moving = again(walk), SmallTracker()
    with session_of(reasoner, 6) as still, session_of(Gated(walk * 2), 6, moving) as shifted:
        for frame in frames[:30]:
            still.observe(frame)
            shifted.observe(frame)
        begun = shifted.counters.inserted
        assert begun == still.counters.inserted
        moving.correct(ASIDE)  # by more than a room's voxels, and not by whole ones
        for frame in frames[30:]:
            still.observe(frame)
            shifted.observe(frame)
        assert shifted.counters.inserted - begun <= still.counters.inserted - begun + 1


def test_a_keyframe_whose_anchor_is_gone_is_given_up(walk, reasoner) -> None:
    tracker, frames = SmallTracker(), again(walk)
    with session_of(reasoner, 6, tracker) as session:
        for frame in frames[:30]:
            session.observe(frame)
        tracker.dropped = {0, 1}
        lost = {keyframe.index for keyframe in session.keyframes if keyframe.index < 10}
        assert lost
        tracker.correct(ASIDE)
        session.observe(frames[30])
        assert not lost & {keyframe.index for keyframe in session.keyframes}
        assert session.counters.unanchored == len(lost)
        for frame in frames[31:]:
            session.observe(frame)
        assert session.ask("where is the block?").status is Status.OK
        assert sorted(reasoner.watched) == [keyframe.index for keyframe in session.keyframes]


def test_corrections_in_a_row_end_with_the_last(walk, reasoner) -> None:
    tracker, frames = SmallTracker(), again(walk)
    with session_of(reasoner, 6, tracker) as session:
        for frame in frames:
            if 20 <= frame.index < 26:
                tracker.correct(ASIDE)
            session.observe(frame)
        assert session.counters.revisions == 6
        answer = session.ask("where is the block?")
        assert np.allclose(answer.box_3d.center, np.add(BLOCK.box.center, 6.0 * ASIDE[:3, 3]), atol=0.05)


def test_a_question_amid_a_correction_finds_every_keyframe_in_the_new_map(walk, reasoner) -> None:
    tracker, frames = SmallTracker(), again(walk)
    with session_of(reasoner, 6, tracker) as session:
        for frame in frames[:30]:
            session.observe(frame)
        tracker.correct(ASIDE)
        session.observe(frames[30])  # the selector has been given one of its keyframes so far
        answer = session.ask("where is the block?")
        assert answer.live.revision == 1
        assert np.allclose(answer.box_3d.center, np.add(BLOCK.box.center, ASIDE[:3, 3]), atol=0.05)


def test_an_earlier_answer_is_moved_with_the_map_and_its_own_stays_as_it_was(walk, reasoner) -> None:
    tracker = SmallTracker()
    with session_of(reasoner, 6, tracker) as session:
        for frame, _ in walk:
            session.observe(frame)
        answer = session.ask("where is the block?")
        assert np.allclose(session.moved(answer).box_3d.center, answer.box_3d.center, atol=1e-6)
        tracker.correct(ASIDE)
        session.observe(again(walk)[30])
        later = session.moved(answer)
        assert later.live.revision == 1
        assert np.allclose(later.box_3d.center, np.add(answer.box_3d.center, ASIDE[:3, 3]), atol=1e-4)
        assert np.allclose(later.box_3d.size, answer.box_3d.size, atol=1e-4)
        assert np.allclose(later.xyz, answer.xyz + ASIDE[:3, 3], atol=1e-4)
        assert iou(session.moved(later).box_3d, later.box_3d) > 0.999
        assert answer.live.revision == 0
        tracker.dropped = {answer.live.anchor}
        with pytest.raises(BadInput, match="no longer held"):
            session.moved(answer)


def test_the_answer_that_is_shown_moves_with_the_map_and_loses_its_box_with_its_place(walk, reasoner) -> None:
    shown: list[Answer] = []
    quiet = {name: lambda *_: None for name in ("frame", "keyframes", "close")}
    with session_of(reasoner, 6, tracker := SmallTracker()) as session:
        session.show(SimpleNamespace(dropped=0, answer=lambda _, answer: shown.append(answer), **quiet))
        for frame, _ in walk[:-3]:
            session.observe(frame)
        answer = session.ask("where is the block?")
        tracker.correct(ASIDE)
        session.observe(walk[-3][0])
        assert len(shown) == 2
        assert np.allclose(shown[1].box_3d.center, session.moved(answer).box_3d.center)
        assert not np.allclose(shown[1].box_3d.center, answer.box_3d.center, atol=0.05)
        session.observe(walk[-2][0])
        assert len(shown) == 2  # it is where it was shown
        tracker.dropped = {answer.live.anchor}
        tracker.correct(ASIDE)
        session.observe(walk[-1][0])
        assert (len(shown), shown[2].box_3d) == (3, None)
        assert "no longer held" in shown[2].reason


def test_only_an_answer_that_hangs_on_a_map_is_moved(walk, reasoner) -> None:
    with session_of(reasoner) as session:
        for wordless in (Answer(Status.OK, None, {}, {}), session.ask("where?")):
            with pytest.raises(BadInput, match="hangs on no place"):
                session.moved(wordless)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3.1, 3.1), st.tuples(*[st.floats(-5, 5)] * 3), st.integers(0, 400))
def test_a_moved_box_encloses_its_points_as_closely_as_before(seed, angle, shift, count) -> None:
    rng = np.random.default_rng(seed)
    xyz = (rng.uniform(-1, 1, (count, 3)) * (0.3, 0.2, 0.1) + (1, 2, 3)).astype(np.float32)
    box = Box3D.from_corners((0.7, 1.8, 2.9), (1.3, 2.2, 3.1), 0.01, 2)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    T = pose.from_quaternion(shift, (*(np.sin(angle / 2) * axis), np.cos(angle / 2)))
    answer = Answer(Status.OK, box, {}, {}, xyz=xyz, rgb=np.zeros((count, 3), np.uint8))
    after = moved(answer, Live(1.0, 1.0, 0, 3, np.eye(4)), T, 7)
    assert after.live.revision == 7
    assert np.allclose(after.xyz, pose.apply(T, xyz), atol=1e-4)
    inside = np.all((after.xyz >= after.box_3d.low - 2e-3) & (after.xyz <= after.box_3d.high + 2e-3), axis=1)
    assert inside.all()
    corners = pose.apply(T, box.corners)
    assert np.all(after.box_3d.low >= corners.min(axis=0) - 0.11)
    assert np.all(after.box_3d.high <= corners.max(axis=0) + 0.11)


def test_the_memory_and_the_selector_refuse_what_cannot_be_moved_or_held(walk, reasoner) -> None:
    from scene_r1.keyframes import KeyframeSelector
    from scene_r1.memory import SceneMemory

    memory, selector = SceneMemory(), KeyframeSelector(1)
    memory.put(walk[0][0])
    with pytest.raises(KeyError):
        memory.move(5, np.eye(4))
    with pytest.raises(BadFrame, match=r"frame 0.*rigid"):
        memory.move(0, 2.0 * np.eye(4) - np.diag((0, 0, 0, 1.0)))
    selector.hold(walk[0][0])
    assert selector.keyframes == (0,)
    with pytest.raises(BadFrame, match="cannot be held"):
        selector.hold(walk[1][0])
    selector.clear()
    assert selector.keyframes == ()
    assert selector.coverage == 0.0
