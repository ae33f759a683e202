"""What every PoseTracker promises, asked of each tracker in the table in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from tests.runtime.textured_room import CAMERA, blank, shot, swing

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.tracking import TRACKERS, PoseTracker, Tracked, TrackState, open_tracker
from scene_r1_engines.errors import BadConfig, BadState

STEPS = 8
WALK = swing(3 * STEPS)[:STEPS]
PERIOD_NS = 33_333_333


@pytest.fixture(scope="module")
def walk() -> tuple[RgbdFrame, ...]:
    return tuple(shot(i, T) for i, T in enumerate(WALK))


@pytest.fixture(params=sorted(TRACKERS))
def opener(request: pytest.FixtureRequest) -> Callable[[], PoseTracker]:
    if request.param == "cuvslam" and find_spec("cuvslam") is None:
        pytest.skip("cuvslam is installed by hand, and needs a GPU")
    return lambda: open_tracker(request.param)


@pytest.fixture
def tracker(opener: Callable[[], PoseTracker]) -> Iterator[PoseTracker]:
    with opener() as one:
        yield one


def at(frame: RgbdFrame, index: int) -> RgbdFrame:
    return replace(frame, index=index, timestamp_ns=index * PERIOD_NS)


def unseen(tracker: PoseTracker, index: int) -> RgbdFrame:
    """A frame whose pose this tracker cannot know: a bare wall, and no pose comes with it."""
    return at(blank(0), index) if tracker.name != "host" else replace(at(blank(0), index), T_world_camera=None)


def check(tracker: PoseTracker, told: Tracked) -> Tracked:
    """The form of everything that is told."""
    assert isinstance(told.state, TrackState)
    lost = told.state is TrackState.LOST
    assert (told.T_world_camera is None) == (told.T_anchor_camera is None) == (told.anchor == -1) == lost
    assert told.revision == tracker.revision
    if told.T_world_camera is not None and told.T_anchor_camera is not None:
        for T in (told.T_world_camera, told.T_anchor_camera):
            assert (T.shape, T.dtype, T.flags.writeable) == ((4, 4), np.float64, False)
            np.testing.assert_allclose(pose.rigid(T), T, atol=1e-9)
        T_world_anchor = tracker.T_world_anchor(told.anchor)
        assert T_world_anchor is not None
        np.testing.assert_allclose(T_world_anchor @ told.T_anchor_camera, told.T_world_camera, atol=1e-9)
    return told


def test_it_is_a_pose_tracker_under_its_name_in_the_table(tracker: PoseTracker) -> None:
    assert isinstance(tracker, PoseTracker)
    assert tracker.name in TRACKERS
    assert type(tracker).__name__ == TRACKERS[tracker.name].rpartition(":")[2]
    with tracker as entered:
        assert entered is tracker


def test_an_unknown_name_and_an_unknown_setting_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"known: .*host, visual, cuvslam"):
        open_tracker("orb")
    for name in ("host", "visual"):
        with pytest.raises(BadConfig, match=name):
            open_tracker(name, speed=11)


def test_a_walk_is_followed_step_by_step(tracker: PoseTracker, walk: tuple[RgbdFrame, ...]) -> None:
    told = [check(tracker, tracker.track(frame)) for frame in walk]
    assert all(one.state in (TrackState.TRACKING, TrackState.DEGRADED) for one in told)
    first = told[0].T_world_camera
    assert first is not None
    for one, T_true in zip(told, WALK, strict=True):
        assert one.T_world_camera is not None
        moved = pose.inverse(first) @ one.T_world_camera
        np.testing.assert_allclose(moved[:3, 3], (pose.inverse(WALK[0]) @ T_true)[:3, 3], atol=0.02)
    assert {one.revision for one in told} == {0}


def test_two_trackers_tell_the_same_of_the_same_frames_to_the_bit(
    opener: Callable[[], PoseTracker], walk: tuple[RgbdFrame, ...]
) -> None:
    with opener() as one, opener() as other:
        for frame in (*walk[:4], at(walk[3], 4), at(walk[6], 5)):
            a, b = one.track(frame), other.track(frame)
            assert (a.state, a.anchor, a.revision) == (b.state, b.anchor, b.revision)
            for x, y in ((a.T_world_camera, b.T_world_camera), (a.T_anchor_camera, b.T_anchor_camera)):
                assert (x is None and y is None) or np.array_equal(x, y)


def test_what_cannot_be_placed_is_lost_and_the_known_place_is_found_again(
    tracker: PoseTracker, walk: tuple[RgbdFrame, ...]
) -> None:
    before = [check(tracker, tracker.track(frame)) for frame in walk]
    for index in range(STEPS, STEPS + 3):
        assert check(tracker, tracker.track(unseen(tracker, index))).state is TrackState.LOST
    back = check(tracker, tracker.track(at(walk[-1], STEPS + 3)))
    assert back.state is TrackState.RELOCALISED
    assert back.T_world_camera is not None
    np.testing.assert_allclose(back.T_world_camera[:3, 3], before[-1].T_world_camera[:3, 3], atol=0.02)


def test_a_first_frame_that_cannot_be_placed_is_lost_and_the_walk_begins_with_the_next(
    tracker: PoseTracker, walk: tuple[RgbdFrame, ...]
) -> None:
    assert check(tracker, tracker.track(unseen(tracker, 0))).state is TrackState.LOST
    assert check(tracker, tracker.track(at(walk[0], 1))).state is not TrackState.LOST


@pytest.mark.parametrize("counts", [0, 65535])
def test_a_frame_without_any_depth_is_placed_rightly_or_not_at_all(
    tracker: PoseTracker, walk: tuple[RgbdFrame, ...], counts: int
) -> None:
    first = check(tracker, tracker.track(walk[0]))
    for frame in walk[1:4]:
        tracker.track(frame)
    blind = replace(walk[4], depth_raw=np.full((CAMERA.height, CAMERA.width), counts, np.uint16))
    told = check(tracker, tracker.track(blind))
    assert first.T_world_camera is not None
    if told.T_world_camera is not None:
        moved = pose.inverse(first.T_world_camera) @ told.T_world_camera
        np.testing.assert_allclose(moved[:3, 3], (pose.inverse(WALK[0]) @ WALK[4])[:3, 3], atol=0.02)
    assert check(tracker, tracker.track(walk[5])).state is not TrackState.LOST


def test_frames_of_one_moment_and_of_an_earlier_one_break_nothing(
    tracker: PoseTracker, walk: tuple[RgbdFrame, ...]
) -> None:
    for frame in (walk[0], walk[1], walk[1], replace(walk[2], timestamp_ns=0), walk[3], walk[4]):
        told = check(tracker, tracker.track(frame))
    assert told.state is not TrackState.LOST


def test_it_changes_nothing_of_a_frame_and_keeps_its_own_poses_to_itself(
    tracker: PoseTracker, walk: tuple[RgbdFrame, ...]
) -> None:
    color, depth = walk[0].color.copy(), walk[0].depth_raw.copy()
    told = tracker.track(walk[0])
    assert np.array_equal(walk[0].color, color)
    assert np.array_equal(walk[0].depth_raw, depth)
    theirs = tracker.T_world_anchor(told.anchor)
    assert theirs is not None
    kept = theirs.copy()
    if theirs.flags.writeable:
        theirs[:] = np.nan  # a caller that does this harms only itself
    assert np.array_equal(tracker.T_world_anchor(told.anchor), kept)


def test_an_anchor_that_was_never_given_out_is_not_held(tracker: PoseTracker, walk: tuple[RgbdFrame, ...]) -> None:
    tracker.track(walk[0])
    assert tracker.T_world_anchor(10_000) is None
    assert tracker.T_world_anchor(-1) is None


def test_closing_twice_is_fine_and_tracking_afterwards_is_refused(
    opener: Callable[[], PoseTracker], walk: tuple[RgbdFrame, ...]
) -> None:
    tracker = opener()
    tracker.track(walk[0])
    tracker.close()
    tracker.close()
    with pytest.raises(BadState, match="closed"):
        tracker.track(walk[1])
    assert isinstance(tracker.revision, int)  # can still be asked, as T_world_anchor can
    tracker.T_world_anchor(0)
