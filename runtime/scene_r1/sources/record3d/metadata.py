"""The `metadata` of a Record3D recording: sizes, intrinsics, poses and times of all its frames."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1_engines.errors import BadFrame, BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import MAX_SIDE_PX, Intrinsics

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""The camera's y and z the other way round: up and backward become down and forward."""
RATE_HZ = 60.0


@dataclass(frozen=True, slots=True)
class Metadata:
    """camera: of the colour images, at the size the metadata names. per_frame: fx, fy, cx, cy of each, or empty.

    depth_size: (width, height), or None in files of old versions. poses: T_world_camera, (4, 4) float64, OpenCV axes;
    None for a lost one. timestamps_ns: None where they were not recorded.
    """

    camera: Intrinsics
    per_frame: Sequence[Sequence[float]]
    depth_size: tuple[int, int] | None
    rate_hz: float
    poses: Sequence[NDArray[np.float64] | None]
    timestamps_ns: Sequence[int] | None


def parse_metadata(data: bytes, path: Path) -> Metadata:
    """Read the JSON. path: to name in errors.

    K is a 3x3 matrix column by column. A pose is qx qy qz qw tx ty tz, camera to world, with OpenGL's camera axes (x
    right, y up, z backward), as the app's author says (marek-simonik/record3d, questions 33, 36 and 64); they are
    turned into OpenCV's here. Raises BadRecording naming the key.
    """
    try:
        table = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadRecording(path, f"is not JSON: {str(error)[:200]}") from None
    if not isinstance(table, dict):
        raise BadRecording(path, "must be a JSON object")
    try:
        width, height = _side(table, "w"), _side(table, "h")
        K = np.array(_numbers(table.get("K"), 9, "K")).reshape(3, 3).T
        camera = Intrinsics.from_K(K, width, height)
        depth_size = (_side(table, "dw"), _side(table, "dh")) if "dw" in table or "dh" in table else None
        rows = _rows(table, "perFrameIntrinsicCoeffs")
        per_frame = [_numbers(row, 4, f"perFrameIntrinsicCoeffs[{i}]") for i, row in enumerate(rows)]
        poses = [_pose(row, f"poses[{i}]") for i, row in enumerate(_rows(table, "poses"))]
        times = [_time_ns(value, f"frameTimestamps[{i}]") for i, value in enumerate(_rows(table, "frameTimestamps"))]
        rate = table.get("fps", RATE_HZ)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1e-3 <= rate <= 1e5:
            raise ValueError(f"fps must be a rate in Hz, got {str(rate)[:40]}")
    except (ValueError, BadFrame, BadIntrinsics) as error:
        raise BadRecording(path, str(error)) from None
    return Metadata(camera, per_frame, depth_size, float(rate), poses, times or None)


def _side(table: dict[str, object], key: str) -> int:
    value = table.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_SIDE_PX:
        raise ValueError(f"{key} must be a whole number of pixels in 1..{MAX_SIDE_PX}, got {str(value)[:40]}")
    return value


def _rows(table: dict[str, object], key: str) -> list[object]:
    rows = table.get(key)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise ValueError(f"{key} must be a list, one entry a frame")
    return rows


def _numbers(value: object, count: int, what: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"{what} must be {count} numbers, got {str(value)[:60]}")
    return [_number(one, what) for one in value]


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} must be of numbers, got {str(value)[:40]}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{what} has a number too large for a double") from None


def _pose(row: object, what: str) -> NDArray[np.float64] | None:
    numbers = _numbers(row, 7, what)
    if not all(math.isfinite(number) for number in numbers):
        return None
    return pose.from_quaternion(numbers[4:], numbers[:4], what) @ OPENGL_TO_OPENCV


def _time_ns(value: object, what: str) -> int:
    seconds = _number(value, what)
    if not 0.0 <= seconds < 1 << 33:
        raise ValueError(f"{what} is no time in seconds: {seconds!r}")
    return round(seconds * 1e9)
