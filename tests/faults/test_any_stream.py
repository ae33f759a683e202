"""Depth, poses and times as they may come: what is held is whole, and nothing is made up from what was not seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.block_walk import BLOCK
from tests.runtime.box_room import SMALL, frame_at, look
from tests.runtime.session_parts import Gated, Walk, again, half_turn, session_of

from scene_r1.answer import Status
from scene_r1.box import Box3D, iou
from scene_r1.config import Config, KeyframesConfig
from scene_r1.frame import RgbdFrame
from scene_r1.session import State
from scene_r1.session.scene_map import SceneMap
from scene_r1.tracking import open_tracker

QUESTION = "where is the red block?"
STEPS = 12
AWAY_M = np.array([3.0, -1.0, 0.5])


@pytest.fixture(scope="module")
def walk() -> Walk:
    return half_turn(STEPS)


def pointing(walk: Walk) -> Gated:
    reasoner = Gated(walk * 2)
    reasoner.boxes = lambda index: (walk[index % len(walk)][1],)
    reasoner.go.set()
    return reasoner


def blind(frame: RgbdFrame, counts: int) -> RgbdFrame:
    return replace(frame, depth_raw=np.full_like(frame.depth_raw, counts))


@pytest.mark.parametrize("counts", [0, 65535])
def test_without_any_depth_there_is_no_keyframe_no_box_and_no_warning(
    walk: Walk, counts: int, caplog: pytest.LogCaptureFixture
) -> None:
    with session_of(pointing(walk)) as session, caplog.at_level(logging.WARNING):
        for frame, _ in walk:
            session.observe(blind(frame, counts))
        answer = session.ask(QUESTION)
        assert session.counters.mapped == STEPS
    assert (answer.status, answer.box_3d) == (Status.NOT_READY, None)
    assert "NaN" not in str(answer.to_json())
    assert not caplog.records


@pytest.mark.parametrize("counts", [0, 65535])
def test_depth_that_goes_away_leaves_the_keyframes_and_their_answer(walk: Walk, counts: int) -> None:
    with session_of(pointing(walk), 6, open_tracker("host")) as session:
        for frame, _ in walk:
            session.observe(frame)
        session.ask(QUESTION)  # what waits to become a keyframe does
        before = session.keyframes
        for step, (frame, _) in enumerate(reversed(walk)):
            index = STEPS + step
            session.observe(replace(blind(frame, counts), index=index, timestamp_ns=index * 33_000_000))
        answer = session.ask(QUESTION)
        assert session.keyframes == before
        assert session.state is State.RUNNING
    assert answer.status is Status.OK
    assert iou(answer.box_3d, BLOCK.box) > 0.6


def test_a_jump_of_the_pose_gives_up_what_was_seen_before_it_and_nothing_is_fused_across(walk: Walk) -> None:
    """The host has moved its world: where the old one lies in the new one is not known, so a box of both were wrong."""
    moved = np.eye(4)
    moved[:3, 3] = AWAY_M
    frames = again(walk)
    with session_of(pointing(walk), 6, open_tracker("host")) as session:
        for frame in frames[:STEPS]:
            session.observe(frame)
        early = session.ask(QUESTION)
        held = len(session.keyframes)
        for frame in frames[STEPS:]:
            assert frame.T_world_camera is not None
            session.observe(replace(frame, T_world_camera=moved @ frame.T_world_camera))
        answer, counted = session.ask(QUESTION), session.counters
        assert min(keyframe.index for keyframe in session.keyframes) >= STEPS
        assert (counted.revisions, counted.unanchored) == (1, held)
        with pytest.raises(ValueError, match="no longer held"):
            session.moved(early)  # it cannot be put into the new world
    assert iou(early.box_3d, BLOCK.box) > 0.6
    assert {view.frame for view in answer.evidence} <= set(range(STEPS, 2 * STEPS))
    low, high = np.add(BLOCK.low, AWAY_M), np.add(BLOCK.high, AWAY_M)
    assert iou(answer.box_3d, Box3D.from_corners(low, high)) > 0.6


EYES = ((0.0, -1.4, 1.4), (0.1, -1.4, 1.4), (0.2, -1.3, 1.5), (1.2, -1.4, 1.4), (-1.0, 1.5, 1.3))
"""The first three are a step apart, the others a jump."""
POOL = [frame_at(0, look(eye, (-0.3, 1.0 if eye[1] < 0 else -1.0, 0.7)), SMALL) for eye in EYES]


@dataclass(frozen=True)
class Step:
    place: int
    onward: int
    ms: int
    posed: bool
    depth: str


STEP = st.builds(
    Step,
    st.sampled_from([0, 0, 1, 1, 2, 2, 3, 4]),
    st.sampled_from([1, 1, 1, 1, 2, 0, -1]),
    st.sampled_from([33, 33, 33, 0, 1000, -33, 3_600_000, -3_600_000]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from(["seen", "seen", "seen", "0", "65535"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=14), st.booleans())
def test_whatever_comes_the_map_is_whole_and_every_frame_is_counted_once(steps: list[Step], asking: bool) -> None:
    held = SceneMap(Config(keyframes=KeyframesConfig(3)), open_tracker("host"))
    index, ms = 5, 10_000_000
    for step in steps:
        index, ms = max(0, index + step.onward), max(0, ms + step.ms)
        frame = POOL[step.place] if step.depth == "seen" else blind(POOL[step.place], int(step.depth))
        T = frame.T_world_camera if step.posed else None
        before = held.now_s
        held.take(replace(frame, index=index, timestamp_ns=ms * 1_000_000, T_world_camera=T))
        assert held.now_s >= before
        if asking:
            held.settled()
        tally = held.tally
        assert tally.frames == tally.mapped + tally.lost + tally.skipped + tally.repeated + tally.backward
        indices = [keyframe.index for keyframe in held.keyframes]
        assert indices == sorted(set(indices)) == [keyframe.index for keyframe in held.memory]
        times = [keyframe.timestamp_ns for keyframe in held.keyframes]
        assert times == sorted(times)
    assert tally.frames == len(steps)
    _, now = held.settled()
    for keyframe in now.keyframes:
        at = now.anchored[keyframe.index]
        assert at.anchor == now.revision  # of the world as it is since the last jump, and of no other
        np.testing.assert_allclose(keyframe.T_world_camera, at.T_anchor_camera, atol=1e-9)
        assert keyframe.frame().depth_m.any()
