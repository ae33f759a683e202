from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.textured_room import CAMERA, blank, shot, swing

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.tracking import Tracked, TrackState, open_tracker
from scene_r1.tracking.visual import VisualSettings, VisualTracker
from scene_r1.tracking.visual.rehearsal import rehearse
from scene_r1_engines.errors import BadConfig

WALK = swing(24)


def error_m(told: Tracked, T_true: np.ndarray, T_first: np.ndarray) -> float:
    """How far a pose is off, in the world of the first frame."""
    assert told.T_world_camera is not None
    return float(np.linalg.norm((T_first @ told.T_world_camera)[:3, 3] - T_true[:3, 3]))


@pytest.fixture(scope="module")
def walk() -> list[RgbdFrame]:
    return [shot(i, T) for i, T in enumerate(WALK)]


def renumbered(frame: RgbdFrame, index: int) -> RgbdFrame:
    return replace(frame, index=index, timestamp_ns=index * 33_333_333)


@pytest.mark.parametrize("two_cameras", [False, True])
def test_a_walk_is_followed_to_a_centimetre_whether_depth_has_its_own_camera_or_not(
    walk: list[RgbdFrame], two_cameras: bool
) -> None:
    with open_tracker("visual") as tracker:
        frames = walk if not two_cameras else [shot(i, T, two_cameras=True) for i, T in enumerate(WALK[:12])]
        for i, frame in enumerate(frames):
            told = tracker.track(frame)
            assert told.state is TrackState.TRACKING
            assert error_m(told, WALK[i], WALK[0]) < 0.012
            T_world_anchor = tracker.T_world_anchor(told.anchor)
            assert T_world_anchor is not None
            assert told.T_anchor_camera is not None
            np.testing.assert_allclose(T_world_anchor @ told.T_anchor_camera, told.T_world_camera, atol=1e-9)
        assert told.T_world_camera is not None
        assert pose.angle_deg(WALK[0] @ told.T_world_camera, WALK[i]) < 0.4


def test_the_pose_that_a_frame_brings_is_not_looked_at(walk: list[RgbdFrame]) -> None:
    one, other = VisualTracker(), VisualTracker()
    for frame in walk[:6]:
        told, unposed = one.track(frame), other.track(replace(frame, T_world_camera=None))
        np.testing.assert_array_equal(told.T_world_camera, unposed.T_world_camera)


def test_blank_walls_another_room_and_no_depth_are_lost_and_a_known_place_is_found_again(walk: list[RgbdFrame]) -> None:
    tracker = VisualTracker()
    for frame in walk:
        tracker.track(frame)
    index = len(walk)
    strange = [shot(0, T, texture=0.37) for T in WALK[:3]]
    dark = [replace(walk[20], color=np.zeros_like(walk[20].color))]
    depthless = [replace(walk[20], depth_raw=np.zeros_like(walk[20].depth_raw))]
    for frame in [*(blank(0) for _ in range(4)), *strange, *dark, *depthless]:
        told = tracker.track(renumbered(frame, index))
        index += 1
        assert told.state is TrackState.LOST
        assert told.T_world_camera is None
        assert told.anchor == -1
    told = tracker.track(renumbered(walk[8], index))
    assert told.state is TrackState.RELOCALISED
    assert error_m(told, WALK[8], WALK[0]) < 0.02
    told = tracker.track(renumbered(walk[9], index + 1))
    assert told.state is TrackState.TRACKING
    assert error_m(told, WALK[9], WALK[0]) < 0.02
    assert tracker.revision == 0  # the map is as it was


def test_a_cut_to_another_known_place_is_relocalised_at_once_and_never_followed(walk: list[RgbdFrame]) -> None:
    tracker = VisualTracker()
    for frame in walk:
        tracker.track(frame)
    told = tracker.track(renumbered(walk[2], len(walk)))
    assert told.state in (TrackState.RELOCALISED, TrackState.LOST)
    assert told.T_world_camera is None or error_m(told, WALK[2], WALK[0]) < 0.02


def test_a_camera_that_sees_nothing_at_first_begins_when_it_sees_something(walk: list[RgbdFrame]) -> None:
    tracker = VisualTracker()
    assert tracker.track(blank(0)).state is TrackState.LOST
    told = tracker.track(renumbered(walk[0], 1))
    assert told.state is TrackState.TRACKING
    np.testing.assert_array_equal(told.T_world_camera, np.eye(4))


def test_a_new_part_of_the_map_is_begun_only_where_that_is_asked_for(walk: list[RgbdFrame]) -> None:
    strange = [shot(30 + i, T, texture=0.37) for i, T in enumerate(swing(12)[:4])]
    for after, wanted in ((None, TrackState.LOST), (0.05, TrackState.RELOCALISED)):
        tracker = VisualTracker(VisualSettings(new_map_after_s=after))
        for frame in walk[:6]:
            before = tracker.track(frame)
        states = [tracker.track(renumbered(frame, 6 + i)).state for i, frame in enumerate(strange)]
        assert states[0] is TrackState.LOST
        assert wanted in states
        assert (tracker.revision > 0) == (after is not None)
        assert tracker.T_world_anchor(before.anchor) is not None


def test_the_map_is_bounded_and_what_hung_on_a_keyframe_that_went_is_still_answered_for() -> None:
    tracker = VisualTracker(VisualSettings(keyframes=5, window=3, apart_deg=4.0, apart_m=0.03))
    poses = swing(20, 45.0, 0.5)
    told = [tracker.track(shot(i, T)) for i, T in enumerate(poses)]
    assert len(tracker._map) == 5
    assert tracker._map.dropped > 0
    for one, T in zip(told, poses, strict=True):
        T_world_anchor = tracker.T_world_anchor(one.anchor)
        assert T_world_anchor is not None
        assert one.T_anchor_camera is not None
        assert np.linalg.norm((poses[0] @ T_world_anchor @ one.T_anchor_camera)[:3, 3] - T[:3, 3]) < 0.03
    assert tracker.T_world_anchor(10_000) is None


def test_a_rehearsal_takes_a_tracker_through_keyframes_and_links() -> None:
    tracker = rehearse()
    assert len(tracker._map) >= 3
    assert tracker._links


def test_the_same_frames_give_the_same_poses_to_the_bit(walk: list[RgbdFrame]) -> None:
    one, other = VisualTracker(), VisualTracker()
    for frame in walk[:12]:
        np.testing.assert_array_equal(one.track(frame).T_world_camera, other.track(frame).T_world_camera)


def test_time_that_stands_still_or_goes_back_does_not_break_the_tracker(walk: list[RgbdFrame]) -> None:
    tracker = VisualTracker()
    for i, frame in enumerate(walk[:8]):
        told = tracker.track(replace(frame, timestamp_ns=(0, 33, 33, 5, 3_600_000, 10, 43, 76)[i] * 1_000_000))
        assert told.T_world_camera is None or error_m(told, WALK[i], WALK[0]) < 0.012
    assert told.state is TrackState.TRACKING


def test_a_camera_of_another_size_in_the_middle_gives_right_poses_or_none(walk: list[RgbdFrame]) -> None:
    tracker = VisualTracker()
    for frame in walk[:6]:
        tracker.track(frame)
    half = CAMERA.scaled(240, 180)
    for i in range(6, 10):
        told = tracker.track(shot(i, WALK[i], camera=half))
        assert told.T_world_camera is None or error_m(told, WALK[i], WALK[0]) < 0.03


@pytest.mark.parametrize(
    "wrong",
    [{"window": 1}, {"keyframes": 11}, {"share": 1.5}, {"near_m": 7.0}, {"plane_weight": float("nan")}, {"enough": 3}],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        VisualSettings(**wrong)  # type: ignore[arg-type]
