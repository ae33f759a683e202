"""What is in a recording, and whether its times, depth and poses make sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import NO_RETURN_HIGH, RgbdFrame
from scene_r1.reprojection import Reading, ReadingError, ReprojectionTest
from scene_r1.sources.source import FrameSource, SourceInfo
from scene_r1_engines.errors import BadRecording

PERCENTILES = (1, 5, 50, 95, 99)
GAP = 1.5
"""A step in time longer than this many median steps is a gap."""


@dataclass(frozen=True, slots=True)
class Times:
    """Steps between frames, seconds. gaps: steps over 1.5 medians. jitter_s: median |step - median step|.
    backward: steps of zero or less."""

    duration_s: float
    median_step_s: float
    longest_step_s: float
    jitter_s: float
    gaps: int
    backward: int


@dataclass(frozen=True, slots=True)
class Depths:
    """valid_share: of all pixels, neither 0 nor 65535. percentiles_m: percent -> metres, of the valid ones."""

    valid_share: float
    percentiles_m: dict[int, float]
    frames_without: int


@dataclass(frozen=True, slots=True)
class Poses:
    """share: of the frames that have one. Lengths in metres over consecutive frames that both have one.
    largest_step_at: index of the frame after the largest step. rotation_rounding: how far a recorded rotation is off
    orthonormal (largest |singular value - 1|), or None where the format cannot be."""

    share: float
    path_m: float
    largest_step_m: float
    largest_step_at: int | None
    rotation_rounding: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """All of it. frames: read well; fault: what stopped the reading, or None.

    reprojection: the error of each reading of poses and depth. better_reading: one that fits clearly better than the
    recording as it is. A field is None where no frame could tell.
    """

    info: SourceInfo
    frames: int
    times: Times | None
    depths: Depths | None
    poses: Poses | None
    reprojection: tuple[ReadingError, ...]
    pairs: int
    better_reading: Reading | None
    fault: str | None


def inspect(source: FrameSource, progress: Callable[[int], None] | None = None) -> Inspection:
    """Read an open source through once. A BadRecording on the way ends the reading and becomes `fault`.

    progress: called after each frame with the number read. Memory: one frame, and 33 bytes for each frame read.
    """
    times_ns: list[int] = []
    positions: list[NDArray[np.float64] | None] = []
    depth = _DepthCount()
    reprojection = ReprojectionTest(source.info.depth_scale)
    fault = None
    try:
        for frame in source.frames():
            times_ns.append(frame.timestamp_ns)
            positions.append(None if frame.T_world_camera is None else frame.T_world_camera[:3, 3].copy())
            depth.add(frame)
            reprojection.add(frame)
            if progress is not None:
                progress(len(times_ns))
    except BadRecording as error:
        fault = str(error)
    return Inspection(
        info=source.info,
        frames=len(times_ns),
        times=_times(times_ns),
        depths=depth.result(),
        poses=_poses(positions, source.info.counters.get("rotation_rounding_ppm")),
        reprojection=reprojection.results(),
        pairs=reprojection.pairs,
        better_reading=reprojection.better_reading(),
        fault=fault,
    )


class _DepthCount:
    """How often each of the 65536 counts occurs; percentiles of any number of frames come out exact."""

    def __init__(self) -> None:
        self._histogram = np.zeros(NO_RETURN_HIGH + 1, dtype=np.int64)
        self._scale = 0.0
        self._frames_without = 0

    def add(self, frame: RgbdFrame) -> None:
        counted = np.bincount(frame.depth_raw.ravel(), minlength=NO_RETURN_HIGH + 1)
        self._frames_without += int(counted[1:NO_RETURN_HIGH].sum()) == 0
        self._histogram += counted
        self._scale = frame.depth_scale

    def result(self) -> Depths | None:
        total = int(self._histogram.sum())
        if total == 0:
            return None
        valid = self._histogram.copy()
        valid[[0, NO_RETURN_HIGH]] = 0
        cumulative = np.cumsum(valid)
        count = int(cumulative[-1])
        percentiles_m = {}
        if count:
            for percent in PERCENTILES:
                at = int(np.searchsorted(cumulative, max(1.0, count * percent / 100.0)))
                percentiles_m[percent] = at * self._scale
        return Depths(count / total, percentiles_m, self._frames_without)


def _times(times_ns: list[int]) -> Times | None:
    if len(times_ns) < 2:
        return None
    steps_s: NDArray[np.float64] = np.diff(np.array(times_ns, dtype=np.int64)).astype(np.float64) / 1e9
    median = float(np.median(steps_s))
    return Times(
        duration_s=(times_ns[-1] - times_ns[0]) / 1e9,
        median_step_s=median,
        longest_step_s=float(steps_s.max()),
        jitter_s=float(np.median(np.abs(steps_s - median))),
        gaps=int(np.count_nonzero(steps_s > GAP * median)),
        backward=int(np.count_nonzero(steps_s <= 0.0)),
    )


def _poses(positions: list[NDArray[np.float64] | None], rounding_ppm: int | None) -> Poses | None:
    known = [p for p in positions if p is not None]
    if not known:
        return None
    steps = [
        (float(np.linalg.norm(b - a)), index)
        for index, (a, b) in enumerate(pairwise(positions), 1)
        if a is not None and b is not None
    ]
    largest_m, largest_at = max(steps, default=(0.0, None), key=lambda step: step[0])
    return Poses(
        share=len(known) / len(positions),
        path_m=sum(step for step, _ in steps),
        largest_step_m=largest_m,
        largest_step_at=largest_at,
        rotation_rounding=None if rounding_ppm is None else rounding_ppm / 1e6,
    )
