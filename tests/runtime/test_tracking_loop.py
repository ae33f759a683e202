from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.runtime.textured_room import round_trip, shot

from scene_r1.tracking import Tracked
from scene_r1.tracking.visual import VisualTracker


def error_m(told: Tracked, T_true: np.ndarray, T_first: np.ndarray) -> float:
    """How far a pose is off, in the world of the first frame."""
    assert told.T_world_camera is not None
    return float(np.linalg.norm((T_first @ told.T_world_camera)[:3, 3] - T_true[:3, 3]))


def test_a_map_bent_by_drift_is_put_right_where_its_loop_closes() -> None:
    poses = round_trip(84)[:72]
    tracker = VisualTracker()
    halfway, drift = 48, np.eye(4)
    drift[:3, 3] = (0.12, -0.05, 0.08)
    kept: list[tuple[int, np.ndarray, np.ndarray]] = []
    revisions, as_told = [], []
    for i, T in enumerate(poses):
        told = tracker.track(shot(i, T))
        assert told.T_anchor_camera is not None
        kept.append((told.anchor, told.T_anchor_camera, T))
        as_told.append(error_m(told, T, poses[0]))
        revisions.append(told.revision)
        if i == halfway:
            _bend(tracker, drift)
    assert revisions[halfway] == 0
    assert tracker.revision == revisions[-1] >= 1
    closed = revisions.index(1)
    assert max(as_told[halfway + 1 : closed]) > 0.07
    assert as_told[-1] < 0.01
    # What hung on keyframes of the bent part has moved with them, and nearer to the truth.
    for i in range(halfway + 1, closed):
        anchor, T_anchor_camera, T = kept[i]
        T_world_anchor = tracker.T_world_anchor(anchor)
        assert T_world_anchor is not None
        now = np.linalg.norm((poses[0] @ T_world_anchor @ T_anchor_camera)[:3, 3] - T[:3, 3])
        assert now < 0.75 * as_told[i]


def _bend(tracker: VisualTracker, drift: np.ndarray) -> None:
    """As if the camera had drifted: newer keyframes and what it sees now are moved, each by a little more."""
    held = list(tracker._map)
    for place, one in enumerate(held):
        part = np.eye(4)
        part[:3, 3] = drift[:3, 3] * place / (len(held) - 1)
        one.T_world_camera = part @ one.T_world_camera
    assert tracker._before is not None
    picture, fix = tracker._before
    tracker._before = (picture, replace(fix, T_world_camera=drift @ fix.T_world_camera))
    tracker._view = type(tracker._local())(tracker._local().keyframes)
