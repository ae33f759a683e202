"""Do the poses and the depth of a recording belong together? Depth of one frame, seen from a later one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import DepthRange, RgbdFrame

STEP_PX, MAX_POINTS = 8, 6000
"""One pixel in 8 both ways is looked at, and fewer where that would be more than this many points."""
NEAR, FAR = (0.10, 8.0, 60), (0.50, 35.0, 240)
"""A pair is compared once the camera moved this far (metres), turned this much (degrees), or this many frames passed.

Near pairs nearly always overlap and tell how poses are to be read. How long a count is shows only where the view shifts
by more than depth is noisy: with 1 % of noise, 1/4000 for 1/5000 made the error of near pairs 1.14 times larger, and
that of far ones 3.6 times (a room of 5 x 6 m).
"""
MIN_OVERLAP = 0.1
"""Share of the sampled points that must fall on valid depth of the other frame, or the pair says nothing."""
MIN_PAIRS = 3
CLEARLY_BETTER = 0.6
"""Another reading is believed when its error is below this share of the recording's own."""
OFF_DEPTH_RANGE = DepthRange(1e-3, 6500.0)
"""All counts but 0 and 65535, whatever the scale: a scale that is wrong by ten must not empty the test."""


OPENGL_AXES: NDArray[np.float64] = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL's and ARKit's camera (x right, y up, z backward) in OpenCV's axes, and the other way round."""
NAMED_SCALES = {"1/1000": 1 / 1000, "1/4000": 1 / 4000, "1/5000": 1 / 5000, "1/6553.5": 1 / 6553.5}
"""Metres per count that recordings use: most devices; RealSense L515; TUM RGB-D; Replica."""
OTHER_FACTORS = (10.0, 0.1, 5.0, 0.2)
SAME_SCALE = 0.01
"""Relative. Scales closer than this are one, and a recording could not tell them apart."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to take the recorded numbers.

    inverse_poses: they are world-to-camera. opengl_axes: the camera they are of has y up and z backward.
    depth_factor: depth is this many times what it says. scale: the name of the depth scale that this would be, if it
    is one of NAMED_SCALES.
    """

    inverse_poses: bool = False
    opengl_axes: bool = False
    depth_factor: float = 1.0
    scale: str | None = None

    def __str__(self) -> str:
        axes = "OpenGL axes (y up, z backward)"
        if self.inverse_poses:
            return f"poses inverted, {axes}" if self.opengl_axes else "poses inverted (world-to-camera)"
        if self.opengl_axes:
            return axes
        if self.depth_factor == 1.0:
            return "as recorded"
        return f"depth x {self.depth_factor:.4g}" + (f" (a scale of {self.scale})" if self.scale else "")

    @property
    def changes_poses(self) -> bool:
        return self.inverse_poses or self.opengl_axes

    def T_world_camera(self, recorded: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4) the colour camera's pose, OpenCV axes, if the recorded matrix is to be taken this way."""
        T = pose.inverse(recorded) if self.inverse_poses else recorded
        return T @ OPENGL_AXES if self.opengl_axes else T


def readings(depth_scale: float) -> tuple[Reading, ...]:
    """All that are tried on a recording of that scale, metres per count. As recorded comes first, poses next."""
    found = [Reading(), Reading(True), Reading(opengl_axes=True), Reading(True, True)]
    named = [Reading(depth_factor=scale / depth_scale, scale=name) for name, scale in NAMED_SCALES.items()]
    for one in (*named, *(Reading(depth_factor=factor) for factor in OTHER_FACTORS)):
        if all(abs(one.depth_factor / other.depth_factor - 1.0) > SAME_SCALE for other in found):
            found.append(one)
    return tuple(found)


def scale_name(depth_scale: float) -> str | None:
    """Which of NAMED_SCALES it is, if any."""
    close = (name for name, scale in NAMED_SCALES.items() if abs(depth_scale / scale - 1.0) <= SAME_SCALE)
    return next(close, None)


@dataclass(frozen=True, slots=True)
class ReadingError:
    """How well a reading fits. error: median over the near pairs of the median of |z' - z| / z; far_error: over the
    far ones; None: too few overlap. pairs, far_pairs: those that did."""

    reading: Reading
    error: float | None
    pairs: int
    far_error: float | None
    far_pairs: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """Points of one frame, on a grid. rays: (N, 3) at z = 1, depth camera. depth_m: (N,) metres."""

    frame: RgbdFrame
    rays: NDArray[np.float64]
    depth_m: NDArray[np.float64]


class ReprojectionTest:
    """Fed every frame in order, keeps two, and compares each with a later one under each of the `readings`.

    A point of frame i, put into the depth camera of frame j by the two poses, should have the depth that frame j
    measured in that pixel. Medians forgive occlusion. Constant memory but for two dozen numbers a pair.

    depth_scale: metres per count of the recording. pairs: near ones so far.
    """

    def __init__(self, depth_scale: float) -> None:
        tried = readings(depth_scale)
        self._near = _Pairs(*NEAR, {reading: [] for reading in tried})
        self._far = _Pairs(*FAR, {reading: [] for reading in tried})
        self._rays: tuple[object, NDArray[np.float64]] | None = None
        self._step = STEP_PX

    @property
    def pairs(self) -> int:
        return self._near.count

    def add(self, frame: RgbdFrame) -> None:
        """The next frame; one without a pose is passed over."""
        if frame.T_world_camera is None:
            return
        taken: _Sample | None = None
        for pairs in (self._near, self._far):
            if pairs.sample is None or pairs.is_due(frame):
                taken = taken or self._take(frame)
                pairs.compare(frame)
                pairs.sample = taken

    def results(self) -> tuple[ReadingError, ...]:
        """One for each of the `readings`, in their order."""
        return tuple(
            ReadingError(
                reading,
                self._near.error(reading),
                len(self._near.errors[reading]),
                self._far.error(reading),
                len(self._far.errors[reading]),
            )
            for reading in self._near.errors
        )

    def better_reading(self) -> Reading | None:
        """The reading that fits clearly better than the recording as it is, or None."""
        results = self.results()
        best = _clearly_best([(one.reading, one.error) for one in results])
        if best is not None and best.depth_factor == 1.0:
            return best
        far = [(one.reading, one.far_error) for one in results if not one.reading.changes_poses]
        return _clearly_best(far) if any(error is not None for _, error in far) else best

    def _take(self, frame: RgbdFrame) -> _Sample:
        if self._rays is None or self._rays[0] != frame.depth_intrinsics:
            h, w = frame.depth_raw.shape
            step = self._step = max(STEP_PX, math.ceil(math.sqrt(h * w / MAX_POINTS)))
            v, u = np.mgrid[step // 2 : h : step, step // 2 : w : step]
            xy = frame.depth_intrinsics.rays(np.stack([u.ravel(), v.ravel()], axis=1))
            self._rays = (frame.depth_intrinsics, np.column_stack([xy, np.ones(len(xy))]))
        rays, step = self._rays[1], self._step
        counts = frame.depth_raw[step // 2 :: step, step // 2 :: step].ravel()
        valid = _valid(counts, frame.depth_scale) & np.isfinite(rays[:, 0])
        return _Sample(frame, rays[valid], counts[valid].astype(np.float64) * frame.depth_scale)


@dataclass(slots=True)
class _Pairs:
    """Pairs of frames about so far apart, and the error of each reading in those that overlap."""

    move_m: float
    turn_deg: float
    frames_apart: int
    errors: dict[Reading, list[float]]
    sample: _Sample | None = None
    count: int = 0

    def is_due(self, frame: RgbdFrame) -> bool:
        """Whether the frame is far enough from the sample."""
        assert self.sample is not None
        a, b = self.sample.frame.T_world_camera, frame.T_world_camera
        assert a is not None
        assert b is not None
        return (
            float(np.linalg.norm(b[:3, 3] - a[:3, 3])) >= self.move_m
            or pose.angle_deg(a, b) >= self.turn_deg
            or frame.index - self.sample.frame.index >= self.frames_apart
        )

    def compare(self, frame: RgbdFrame) -> None:
        if self.sample is None:
            return
        self.count += 1
        for reading, errors in self.errors.items():
            error = _compare(self.sample, frame, reading)
            if error is not None:
                errors.append(error)

    def error(self, reading: Reading) -> float | None:
        errors = self.errors[reading]
        return float(np.median(errors)) if len(errors) >= max(MIN_PAIRS, self.count // 3) else None


def _clearly_best(errors: list[tuple[Reading, float | None]]) -> Reading | None:
    """The reading with the smallest error, where it is clearly smaller than that of the first, as recorded."""
    fitting = [(error, i) for i, (_, error) in enumerate(errors) if error is not None]
    if not fitting:
        return None
    smallest, i = min(fitting)
    own = errors[0][1]
    return None if i == 0 or (own is not None and smallest > CLEARLY_BETTER * own) else errors[i][0]


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
    assert frame.T_world_camera is not None
    return reading.T_world_camera(frame.T_world_camera) @ frame.T_color_depth


def _valid(counts: NDArray[np.uint16], depth_scale: float) -> NDArray[np.bool_]:
    low, high = OFF_DEPTH_RANGE.counts(depth_scale)
    return np.asarray((counts >= low) & (counts <= high))
