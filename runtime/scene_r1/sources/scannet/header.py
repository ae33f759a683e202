"""The header of a `.sens` file: both cameras, how their images are packed, and how many frames follow."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY
from scene_r1.sources.images import MAX_PIXELS
from scene_r1_engines.errors import BadFrame, BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

VERSION = 4
MAX_NAME_BYTES = 4096
MAX_FRAMES = 1_000_000
"""Nine hours at 30 Hz; the longest scan of the data set has some 6,000."""
START = struct.Struct("<IQ")
BODY = struct.Struct("<16f16f16f16fiiIIIIfQ")
MAX_HEADER_BYTES = START.size + MAX_NAME_BYTES + BODY.size

COLOR_PACKING = {-1: "unknown", 0: "raw", 1: "png", 2: "jpeg"}
DEPTH_PACKING = {-1: "unknown", 0: "raw_ushort", 1: "zlib_ushort", 2: "occi_ushort"}
READ_COLOR, READ_DEPTH = ("raw", "png", "jpeg"), ("raw_ushort", "zlib_ushort")


@dataclass(frozen=True, slots=True, eq=False)
class SensHeader:
    """What a `.sens` file says before its first frame.

    sensor: its name for people. color, depth: the cameras. T_base_color, T_color_depth: (4, 4) float64; the base is
    the frame whose pose is recorded. color_packing, depth_packing: one of READ_COLOR and READ_DEPTH.
    depth_scale: metres per count. frames: as many as the file claims. frames_at: byte at which the first one begins.
    """

    sensor: str
    color: Intrinsics
    depth: Intrinsics
    T_base_color: NDArray[np.float64]
    T_color_depth: NDArray[np.float64]
    color_packing: str
    depth_packing: str
    depth_scale: float
    frames: int
    frames_at: int


def parse_header(data: bytes, path: Path) -> SensHeader:
    """The header from the first MAX_HEADER_BYTES of a file, or all of it. Raises BadRecording saying what is wrong.

    Layout: ScanNet's SensReader (sensorData.h, version 4). An extrinsic maps points of its camera to the base frame
    "(typically it's depth to color; and the color extrinsic is the identity)", says its comment, and the tool that
    registered the published scans (Calibrate/src/calibration.h) multiplies depth points by it to get colour points.
    """
    if len(data) < START.size:
        raise BadRecording(path, f"is cut short: {len(data)} bytes are no .sens header; copy it again")
    version, name_bytes = START.unpack_from(data)
    if version != VERSION:
        raise BadRecording(path, f"is no .sens file of version {VERSION} (it begins with {version})")
    if name_bytes > MAX_NAME_BYTES:
        raise BadRecording(path, f"claims a sensor's name of {name_bytes} bytes, more than {MAX_NAME_BYTES}: damaged")
    at = START.size + name_bytes
    if len(data) < at + BODY.size:
        raise BadRecording(path, f"is cut short inside its header, after {len(data)} bytes: copy it again")
    values = BODY.unpack_from(data, at)
    K_color, E_color, K_depth, E_depth = (np.array(values[i : i + 16]).reshape(4, 4) for i in (0, 16, 32, 48))
    color_packing, depth_packing = _packing(path, *values[64:66])
    color_width, color_height, depth_width, depth_height, depth_shift, frames = values[66:]
    if not (math.isfinite(depth_shift) and 10.0 <= depth_shift <= 1e6):
        raise BadRecording(path, f"has a depth shift of {depth_shift!r} counts a metre; 10 to 1000000 make sense")
    if frames > MAX_FRAMES:
        raise BadRecording(path, f"claims {frames} frames, more than {MAX_FRAMES}: its header is damaged")
    if frames == 0:
        raise BadRecording(path, "holds no frames: its recorder writes their number last, and was cut off before")
    T_base_color = _rigid(path, E_color, "the colour extrinsic")
    T_base_depth = _rigid(path, E_depth, "the depth extrinsic")
    return SensHeader(
        sensor=_printable(data[START.size : at]),
        color=_intrinsics(path, "colour", K_color, color_width, color_height),
        depth=_intrinsics(path, "depth", K_depth, depth_width, depth_height),
        T_base_color=T_base_color,
        T_color_depth=_or_identity(pose.inverse(T_base_color) @ T_base_depth),
        color_packing=color_packing,
        depth_packing=depth_packing,
        # The shift is a float32; one over it is the nearest double to 0.001.
        depth_scale=1.0 / depth_shift,
        frames=frames,
        frames_at=at + BODY.size,
    )


def _packing(path: Path, color: int, depth: int) -> tuple[str, str]:
    names = COLOR_PACKING.get(color, str(color)), DEPTH_PACKING.get(depth, str(depth))
    if names[0] not in READ_COLOR:
        raise BadRecording(path, f"packs colour as {names[0]!r}; read are {', '.join(READ_COLOR)}: convert it")
    if names[1] not in READ_DEPTH:
        raise BadRecording(path, f"packs depth as {names[1]!r}; read are {', '.join(READ_DEPTH)}: convert it")
    return names


def _intrinsics(path: Path, which: str, K: NDArray[np.float64], width: int, height: int) -> Intrinsics:
    if width * height > MAX_PIXELS:
        raise BadRecording(path, f"claims {which} of {width}x{height} pixels, more than {MAX_PIXELS}: damaged")
    try:
        return Intrinsics.from_K(K[:3, :3], width, height)
    except BadIntrinsics as error:
        raise BadRecording(path, f"{which} camera: {error}") from None


def _rigid(path: Path, T: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    try:
        return _or_identity(pose.rigid(T, name))
    except (BadFrame, np.linalg.LinAlgError) as error:
        raise BadRecording(path, str(error)) from None


def _or_identity(T: NDArray[np.float64]) -> NDArray[np.float64]:
    # The very object: a frame whose transform it is counts as one camera, without comparing.
    return IDENTITY if np.array_equal(T, IDENTITY) else T


def _printable(name: bytes) -> str:
    text = name[:80].decode("ascii", errors="replace")
    return "".join(c if c.isprintable() else "?" for c in text) or "unknown"
