"""Pixels of sensor_msgs/Image and sensor_msgs/CompressedImage, checked before they are looked at."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import depth_counts
from scene_r1.sources import images
from scene_r1_engines.errors import BadRecording

MILLIMETRE = 0.001
"""Metres per count of 16UC1 depth (REP 118)."""
FLOAT_STEP_M = 0.00025
"""Metres per count into which 32FC1 depth, which is in metres (REP 118), is written: up to 16.4 m."""
_COLOR: dict[str, tuple[int, int | None]] = {
    # encoding: bytes a pixel, OpenCV's conversion to RGB (None: it is RGB)
    "rgb8": (3, None),
    "8uc3": (3, cv2.COLOR_BGR2RGB),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8uc4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8uc1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
_DEPTH: dict[str, np.dtype[Any]] = {
    "16uc1": np.dtype(np.uint16),
    "mono16": np.dtype(np.uint16),
    "32fc1": np.dtype(np.float32),
}
_DEPTH_HEADER = struct.Struct("<iff")
"""Before the PNG of a compressedDepth image: format, and a and b of depth = a / (count - b) for 32FC1."""


def is_compressed(message: Any) -> bool:
    return hasattr(message, "format")


def depth_encoding(message: Any) -> str:
    """`16uc1` or `32fc1`, or what else the depth image says it is."""
    said = str(message.format).split(";")[0] if is_compressed(message) else str(message.encoding)
    said = said.strip().lower()
    return "16uc1" if said in ("mono16", "png", "") else said


def depth_step_m(message: Any) -> float:
    """Metres per count of what `decode_depth` makes of such images."""
    return FLOAT_STEP_M if depth_encoding(message) == "32fc1" else MILLIMETRE


def decode_color(message: Any, size: tuple[int, int], path: str | os.PathLike[str], frame: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. size: (width, height) in pixels, of CameraInfo. Raises BadRecording."""
    if is_compressed(message):
        return images.decode_color(bytes(message.data), Path(path), size, frame)
    name = str(message.encoding).lower()
    if name not in _COLOR:
        known = ", ".join(_COLOR)
        raise BadRecording(path, f"its colour images are encoded as {name[:40]!r}; read are {known}", frame)
    channels, conversion = _COLOR[name]
    pixels = _rows(message, np.dtype(np.uint8), channels, size, path, frame)
    if conversion is None:
        return pixels
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion), dtype=np.uint8)
    except cv2.error as error:  # an odd width of an encoding that shares colour between two pixels
        raise BadRecording(path, f"a colour image of {name} does not convert ({error.err})", frame) from error


def decode_depth(
    message: Any, size: tuple[int, int], encoding: str, path: str | os.PathLike[str], frame: int
) -> NDArray[np.uint16]:
    """(h, w) uint16 counts: millimetres of 16UC1, quarter millimetres of 32FC1. Raises BadRecording.

    encoding: that of the recording's first depth image, which all must have.
    """
    name = depth_encoding(message)
    if name not in _DEPTH or name != encoding:
        reason = f"a depth image is encoded as {name[:40]!r}"
        wanted = f"and the first as {encoding!r}" if name in _DEPTH else "read are 16UC1 and 32FC1"
        raise BadRecording(path, f"{reason}; {wanted}", frame)
    if is_compressed(message):
        return _decompressed_depth(message, size, name, Path(path), frame)
    pixels = _rows(message, _DEPTH[name], 1, size, path, frame)[:, :, 0]
    return depth_counts(pixels, FLOAT_STEP_M) if name == "32fc1" else np.ascontiguousarray(pixels, dtype=np.uint16)


def _decompressed_depth(message: Any, size: tuple[int, int], name: str, path: Path, frame: int) -> NDArray[np.uint16]:
    data = bytes(message.data)
    if data.startswith(images.PNG):
        counts = images.decode_depth(data, path, size, frame)
        if name == "32fc1":
            raise BadRecording(path, "a 32FC1 depth image lacks the header that says what its counts mean", frame)
        return counts
    if len(data) <= _DEPTH_HEADER.size:
        raise BadRecording(path, f"a compressed depth image has only {len(data)} bytes", frame)
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    if not data.startswith(images.PNG, _DEPTH_HEADER.size):
        raise BadRecording(path, f"a depth image is compressed as {str(message.format)[:60]!r}; read is png", frame)
    counts = images.decode_depth(data[_DEPTH_HEADER.size :], path, size, frame)
    if name == "16uc1":
        return counts
    # compressed_depth_image_transport quantises inverse depth; 0 is no return.
    with np.errstate(all="ignore"):
        depth_m = np.where(counts > 0, np.float64(a) / (counts.astype(np.float64) - np.float64(b)), 0.0)
    return depth_counts(depth_m, FLOAT_STEP_M)


def _rows(
    message: Any, dtype: np.dtype[Any], channels: int, size: tuple[int, int], path: str | os.PathLike[str], frame: int
) -> NDArray[Any]:
    """(H, W, channels) of an uncompressed image, without the padding at the end of its rows."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    if (width, height) != size:
        raise BadRecording(
            path, f"an image is {width}x{height} pixels, but its camera_info is of {size[0]}x{size[1]}", frame
        )
    needed = width * channels * dtype.itemsize
    data = np.asarray(message.data, dtype=np.uint8)
    if step < needed or data.size != height * step:
        raise BadRecording(
            path,
            f"an image of {height} rows has {step} bytes a row and {data.size} in all; {height * max(step, needed)} "
            "are needed: its publisher or the recording is broken",
            frame,
        )
    stored = dtype.newbyteorder(">" if message.is_bigendian else "<")
    rows = np.ascontiguousarray(data.reshape(height, step)[:, :needed])
    return np.asarray(rows.view(stored).reshape(height, width, channels), dtype=dtype)
