from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.box_room import SMALL, frame_at, look

from scene_r1.frame import RgbdFrame
from scene_r1.tracking import TRACKERS, PoseTracker, TrackState, open_tracker
from scene_r1_engines.errors import BadConfig, BadState, MissingExtra

HERE = look((0.0, -1.4, 1.4), (-0.3, 1.0, 0.7))


def moved(metres: float = 0.0, degrees: float = 0.0) -> np.ndarray:
    T = HERE.copy()
    T[0, 3] += metres
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    T[:3, :3] = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ T[:3, :3]
    return T


def at(index: int, T: np.ndarray | None, ms: float | None = None) -> RgbdFrame:
    frame = frame_at(index, HERE if T is None else T, SMALL, posed=T is not None)
    return frame if ms is None else replace(frame, timestamp_ns=round(ms * 1e6))


def test_the_pose_of_each_frame_is_handed_on_and_hangs_on_its_anchor() -> None:
    with open_tracker("host") as tracker:
        for i in range(3):
            told = tracker.track(at(i, moved(0.1 * i)))
            assert told.state is TrackState.TRACKING
            assert told.T_world_camera is not None
            assert told.T_anchor_camera is not None
            np.testing.assert_allclose(told.T_world_camera, moved(0.1 * i), atol=1e-12)
            T_world_anchor = tracker.T_world_anchor(told.anchor)
            assert T_world_anchor is not None
            np.testing.assert_allclose(T_world_anchor @ told.T_anchor_camera, moved(0.1 * i), atol=1e-12)
        assert tracker.revision == 0


@pytest.mark.parametrize("jump", [moved(0.6), moved(0.0, 50.0)])
def test_a_jump_begins_a_new_segment_with_a_new_revision(jump: np.ndarray) -> None:
    tracker = open_tracker("host")
    before = tracker.track(at(0, HERE))
    told = tracker.track(at(1, jump))
    assert told.state is TrackState.RELOCALISED
    assert told.revision == tracker.revision == 1
    assert told.anchor != before.anchor
    assert tracker.T_world_anchor(before.anchor) is None
    assert tracker.track(at(2, jump)).state is TrackState.TRACKING


def test_a_long_way_in_a_long_time_is_no_jump_and_a_step_back_in_time_does_not_hide_one() -> None:
    tracker = open_tracker("host")
    tracker.track(at(0, HERE, 0.0))
    assert tracker.track(at(1, moved(0.6), 250.0)).state is TrackState.TRACKING
    assert tracker.track(at(2, moved(1.4), 100.0)).state is TrackState.RELOCALISED


def test_a_frame_without_a_pose_is_lost_and_the_next_with_one_relocalised() -> None:
    tracker = open_tracker("host")
    first = tracker.track(at(0, None))
    assert (first.state, first.T_world_camera, first.T_anchor_camera, first.anchor) == (TrackState.LOST, None, None, -1)
    assert tracker.track(at(1, HERE)).state is TrackState.TRACKING
    assert tracker.track(at(2, None)).state is TrackState.LOST
    back = tracker.track(at(3, moved(0.01)))
    assert (back.state, back.revision) == (TrackState.RELOCALISED, 0)


@pytest.mark.parametrize("name", ["host", "visual"])
def test_a_tracker_closes_twice_and_then_refuses_frames(name: str) -> None:
    tracker = open_tracker(name)
    assert isinstance(tracker, PoseTracker)
    assert tracker.name == name
    tracker.close()
    tracker.close()
    with pytest.raises(BadState, match="closed"):
        tracker.track(at(0, HERE))


def test_an_unknown_tracker_or_setting_is_refused_by_name() -> None:
    with pytest.raises(BadConfig, match=r"known: .*host, visual, cuvslam"):
        open_tracker("orb")
    with pytest.raises(BadConfig, match="speed"):
        open_tracker("host", speed=3)
    assert set(TRACKERS) >= {"host", "visual", "cuvslam"}


def test_without_its_library_the_cuvslam_tracker_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuvslam", None)
    with pytest.raises(MissingExtra, match="cuvslam"):
        open_tracker("cuvslam")


def test_what_is_told_cannot_be_written_to() -> None:
    told = open_tracker("host").track(at(0, HERE))
    assert told.T_world_camera is not None
    with pytest.raises(ValueError, match="read-only"):
        told.T_world_camera[0, 3] = 1.0
