"""sensor_msgs/CameraInfo as our camera model."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import DistortionModel, Intrinsics

RATIONAL = ("rational_polynomial", "rational_polynomial8")


def intrinsics_from_info(message: Any, topic: str, rectified: bool, path: str | os.PathLike[str]) -> Intrinsics:
    """The camera of one CameraInfo message, ROS 1 (K, D, P) or ROS 2 (k, d, p).

    rectified: the images are (their topic is named image_rect...), so that they have P's pinhole and no distortion.
    plumb_bob's k1, k2, t1, t2, k3 are OpenCV's Brown-Conrady in its order; rational_polynomial is read where k4, k5
    and k6 are 0. Raises BadRecording naming the topic: other lenses (equidistant), a cropped or binned image, numbers
    of no camera (an uncalibrated driver sends zeros).
    """
    K, D, P = (np.asarray(_field(message, name), dtype=np.float64).ravel() for name in "kdp")
    try:
        width, height = int(message.width), int(message.height)
        _check_whole(message, width, height)
        if rectified and P.size == 12 and P[0] > 0.0:
            return Intrinsics(P[0], P[5], P[2], P[6], width, height)
        if K.size != 9:
            raise ValueError(f"K has {K.size} numbers, not 9")
        model, coefficients = _distortion(
            "none" if rectified else str(message.distortion_model), D[:0] if rectified else D
        )
        pinhole = Intrinsics.from_K(K.reshape(3, 3), width, height)
        return Intrinsics(pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy, width, height, model, coefficients)
    except (ValueError, AttributeError) as error:
        raise BadRecording(path, f"{topic} is no camera read here: {error}") from error


def _field(message: Any, name: str) -> Any:
    return getattr(message, name, None) if hasattr(message, name) else getattr(message, name.upper())


def _distortion(name: str, D: np.ndarray[Any, Any]) -> tuple[DistortionModel, tuple[float, float, float, float, float]]:
    if not np.any(D):
        if name in ("", "none", "plumb_bob", *RATIONAL):
            return "none", (0.0,) * 5
    elif D.size in (4, 5) if name == "plumb_bob" else name in RATIONAL and D.size <= 14 and not np.any(D[5:]):
        return "brown_conrady", _five(D)
    raise ValueError(
        f"the distortion model {name[:40]!r} with {D.size} coefficients; read are plumb_bob, and rational_polynomial "
        "with k4 = k5 = k6 = 0: record the rectified images instead"
    )


def _five(D: np.ndarray[Any, Any]) -> tuple[float, float, float, float, float]:
    k1, k2, p1, p2, k3 = (float(c) for c in (*D[:5], *[0.0] * (5 - min(5, D.size))))
    return k1, k2, p1, p2, k3


def _check_whole(message: Any, width: int, height: int) -> None:
    """Raise ValueError for a part of the sensor's image: where its numbers are counted from differs between drivers."""
    roi = message.roi
    if max(int(message.binning_x), int(message.binning_y)) > 1:
        raise ValueError("the image is binned; record the full one")
    size = (int(roi.width), int(roi.height))
    if int(roi.x_offset) or int(roi.y_offset) or size not in ((0, 0), (width, height)):
        raise ValueError("the image is a region of interest; record the full one")
