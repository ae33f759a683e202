"""Who names no tracker gets the poses of the frames where there are any, and the built-in tracker where not."""

from __future__ import annotations

import numpy as np
import pytest
from tests.runtime.box_room import SMALL, frame_at, look

from scene_r1.config import Config
from scene_r1.tracking import TrackState, open_tracker
from scene_r1_engines.errors import BadState

HERE = look((0.0, -1.4, 1.4), (-0.3, 1.0, 0.7))


@pytest.mark.parametrize(("posed", "name"), [(True, "host"), (False, "visual")])
def test_the_first_frame_decides(posed: bool, name: str) -> None:
    with open_tracker("auto") as tracker:
        assert tracker.name == "auto"
        assert tracker.T_world_anchor(0) is None
        with open_tracker(name) as alone:
            frame = frame_at(0, HERE, SMALL, posed=posed)
            told, expected = tracker.track(frame), alone.track(frame)
        assert tracker.name == name
        assert told.state is expected.state
        assert told.anchor == expected.anchor
        assert tracker.revision == told.revision
        if expected.T_world_camera is not None:
            assert told.T_world_camera is not None
            np.testing.assert_allclose(told.T_world_camera, expected.T_world_camera, atol=1e-9)


def test_a_pose_that_is_missing_later_is_lost_and_not_replaced() -> None:
    with open_tracker("auto") as tracker:
        tracker.track(frame_at(0, HERE, SMALL))
        assert tracker.track(frame_at(1, HERE, SMALL, posed=False)).state is TrackState.LOST


def test_it_is_what_a_configuration_takes_and_is_closed_for_good() -> None:
    tracker = open_tracker(Config().live.tracker)
    assert tracker.name == "auto"
    tracker.close()
    tracker.close()
    with pytest.raises(BadState, match="closed"):
        tracker.track(frame_at(0, HERE, SMALL))
