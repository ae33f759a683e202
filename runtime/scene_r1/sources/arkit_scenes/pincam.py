"""`.pincam` and `.traj`: the text files that hold an ARKitScenes video's intrinsics and poses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from scene_r1 import pose
from scene_r1.sources.recorded_file import parse_floats, read_text
from scene_r1.sources.trajectory import Trajectory
from scene_r1.sources.tum import parse_time_ns
from scene_r1_engines.errors import BadFrame, BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

MAX_PINCAM_BYTES = 4 << 10
WITHIN_NS = 20_000_000
BETWEEN_NS = 150_000_000
"""Poses come at 10 Hz with some jitter: two neighbours are interpolated between, a gap of one lost pose is not."""


def read_pincam(path: Path, frame: int | None = None) -> Intrinsics:
    """One line: width height fx fy cx cy, in pixels. Raises BadRecording."""
    try:
        numbers = parse_floats(read_text(path, frame, MAX_PINCAM_BYTES))
        if len(numbers) != 6:
            raise ValueError(f"has {len(numbers)} numbers, not width height fx fy cx cy")
        width, height, fx, fy, cx, cy = numbers
        if not (width.is_integer() and height.is_integer()):
            raise ValueError(f"width and height must be whole, got {width:g} {height:g}")
        return Intrinsics(fx, fy, cx, cy, int(width), int(height))
    except (ValueError, BadIntrinsics) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, str(error), frame) from None


def median_intrinsics(several: Sequence[Intrinsics]) -> Intrinsics:
    """The camera in the middle of several readings of it, which all have one size."""
    first = several[0]
    fx, fy, cx, cy = np.median([(one.fx, one.fy, one.cx, one.cy) for one in several], axis=0)
    return Intrinsics(float(fx), float(fy), float(cx), float(cy), first.width, first.height)


def read_trajectory(path: Path) -> Trajectory:
    """Lines of `seconds rx ry rz tx ty tz`: an axis-angle vector in radians and metres, both world to camera.

    They are inverted here (the toolkits' TrajStringToMatrix does the same). Raises BadRecording naming the line.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        words = line.split()
        if not words:
            continue
        try:
            if len(words) != 7:
                raise ValueError(f"has {len(words)} fields, not seconds rx ry rz tx ty tz")
            rows.append((parse_time_ns(words[0]), _row(parse_floats(" ".join(words[1:])))))
        except ValueError as error:
            raise BadRecording(path, f"line {number}: {error}") from None
    try:
        return Trajectory(rows, WITHIN_NS, BETWEEN_NS)
    except BadFrame as error:
        raise BadRecording(path, str(error)) from None


def _row(numbers: Sequence[float]) -> tuple[float, ...]:
    """tx ty tz qx qy qz qw, camera to world; NaN all through for a lost pose."""
    if not np.all(np.isfinite(numbers)):
        return (float("nan"),) * 7
    if max(abs(number) for number in numbers) > 1e6:
        raise ValueError("a pose is no further than 1000 km, and no turn larger than 1e6 radians")
    T_camera_world = np.eye(4)
    T_camera_world[:3, :3] = cv2.Rodrigues(np.array(numbers[:3]))[0]
    T_camera_world[:3, 3] = numbers[3:]
    T_world_camera = pose.inverse(T_camera_world)
    return (*T_world_camera[:3, 3].tolist(), *pose.to_quaternion(T_world_camera).tolist())
