"""`odometry.csv` of the Stray Scanner app: one pose for each picture of the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.sources.recorded_file import parse_floats, read_text
from scene_r1.sources.tum import parse_time_ns
from scene_r1_engines.errors import BadFrame, BadRecording

POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
CAMERA = ("fx", "fy", "cx", "cy")


@dataclass(frozen=True, slots=True, eq=False)
class OdometryRow:
    """One picture of the video.

    number: in the names of its depth and confidence images. timestamp_ns: None in files of old versions.
    T_world_camera: (4, 4) float64, OpenCV axes; None for a lost pose (NaN). camera: fx, fy, cx, cy in pixels of the
    video, None where the app did not write them.
    """

    number: int
    timestamp_ns: int | None
    T_world_camera: NDArray[np.float64] | None
    camera: tuple[float, float, float, float] | None


def read_odometry(path: Path) -> list[OdometryRow]:
    """Columns by the names in the first line; the oldest versions have none, and x, y, z, qx, qy, qz, qw.

    Raises BadRecording naming the line at fault.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    columns: Sequence[str] = POSE
    if lines:
        first = [word.strip().lower() for word in lines[0][1].split(",")]
        if any(name in first for name in POSE):
            columns, lines = first, lines[1:]
    missing = [name for name in POSE if name not in columns]
    if missing:
        raise BadRecording(path, f"its first line names no column {', '.join(missing)}")
    if not lines:
        raise BadRecording(path, "has no pose in it")
    at = {name: columns.index(name) for name in (*POSE, *CAMERA, "timestamp", "frame") if name in columns}
    rows: list[OdometryRow] = []
    numbers = set()
    for number, line in lines:
        try:
            row = _row(line.split(","), at, len(rows))
        except (ValueError, BadFrame) as error:
            raise BadRecording(path, f"line {number}: {error}") from None
        if row.number in numbers:
            raise BadRecording(path, f"line {number} repeats frame {row.number}")
        numbers.add(row.number)
        rows.append(row)
    return rows


def _row(words: Sequence[str], at: dict[str, int], index: int) -> OdometryRow:
    # Later columns may be left empty, and a trailing comma may be missing.
    needed = max(at[name] for name in (*POSE, *(name for name in ("timestamp", "frame") if name in at)))
    if len(words) <= needed:
        raise ValueError(f"has {len(words)} fields, not {needed + 1}")
    number = index
    if "frame" in at:
        word = words[at["frame"]].strip()
        if not (word.isascii() and word.isdigit() and len(word) <= 9):
            raise ValueError(f"{word[:40]!r} is no frame number")
        number = int(word)
    values = parse_floats(" ".join(words[at[name]].strip() or "nan" for name in POSE))
    if len(values) != len(POSE):
        raise ValueError("a field holds more than one number")
    T_world_camera = pose.from_quaternion(values[:3], values[3:]) if np.all(np.isfinite(values)) else None
    camera = None
    if all(name in at and at[name] < len(words) and words[at[name]].strip() for name in CAMERA):
        given = parse_floats(" ".join(words[at[name]] for name in CAMERA))
        if len(given) != len(CAMERA):
            raise ValueError("a field holds more than one number")
        camera = (given[0], given[1], given[2], given[3])
    time_ns = parse_time_ns(words[at["timestamp"]].strip()) if "timestamp" in at else None
    return OdometryRow(number, time_ns, T_world_camera, camera)
