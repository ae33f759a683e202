"""What one camera is to the process that captures from it, and what it hands over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY
from scene_r1_engines.errors import BadConfig, BadFrame
from scene_r1_engines.intrinsics import Intrinsics

FASTEST_HZ = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class CameraInfo:
    """What a camera says of itself once it is open; it may say something else after it was opened again.

    serial: tells one camera from another. T_color_depth: (4, 4) depth camera in the colour camera. depth_scale: metres
    per count. rate_hz: nominal rate of pairs of images.
    recorded: it plays a recording: its times are those of the recording, it ends, and it can be played again.
    has_poses, has_gravity: its frames may carry them. notes: for people.

    Raises BadFrame or BadConfig naming the field.
    """

    serial: str
    name: str
    color_intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    rate_hz: float
    recorded: bool = False
    has_poses: bool = False
    has_gravity: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.depth_scale) and 1e-6 <= self.depth_scale <= 0.1):
            raise BadFrame(f"{self.name}: depth_scale must be metres per count in 1e-6..0.1, got {self.depth_scale!r}")
        if not 0.0 < self.rate_hz <= FASTEST_HZ:  # also NaN
            raise BadConfig(f"{self.name}: rate_hz must be in 0..{FASTEST_HZ:g}, got {self.rate_hz!r}")
        T = pose.rigid(self.T_color_depth, f"{self.name}: T_color_depth")
        object.__setattr__(self, "T_color_depth", IDENTITY if np.array_equal(T, IDENTITY) else T)


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """A colour image and a depth image that belong together, as the camera gave them.

    number: the camera's count of its frames (of a recording: the index there). timestamp_ns: device time, of the clock
    that `domain` names. received_ns: host monotonic time at which both were there.
    color: (H, W, 3) uint8, RGB. depth_raw: (h, w) uint16 counts. T_world_camera: (4, 4), or None where unknown.
    gravity: (3,) unit vector that points down, in the colour camera; None where unknown.
    """

    number: int
    timestamp_ns: int
    domain: str
    received_ns: int
    color: NDArray[np.uint8]
    depth_raw: NDArray[np.uint16]
    T_world_camera: NDArray[np.float64] | None = None
    gravity: NDArray[np.float64] | None = None


class Device(Protocol):
    """One camera, used by one thread of the process that captures. It is made in that process, by a picklable factory.

    `open` may be called again after `close`: a recording then plays from its beginning. `close` twice is fine.
    """

    @property
    def ended(self) -> bool:
        """It plays a recording, and that is over."""
        ...

    @property
    def unpaired(self) -> int:
        """Images so far that found no partner in the other stream, or were lost before they could be looked at."""
        ...

    def open(self, serial: str | None = None) -> CameraInfo:
        """Start it. serial: this one and no other. Raises CameraLost (none there, or another one), BadRecording,
        MissingExtra, BadConfig."""
        ...

    def wait(self, timeout_s: float) -> RawFrame | None:
        """The next pair of images, in the order they were taken; None after the timeout, and when it has ended.

        Raises CameraLost when it is unplugged, BadRecording where a recording is damaged.
        """
        ...

    def close(self) -> None: ...
