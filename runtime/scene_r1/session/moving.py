"""An answer that was given before the map was corrected, put where its thing is now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.answer import Answer, Live
from scene_r1.box import Box3D


def moved(answer: Answer, live: Live, T_world_anchor: NDArray[np.float64], revision: int) -> Answer:
    """The answer's points and box after its anchor has moved to T_world_anchor, (4, 4).

    A box is aligned with the world's axes, so its corners cannot simply be turned: each face goes to where the same
    share of the object's points lies beyond it as before. Without points its corners are turned and enclosed.
    """
    assert live.T_world_anchor is not None
    T_now_then = T_world_anchor @ pose.inverse(live.T_world_anchor)
    now = replace(live, T_world_anchor=T_world_anchor, revision=revision)
    if answer.box_3d is None:
        return replace(answer, live=now)
    xyz = pose.apply(T_now_then, answer.xyz)
    box = _turned(answer.box_3d, T_now_then) if len(xyz) < 2 else _refitted(answer.box_3d, answer.xyz, xyz, T_now_then)
    return replace(answer, live=now, box_3d=box, xyz=xyz.astype(np.float32))


def _refitted(
    box: Box3D, then: NDArray[np.float32], now: NDArray[np.float64], T_now_then: NDArray[np.float64]
) -> Box3D:
    below = (then < box.low).mean(axis=0)
    upto = (then <= box.high).mean(axis=0)
    low = np.array([np.quantile(now[:, axis], below[axis]) for axis in range(3)])
    high = np.array([np.quantile(now[:, axis], upto[axis]) for axis in range(3)])
    if not np.all(high > low):  # points in a plane of the new axes: nothing to take a share of
        return _turned(box, T_now_then)
    # What a face stood off from its quantile point (a percentile between two points, a margin) it does again.
    off_low = box.low - np.array([np.quantile(then[:, axis], below[axis]) for axis in range(3)])
    off_high = box.high - np.array([np.quantile(then[:, axis], upto[axis]) for axis in range(3)])
    low, high = low + off_low, high + off_high
    return _of(box, low, high) if np.all(high > low) else _turned(box, T_now_then)


def _turned(box: Box3D, T_now_then: NDArray[np.float64]) -> Box3D:
    corners = pose.apply(T_now_then, box.corners)
    return _of(box, corners.min(axis=0), corners.max(axis=0))


def _of(box: Box3D, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box3D:
    enclosed = Box3D.from_corners(low, high, box.spread_m, box.supporting_views)
    return replace(enclosed, frame_id=box.frame_id)
