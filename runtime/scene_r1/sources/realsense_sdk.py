"""librealsense's words in ours: camera models, extrinsics, colour formats. The SDK is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1_engines.errors import BadRecording, MissingExtra
from scene_r1_engines.intrinsics import DistortionModel, Intrinsics

# librealsense's name of a model: ours. `modified_brown_conrady` applies the tangential terms to the radially
# distorted point, which is Brown-Conrady exactly when p1 = p2 = 0; `color_intrinsics` of a file says so in its notes.
_MODELS: dict[str, DistortionModel] = {
    "none": "none",
    "brown_conrady": "brown_conrady",
    "modified_brown_conrady": "brown_conrady",
    "inverse_brown_conrady": "inverse_brown_conrady",
}
_TO_RGB: dict[str, tuple[int, int | None]] = {
    # format: channels of the stored bytes, OpenCV's conversion to RGB (None: it is RGB)
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
}
COLOR_FORMATS = tuple(_TO_RGB)


def sdk(what: str) -> Any:
    """The module `pyrealsense2`. Raises MissingExtra('realsense') saying what is missing when it does not load."""
    try:
        import pyrealsense2
    except ImportError as error:
        detail = "its system library is missing: apt-get install libusb-1.0-0" if "libusb" in str(error) else str(error)
        raise MissingExtra("realsense", what, detail) from error
    return pyrealsense2


def intrinsics_from(path: str, profile: Any) -> tuple[Intrinsics, str | None]:
    """Intrinsics of a video stream profile, and a note where librealsense's model is only nearly ours.

    Raises BadRecording (fisheye models, or numbers no camera can have).
    """
    rs = profile.get_intrinsics()
    return intrinsics_of(
        path,
        profile.stream_name(),
        rs.model.name,
        {"width": rs.width, "height": rs.height, "fx": rs.fx, "fy": rs.fy, "cx": rs.ppx, "cy": rs.ppy},
        [float(value) for value in rs.coeffs],
    )


def intrinsics_of(
    path: str, stream: str, name: str, numbers: Mapping[str, float], c: Sequence[float]
) -> tuple[Intrinsics, str | None]:
    """The same of librealsense's numbers by themselves. name: of the model, as librealsense's Python has it.

    numbers: width, height, fx, fy, cx, cy. c: the five coefficients.
    """
    if name not in _MODELS:
        raise BadRecording(path, f"{stream} has the distortion model {name}; read are {', '.join(_MODELS)}")
    model = _MODELS[name] if any(c) else "none"
    note = None
    if name == "modified_brown_conrady" and (c[2] or c[3]):
        note = f"{stream}: modified Brown-Conrady read as Brown-Conrady (tangential terms {c[2]}, {c[3]})"
    try:
        intrinsics = Intrinsics(
            fx=float(numbers["fx"]),
            fy=float(numbers["fy"]),
            cx=float(numbers["cx"]),
            cy=float(numbers["cy"]),
            width=int(numbers["width"]),
            height=int(numbers["height"]),
            model=model,
            coefficients=(c[0], c[1], c[2], c[3], c[4]),
        )
    except ValueError as error:
        raise BadRecording(path, f"{stream} has impossible intrinsics: {error}") from error
    return intrinsics, note


def intrinsics_to(rs: Any, intrinsics: Intrinsics) -> Any:
    """librealsense's float32 intrinsics of ours; what that rounds off is kept in the recording's card."""
    out = rs.intrinsics()
    out.width, out.height = intrinsics.width, intrinsics.height
    out.fx, out.fy, out.ppx, out.ppy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    out.model = getattr(rs.distortion, intrinsics.model)
    out.coeffs = list(intrinsics.coefficients)
    return out


def transform_from(path: str, rs_extrinsics: Any) -> NDArray[np.float64]:
    """(4, 4) T_b_a of librealsense's extrinsics from a to b, whose rotation is stored column by column."""
    return transform_of(path, rs_extrinsics.rotation, rs_extrinsics.translation)


def transform_of(path: str, rotation: Sequence[float], translation: Sequence[float]) -> NDArray[np.float64]:
    """The same of librealsense's nine and three numbers by themselves."""
    T = np.eye(4)
    T[:3, :3] = np.asarray(rotation, dtype=np.float64).reshape(3, 3).T
    T[:3, 3] = translation
    try:
        return pose.rigid(T, "T_color_depth")
    except ValueError as error:
        raise BadRecording(path, f"the extrinsics are not a rigid transform: {error}") from error


def transform_to(rs: Any, T_b_a: NDArray[np.float64]) -> Any:
    """librealsense's extrinsics from a to b."""
    out = rs.extrinsics()
    out.rotation = T_b_a[:3, :3].T.ravel().tolist()
    out.translation = T_b_a[:3, 3].tolist()
    return out


def rgb(array: NDArray[Any], width: int, height: int, color_format: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of one colour image as librealsense hands it out. Raises ValueError for a wrong size."""
    channels, conversion = _TO_RGB[color_format]
    stored = np.ascontiguousarray(array).view(np.uint8).reshape(height, width, channels)
    return stored if conversion is None else np.asarray(cv2.cvtColor(stored, conversion), dtype=np.uint8)


def shortest(value: float) -> float:
    """The shortest decimal that is this float32: a depth unit of 0.0001 comes back as 0.0001, not 9.999999747e-05."""
    return float(str(np.float32(value)))


def nanoseconds(timestamp_ms: float) -> int:
    """librealsense's milliseconds as whole nanoseconds, without losing what the float64 holds."""
    whole = int(timestamp_ms // 1.0)
    return whole * 1_000_000 + round((timestamp_ms - whole) * 1e6)
