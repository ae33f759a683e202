"""Poses with times of their own, and the pose in between."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1_engines.errors import BadFrame


class Trajectory:
    """A recorded path of the camera, to be asked for any time.

    rows: (time in ns, (tx, ty, tz, qx, qy, qz, qw)), metres and a unit quaternion, camera to world. A row with NaN or
    infinity is a lost pose and is left out; of rows with one time the first counts. within_ns: how far the nearest
    pose may be. between_ns: how far apart two poses may be to be interpolated between.

    Raises BadFrame for a quaternion that is not of length 1, naming its time.
    """

    def __init__(
        self, rows: Sequence[tuple[int, tuple[float, ...]]], within_ns: int = 20_000_000, between_ns: int = 100_000_000
    ) -> None:
        self._within_ns = within_ns
        self._between_ns = between_ns
        kept: dict[int, tuple[float, ...]] = {}
        for time_ns, row in rows:
            if np.all(np.isfinite(row)):
                kept.setdefault(time_ns, row)
        self._times_ns = sorted(kept)
        self._rows = np.array([kept[t] for t in self._times_ns], dtype=np.float64).reshape(-1, 7)
        with np.errstate(over="ignore"):  # an absurd quaternion has infinite length, which is not 1 either
            off = np.abs(np.linalg.norm(self._rows[:, 3:], axis=1) - 1.0)
        if np.any(off > 0.01):
            i = int(np.argmax(off > 0.01))
            raise BadFrame(f"the quaternion at {self._times_ns[i] / 1e9:.6f} s is not of length 1")

    def __len__(self) -> int:
        return len(self._times_ns)

    def at(self, time_ns: int) -> NDArray[np.float64] | None:
        """(4, 4) float64 T_world_camera at that time, or None where no pose is near enough."""
        times = self._times_ns
        after = bisect.bisect_left(times, time_ns)
        if after < len(times) and times[after] == time_ns:
            return self._pose(self._rows[after])
        if 0 < after < len(times) and times[after] - times[after - 1] <= self._between_ns:
            share = (time_ns - times[after - 1]) / (times[after] - times[after - 1])
            return self._pose(_between(self._rows[after - 1], self._rows[after], share))
        near = [i for i in (after - 1, after) if 0 <= i < len(times) and abs(times[i] - time_ns) <= self._within_ns]
        if not near:
            return None
        return self._pose(self._rows[min(near, key=lambda i: abs(times[i] - time_ns))])

    @staticmethod
    def _pose(row: NDArray[np.float64]) -> NDArray[np.float64]:
        return pose.from_quaternion(row[:3], row[3:])


def _between(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Linear translation and spherical linear rotation (Shoemake 1985), the short way round."""
    qa, qb = a[3:] / np.linalg.norm(a[3:]), b[3:] / np.linalg.norm(b[3:])
    if qa @ qb < 0.0:
        qb = -qb
    # The angle from both chords keeps its digits where the two are almost one, which arccos of the dot does not.
    angle = 2.0 * np.arctan2(np.linalg.norm(qa - qb), np.linalg.norm(qa + qb))
    if angle < 1e-9:
        q = (1.0 - share) * qa + share * qb
    else:
        q = (np.sin((1.0 - share) * angle) * qa + np.sin(share * angle) * qb) / np.sin(angle)
    return np.concatenate([(1.0 - share) * a[:3] + share * b[:3], q / np.linalg.norm(q)])
