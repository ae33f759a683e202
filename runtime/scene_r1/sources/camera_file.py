"""`camera.toml`: the sidecar that says of a recorded folder what its own layout cannot."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY
from scene_r1.sources.recorded_file import read_text
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import DistortionModel, Intrinsics

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

CAMERA_FILE = "camera.toml"
MAX_BYTES = 64 << 10
CAMERA_KEYS = ("fx", "fy", "cx", "cy", "width", "height", "model", "coefficients")
KEYS = ("version", "depth_scale", "rate_hz", "poses_at_frames", "T_color_depth", "color", "depth")
VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class CameraFile:
    """Both cameras of a recording.

    T_color_depth: (4, 4) float64, metres, depth camera in the colour camera. depth_scale: metres per count.
    rate_hz: nominal frame rate. poses_at_frames: every recorded pose is of exactly one frame, so that a frame
    without one has none (where it is False, poses have a clock of their own and are interpolated).
    """

    color: Intrinsics
    depth: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    rate_hz: float
    poses_at_frames: bool = False


def read_camera(path: Path) -> CameraFile:
    """Read a `camera.toml`. Raises BadRecording naming the key at fault, and the nearest known one if it is unknown."""
    try:
        table = tomllib.loads(read_text(path, limit_bytes=MAX_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"is not TOML: {str(error)[:200]}") from None
    try:
        _check_keys(table, KEYS, required=("version", "depth_scale", "rate_hz", "color", "depth"), where="")
        if table["version"] != VERSION:
            raise ValueError(f"version must be {VERSION}, got {str(table['version'])[:40]}")
        poses_at_frames = table.get("poses_at_frames", False)
        if not isinstance(poses_at_frames, bool):
            raise ValueError("poses_at_frames must be true or false")
        return CameraFile(
            color=_read_intrinsics(table, "color"),
            depth=_read_intrinsics(table, "depth"),
            T_color_depth=_read_transform(table),
            depth_scale=_number(table, "depth_scale", 1e-6, 0.1),
            rate_hz=_number(table, "rate_hz", 1e-3, 1e5),
            poses_at_frames=poses_at_frames,
        )
    except (ValueError, np.linalg.LinAlgError) as error:
        raise BadRecording(path, str(error)) from None


def write_camera(path: Path, camera: CameraFile) -> None:
    """Write a `camera.toml` that `read_camera` reads back to the same numbers."""
    lines = [
        "# The cameras of this recording. Pixels, metres; T_color_depth maps points of the depth camera into the",
        "# colour camera; depth_scale is in metres per count.",
        f"version = {VERSION}",
        f"depth_scale = {float(camera.depth_scale)!r}",
        f"rate_hz = {float(camera.rate_hz)!r}",
        f"poses_at_frames = {'true' if camera.poses_at_frames else 'false'}",
        "T_color_depth = [",
        *(f"  {[float(v) for v in row]!r}," for row in camera.T_color_depth),
        "]",
    ]
    for name, one in (("color", camera.color), ("depth", camera.depth)):
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {float(getattr(one, key))!r}" for key in ("fx", "fy", "cx", "cy")]
        lines += [f"{key} = {int(getattr(one, key))}" for key in ("width", "height")]
        lines += [f'model = "{one.model}"', f"coefficients = {[float(c) for c in one.coefficients]!r}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read_intrinsics(table: Mapping[str, object], name: str) -> Intrinsics:
    one = table[name]
    if not isinstance(one, dict):
        raise ValueError(f"[{name}] must be a table")
    _check_keys(one, CAMERA_KEYS, required=CAMERA_KEYS[:6], where=f" in [{name}]")
    sides = []
    for key in ("width", "height"):
        if isinstance(one[key], bool) or not isinstance(one[key], int):
            raise ValueError(f"{key} in [{name}] must be a whole number of pixels, got {str(one[key])[:40]}")
        sides.append(one[key])
    model: DistortionModel = one.get("model", "none")
    if not isinstance(model, str):
        raise ValueError(f"model in [{name}] must be a string")
    coefficients = one.get("coefficients", [0.0] * 5)
    if not isinstance(coefficients, list) or len(coefficients) != 5:
        raise ValueError(f"coefficients in [{name}] must be five numbers: k1, k2, p1, p2, k3")
    k1, k2, p1, p2, k3 = (_as_float(c, f"coefficients in [{name}]") for c in coefficients)
    fx, fy, cx, cy = (_as_float(one[key], f"{key} in [{name}]") for key in ("fx", "fy", "cx", "cy"))
    return Intrinsics(fx, fy, cx, cy, sides[0], sides[1], model, (k1, k2, p1, p2, k3))


def _read_transform(table: Mapping[str, object]) -> NDArray[np.float64]:
    rows = table.get("T_color_depth")
    if rows is None:
        return IDENTITY
    if not isinstance(rows, list) or len(rows) != 4 or not all(isinstance(r, list) and len(r) == 4 for r in rows):
        raise ValueError("T_color_depth must be four rows of four numbers")
    T = np.array([[_as_float(v, "T_color_depth") for v in row] for row in rows])
    # The very object: a frame whose transform it is counts as one camera, without comparing.
    return IDENTITY if np.array_equal(T, IDENTITY) else pose.rigid(T, "T_color_depth")


def _number(table: Mapping[str, object], key: str, low: float, high: float) -> float:
    value = _as_float(table[key], key)
    if not low <= value <= high:
        raise ValueError(f"{key} must be in {low:g}..{high:g}, got {value!r}")
    return value


def _as_float(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} must be a number, got {str(value)[:40]}")
    if (isinstance(value, int) and abs(value) > 1 << 53) or not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number a double can hold")
    return float(value)


def _check_keys(table: Mapping[str, object], known: tuple[str, ...], required: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.0)
            raise ValueError(f"unknown key {key[:100]!r}{where}: did you mean {near[0]!r}?")
    for key in required:
        if key not in table:
            raise ValueError(f"the key {key!r} is missing{where}")
