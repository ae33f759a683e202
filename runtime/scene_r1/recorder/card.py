"""What a live recording says of itself, exactly: its cameras, depth scale and rate, as one JSON message.

CameraInfo has no inverse Brown-Conrady lens, /tf_static only quaternions, and 16UC1 depth is millimetres by REP 118:
the card says what those round off or cannot say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.intrinsics import Intrinsics

FORMAT = "scene-r1-live/1"


@dataclass(frozen=True, slots=True, eq=False)
class LiveCard:
    """Cameras of one live recording. T_color_depth: (4, 4) float64. depth_scale: metres per count.

    jpeg_quality: of the colour images. source: what was recorded, in words for people.
    """

    color_intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    rate_hz: float
    jpeg_quality: int
    source: str

    @classmethod
    def of(cls, info: SourceInfo, jpeg_quality: int) -> LiveCard:
        """The card of what a source says of itself."""
        return cls(
            info.color_intrinsics,
            info.depth_intrinsics,
            np.asarray(info.T_color_depth, dtype=np.float64),
            float(info.depth_scale),
            float(info.rate_hz),
            jpeg_quality,
            f"{info.format} {info.path}",
        )

    def fits(self, frame: RgbdFrame) -> bool:
        """Whether a frame was taken by these cameras."""
        same_cameras = (frame.color_intrinsics, frame.depth_intrinsics) == (
            self.color_intrinsics,
            self.depth_intrinsics,
        )
        same_scale = float(frame.depth_scale) == self.depth_scale
        return same_cameras and same_scale and bool(np.array_equal(frame.T_color_depth, self.T_color_depth))

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "color_intrinsics": asdict(self.color_intrinsics),
                "depth_intrinsics": asdict(self.depth_intrinsics),
                "T_color_depth": self.T_color_depth.tolist(),
                "depth_scale": self.depth_scale,
                "rate_hz": self.rate_hz,
                "jpeg_quality": self.jpeg_quality,
                "source": self.source,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> LiveCard:
        """Raises ValueError (BadInput is one), KeyError or TypeError when the text is no card."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        rate_hz, scale, quality = float(data["rate_hz"]), float(data["depth_scale"]), data["jpeg_quality"]
        if not (math.isfinite(rate_hz) and rate_hz > 0.0):
            raise ValueError(f"rate_hz must be above 0, got {rate_hz}")
        if not 1e-6 <= scale <= 0.1:
            raise ValueError(f"depth_scale must be metres per count in 1e-6..0.1, got {scale}")
        if type(quality) is not int or not 1 <= quality <= 100:
            raise ValueError(f"jpeg_quality must be in 1..100, got {quality!r:.40}")
        color, depth = _intrinsics(data["color_intrinsics"]), _intrinsics(data["depth_intrinsics"])
        return cls(
            color,
            depth,
            exact_rigid(data["T_color_depth"], "T_color_depth"),
            scale,
            rate_hz,
            quality,
            str(data["source"]),
        )


def exact_rigid(rows: object, name: str) -> NDArray[np.float64]:
    """(4, 4) float64, checked as `pose.rigid` does and then left bit for bit as it was written, read-only.

    Orthonormalising once more would move it by the last bit, and a wall at the border of two voxels with it. Raises
    BadFrame.
    """
    pose.rigid(rows, name)  # type: ignore[arg-type]
    T = np.array(rows, dtype=np.float64)
    if np.array_equal(T, IDENTITY):
        return IDENTITY
    T.flags.writeable = False
    return T


def _intrinsics(data: Mapping[str, Any]) -> Intrinsics:
    if not isinstance(data, Mapping):
        raise TypeError("a camera must be a table")
    given = dict(data)
    coefficients = given.pop("coefficients")
    if not isinstance(coefficients, list):
        raise TypeError("coefficients must be a list")
    return Intrinsics(**given, coefficients=tuple(coefficients))
