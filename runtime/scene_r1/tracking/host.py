"""The pose that comes with each frame: from ARKit, OpenXR, ROS, a recording, or whoever pushes frames."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.tracking.tracker import Tracked, TrackState, lost
from scene_r1_engines.errors import BadState

JUMP_M: Final = 0.5
JUMP_DEG: Final = 45.0
JUMP_WITHIN_S: Final = 0.2


class HostTracker:
    """Hands on the pose of each frame, which the frame has checked already (rigid, finite).

    A frame without a pose is LOST. Two poses more than 0.5 m or 45 degrees apart, less than 0.2 s after one another or
    backwards in time, are a jump: no hand moves like that, so the host has recentred its world or relocalised. Nothing
    tells how the old world lies in the new one: the frame is RELOCALISED, and hangs on the anchor of a new segment;
    where the anchors before it are is no longer known. A pose that comes back after LOST is RELOCALISED too,
    in the same segment unless it jumped.

    An anchor is a segment's number, and its pose the identity.
    """

    name = "host"

    def __init__(self) -> None:
        self._last: tuple[int, NDArray[np.float64]] | None = None
        self._was_lost = False
        self._segment = 0
        self._closed = False

    @property
    def revision(self) -> int:
        """How many jumps there were."""
        return self._segment

    def track(self, frame: RgbdFrame) -> Tracked:
        """The frame's own pose. Raises BadState after `close`."""
        if self._closed:
            raise BadState("this tracker was closed: open another one")
        T = frame.T_world_camera
        if T is None:
            self._was_lost = self._last is not None
            return lost(self._segment)
        state = TrackState.RELOCALISED if self._was_lost else TrackState.TRACKING
        if self._last is not None and _jumped(*self._last, frame.timestamp_ns, T):
            self._segment += 1
            state = TrackState.RELOCALISED
        self._last, self._was_lost = (frame.timestamp_ns, T), False
        return Tracked(state, T, self._segment, T, self._segment)

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        """The identity for the present segment; None for those before the last jump."""
        return np.eye(4) if anchor == self._segment else None

    def close(self) -> None:
        """Nothing is held; tracking afterwards is refused."""
        self._closed = True

    def __enter__(self) -> HostTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _jumped(before_ns: int, T_before: NDArray[np.float64], now_ns: int, T_now: NDArray[np.float64]) -> bool:
    if (now_ns - before_ns) * 1e-9 >= JUMP_WITHIN_S:
        return False
    metres = float(np.linalg.norm(T_now[:3, 3] - T_before[:3, 3]))
    return metres > JUMP_M or pose.angle_deg(T_before, T_now) > JUMP_DEG
