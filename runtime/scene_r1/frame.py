"""One RGB-D frame, checked once where it enters the runtime; what follows trusts it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1_engines.errors import BadFrame
from scene_r1_engines.intrinsics import Intrinsics

IDENTITY: NDArray[np.float64] = np.eye(4)
IDENTITY.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class RgbdFrame:
    """A colour image and a depth image taken together, and where the camera was.

    index: zero-based index in the source; conversion keeps it.
    timestamp_ns: device capture time. received_ns: host monotonic time at which the frame came in (0: a recording).
    color: (H, W, 3) uint8, RGB. color_intrinsics: of `color`; its camera is "the camera" of every pose.
    depth_raw: (h, w) uint16 counts; 0 and 65535 = no return. depth_scale: metres per count.
    depth_intrinsics: of `depth_raw`. T_color_depth: (4, 4) depth camera in the colour camera; identity: one camera.
    T_world_camera: (4, 4) float64 of the colour camera (OpenCV axes), or None where the pose is unknown.

    The arrays are held, not copied, and made read-only. Transforms with rounded rotations are re-orthonormalised.
    Raises BadFrame saying expected and got.
    """

    index: int
    timestamp_ns: int
    color: NDArray[np.uint8]
    color_intrinsics: Intrinsics
    depth_raw: NDArray[np.uint16]
    depth_scale: float
    depth_intrinsics: Intrinsics
    T_color_depth: NDArray[np.float64] = field(default_factory=lambda: IDENTITY)
    T_world_camera: NDArray[np.float64] | None = None
    received_ns: int = 0

    def __post_init__(self) -> None:
        what = f"frame {self.index}"
        if not isinstance(self.index, int | np.integer) or self.index < 0:
            raise BadFrame(f"{what}: index must be a whole number, 0 or more")
        _check_image(f"{what}: color", self.color, (*_size(self.color_intrinsics), 3), np.dtype(np.uint8))
        _check_image(f"{what}: depth_raw", self.depth_raw, _size(self.depth_intrinsics), np.dtype(np.uint16))
        number = isinstance(self.depth_scale, float | int | np.floating)
        if not (number and math.isfinite(self.depth_scale) and 1e-6 <= self.depth_scale <= 0.1):
            raise BadFrame(f"{what}: depth_scale must be metres per count in 1e-6..0.1, got {self.depth_scale!r}")
        for name in ("color", "depth_raw"):
            array = np.ascontiguousarray(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "T_color_depth", _rigid_once(self.T_color_depth, f"{what}: T_color_depth"))
        if self.T_world_camera is not None:
            object.__setattr__(self, "T_world_camera", _rigid_once(self.T_world_camera, f"{what}: T_world_camera"))

    @property
    def one_camera(self) -> bool:
        """True when depth is registered to colour: the same pixel of both images is the same ray."""
        return self.color_intrinsics == self.depth_intrinsics and bool(np.array_equal(self.T_color_depth, IDENTITY))

    @property
    def T_world_depth(self) -> NDArray[np.float64]:
        """(4, 4) float64 pose of the depth camera. Raises BadFrame where the pose is unknown."""
        if self.T_world_camera is None:
            raise BadFrame(f"frame {self.index}: the camera's pose is unknown")
        return self.T_world_camera @ self.T_color_depth

    @property
    def depth_m(self) -> NDArray[np.float32]:
        """(h, w) float32 metres in the depth camera, 0 = no return."""
        out: NDArray[np.float32] = self.depth_raw.astype(np.float32) * np.float32(self.depth_scale)
        out[self.depth_raw == NO_RETURN_HIGH] = 0.0
        return out


NO_RETURN_HIGH = 65535
"""Written by Kinect-era recordings for 'no return', as 0 is by all others."""


@dataclass(frozen=True, slots=True)
class DepthRange:
    """Which depths are believed: metres along the optical axis, both ends included."""

    near_m: float = 0.2
    far_m: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.near_m) and math.isfinite(self.far_m) and 0.0 < self.near_m < self.far_m):
            raise BadFrame(f"a depth range needs 0 < near_m < far_m, got {self.near_m!r}, {self.far_m!r}")

    def counts(self, depth_scale: float) -> tuple[int, int]:
        """The same range in raw counts: a count c is valid exactly when lowest <= c <= highest.

        The one rule of depth validity. It leaves out 0 and 65535 whatever the scale, so kernels and their plain
        twins need two integer comparisons and nothing else. An empty range comes back as (1, 0).
        """
        lowest = max(1, math.ceil(self.near_m / depth_scale - 1e-6))
        highest = min(NO_RETURN_HIGH - 1, math.floor(self.far_m / depth_scale + 1e-6))
        return (lowest, highest) if lowest <= highest else (1, 0)


def depth_counts(depth_m: NDArray[np.floating], depth_scale: float) -> NDArray[np.uint16]:
    """Raw counts of a depth image in metres: NaN, infinity, negative and too far become 0 (no return).

    depth_m: (h, w) float, metres. Returns (h, w) uint16, rounded to the nearest count.
    """
    with np.errstate(over="ignore"):
        counts = np.rint(np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) / depth_scale)
    return np.where((counts >= 1) & (counts < NO_RETURN_HIGH), counts, 0).astype(np.uint16)


def _size(intrinsics: Intrinsics) -> tuple[int, int]:
    return intrinsics.height, intrinsics.width


def _check_image(what: str, array: object, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    if not isinstance(array, np.ndarray):
        raise BadFrame(f"{what} must be a numpy array, got {type(array).__name__}")
    if array.shape != shape or array.dtype != dtype:
        raise BadFrame(f"{what} must be {shape} {dtype} as its intrinsics say, got {array.shape} {array.dtype}")


def _rigid_once(T: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if T is IDENTITY:
        return T
    return pose.rigid(T, name)
