"""Do the poses and the depth of a recording belong together? Depth of one frame, seen from a later one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import DepthRange, RgbdFrame

STEP_PX = 8
MIN_MOVE_M, MIN_TURN_DEG, MAX_FRAMES_APART = 0.10, 8.0, 60
"""A pair is compared once the camera moved or turned this much, or this many frames went by."""
MIN_OVERLAP = 0.1
"""Share of the sampled points that must fall on valid depth of the other frame, or the pair says nothing."""
MIN_PAIRS = 3
CLEARLY_BETTER = 0.6
"""Another reading is believed when its error is below this share of the recording's own."""
OFF_DEPTH_RANGE = DepthRange(1e-3, 6500.0)
"""All counts but 0 and 65535, whatever the scale: a scale that is wrong by ten must not empty the test."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to take the recorded numbers: poses as they are or inverted, depth times a factor."""

    inverse_poses: bool = False
    depth_factor: float = 1.0

    def __str__(self) -> str:
        if self.inverse_poses:
            return "poses inverted (world-to-camera)"
        return "as recorded" if self.depth_factor == 1.0 else f"depth x {self.depth_factor:g}"


READINGS = (
    Reading(),
    Reading(inverse_poses=True),
    Reading(depth_factor=10.0),
    Reading(depth_factor=0.1),
    Reading(depth_factor=5.0),
    Reading(depth_factor=0.2),
)


@dataclass(frozen=True, slots=True)
class ReadingError:
    """How well a reading fits. error: median over pairs of the median of |z' - z| / z; None: too few overlap."""

    reading: Reading
    error: float | None
    pairs: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """Points of one frame, on a grid. rays: (N, 3) at z = 1, depth camera. depth_m: (N,) metres."""

    frame: RgbdFrame
    rays: NDArray[np.float64]
    depth_m: NDArray[np.float64]


class ReprojectionTest:
    """Fed every frame in order, keeps one, and compares it with a later one under each of the READINGS.

    A point of frame i, put into the depth camera of frame j by the two poses, should have the depth that frame j
    measured in that pixel. Medians forgive occlusion. Constant memory but for six numbers a pair.
    """

    def __init__(self) -> None:
        self._sample: _Sample | None = None
        self._errors: dict[Reading, list[float]] = {reading: [] for reading in READINGS}
        self._rays: tuple[object, NDArray[np.float64]] | None = None
        self.pairs = 0

    def add(self, frame: RgbdFrame) -> None:
        """The next frame; one without a pose is passed over."""
        if frame.T_world_camera is None:
            return
        if self._sample is None:
            self._sample = self._take(frame)
            return
        before = self._sample.frame
        assert before.T_world_camera is not None
        move_m = float(np.linalg.norm(frame.T_world_camera[:3, 3] - before.T_world_camera[:3, 3]))
        turn_deg = pose.angle_deg(before.T_world_camera, frame.T_world_camera)
        if move_m < MIN_MOVE_M and turn_deg < MIN_TURN_DEG and frame.index - before.index < MAX_FRAMES_APART:
            return
        self.pairs += 1
        for reading in READINGS:
            error = _compare(self._sample, frame, reading)
            if error is not None:
                self._errors[reading].append(error)
        self._sample = self._take(frame)

    def results(self) -> tuple[ReadingError, ...]:
        """One for each of READINGS, in their order."""
        needed = max(MIN_PAIRS, self.pairs // 3)
        return tuple(
            ReadingError(reading, float(np.median(errors)) if len(errors) >= needed else None, len(errors))
            for reading, errors in self._errors.items()
        )

    def better_reading(self) -> Reading | None:
        """The reading that fits clearly better than the recording as it is, or None."""
        fitting = [one for one in self.results() if one.error is not None]
        if not fitting:
            return None
        best = min(fitting, key=lambda one: one.error or 0.0)
        own = self.results()[0].error
        if best.reading == READINGS[0] or (own is not None and (best.error or 0.0) > CLEARLY_BETTER * own):
            return None
        return best.reading

    def _take(self, frame: RgbdFrame) -> _Sample:
        if self._rays is None or self._rays[0] != frame.depth_intrinsics:
            h, w = frame.depth_raw.shape
            v, u = np.mgrid[STEP_PX // 2 : h : STEP_PX, STEP_PX // 2 : w : STEP_PX]
            xy = frame.depth_intrinsics.rays(np.stack([u.ravel(), v.ravel()], axis=1))
            self._rays = (frame.depth_intrinsics, np.column_stack([xy, np.ones(len(xy))]))
        rays = self._rays[1]
        counts = frame.depth_raw[STEP_PX // 2 :: STEP_PX, STEP_PX // 2 :: STEP_PX].ravel()
        valid = _valid(counts, frame.depth_scale) & np.isfinite(rays[:, 0])
        return _Sample(frame, rays[valid], counts[valid].astype(np.float64) * frame.depth_scale)


def _compare(sample: _Sample, frame: RgbdFrame, reading: Reading) -> float | None:
    """Median of |z' - z| / z over the points that fall on valid depth, or None where too few do."""
    if len(sample.depth_m) == 0:
        return None
    T_j_i = pose.inverse(_depth_pose(frame, reading)) @ _depth_pose(sample.frame, reading)
    points = pose.apply(T_j_i, sample.rays * (sample.depth_m * reading.depth_factor)[:, None])
    uv = frame.depth_intrinsics.project(points)
    h, w = frame.depth_raw.shape
    with np.errstate(invalid="ignore"):
        inside = (uv[:, 0] > -0.5) & (uv[:, 0] < w - 0.5) & (uv[:, 1] > -0.5) & (uv[:, 1] < h - 0.5)
    u, v = np.rint(uv[inside]).astype(np.intp).T
    counts = frame.depth_raw[v, u]
    valid = _valid(counts, frame.depth_scale)
    if np.count_nonzero(valid) < MIN_OVERLAP * len(points):
        return None
    seen_m = counts[valid] * (frame.depth_scale * reading.depth_factor)
    return float(np.median(np.abs(points[inside][valid, 2] - seen_m) / seen_m))


def _depth_pose(frame: RgbdFrame, reading: Reading) -> NDArray[np.float64]:
    if not reading.inverse_poses:
        return frame.T_world_depth
    assert frame.T_world_camera is not None
    return pose.inverse(frame.T_world_camera) @ frame.T_color_depth


def _valid(counts: NDArray[np.uint16], depth_scale: float) -> NDArray[np.bool_]:
    low, high = OFF_DEPTH_RANGE.counts(depth_scale)
    return np.asarray((counts >= low) & (counts <= high))
