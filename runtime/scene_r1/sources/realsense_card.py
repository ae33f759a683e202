"""What librealsense rounds off, kept beside it in the same file as one JSON message of std_msgs/msg/String.

librealsense stores intrinsics as float32, extrinsics and depth units with six decimals, and timestamps as float64
milliseconds (244 ns apart in this century). The card holds all of them exactly, so that a conversion loses nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1_engines.intrinsics import Intrinsics

TOPIC = "/scene_r1/recording"
TYPE = "std_msgs/msg/String"
FORMAT = "scene-r1-recording/1"
SNAP_NS = 1000
"""A played timestamp is one of the card's when it is this close: four times what float64 milliseconds round off."""


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """Cameras and times of one recording, exactly. timestamps_ns: (N,) int64, increasing, one for each frame."""

    color_intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    rate_hz: float
    timestamps_ns: NDArray[np.int64]

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "color_intrinsics": asdict(self.color_intrinsics),
                "depth_intrinsics": asdict(self.depth_intrinsics),
                "T_color_depth": self.T_color_depth.tolist(),
                "depth_scale": self.depth_scale,
                "rate_hz": self.rate_hz,
                "timestamps_ns": self.timestamps_ns.tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Raises ValueError (JSONDecodeError and BadInput are) or KeyError or TypeError when the text is no card."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"format is not {FORMAT}")
        stamps = np.array(data["timestamps_ns"], dtype=np.int64)
        if stamps.ndim != 1 or not len(stamps) or np.any(np.diff(stamps) <= 0):
            raise ValueError("timestamps_ns must be increasing and not empty")
        if not float(data["rate_hz"]) > 0.0:
            raise ValueError("rate_hz must be positive")
        return cls(
            _intrinsics(data["color_intrinsics"]),
            _intrinsics(data["depth_intrinsics"]),
            pose.rigid(data["T_color_depth"], "T_color_depth"),
            float(data["depth_scale"]),
            float(data["rate_hz"]),
            stamps,
        )

    def exact(self, timestamp_ns: int) -> int:
        """The recorded time that librealsense played as `timestamp_ns`; unchanged when there is none near."""
        i = int(np.searchsorted(self.timestamps_ns, timestamp_ns))
        near = self.timestamps_ns[max(0, i - 1) : i + 1]
        best = int(near[np.argmin(np.abs(near - timestamp_ns))])
        return best if abs(best - timestamp_ns) <= SNAP_NS else timestamp_ns


def _intrinsics(data: dict[str, object]) -> Intrinsics:
    coefficients = data.pop("coefficients")
    if not isinstance(coefficients, list):
        raise TypeError("coefficients must be a list")
    return Intrinsics(**data, coefficients=tuple(coefficients))  # type: ignore[arg-type]
