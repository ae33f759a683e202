"""Writes ScanNet's `.sens` files, for benchmarks and tests of their reader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

COLOR_CODES = {"unknown": -1, "raw": 0, "png": 1, "jpeg": 2}
DEPTH_CODES = {"unknown": -1, "raw_ushort": 0, "zlib_ushort": 1, "occi_ushort": 2}
LOST: NDArray[np.float64] = np.full((4, 4), -np.inf)


class SensWriter:
    """Appends packed frames to a `.sens` file; the layout is that of ScanNet's SensReader (sensorData.h, version 4).

    T_base_color, T_base_depth: (4, 4) the extrinsics. depth_shift: counts a metre. frames: the number in the header,
    which need not be true.
    """

    def __init__(
        self,
        path: Path,
        color: Intrinsics,
        depth: Intrinsics,
        frames: int,
        *,
        packing: tuple[str, str] = ("jpeg", "zlib_ushort"),
        T_base_color: ArrayLike = IDENTITY,
        T_base_depth: ArrayLike = IDENTITY,
        depth_shift: float = 1000.0,
        sensor: bytes = b"StructureSensor",
    ) -> None:
        self._packing = packing
        self._file: BinaryIO = path.open("wb")
        self._file.write(struct.pack("<IQ", 4, len(sensor)) + sensor)
        for matrix in (_K(color), T_base_color, _K(depth), T_base_depth):
            self._file.write(_floats(matrix))
        self._file.write(struct.pack("<ii", COLOR_CODES[packing[0]], DEPTH_CODES[packing[1]]))
        sides = color.width, color.height, depth.width, depth.height
        self._file.write(struct.pack("<4IfQ", *sides, depth_shift, frames))

    def append(self, matrix: ArrayLike, time_us: int, color: bytes, depth: bytes) -> None:
        """One frame of packed images. matrix: (4, 4) base frame to world."""
        self._file.write(_floats(matrix) + struct.pack("<4Q", time_us, time_us, len(color), len(depth)) + color + depth)

    def add(self, frame: RgbdFrame, matrix: ArrayLike, time_us: int) -> None:
        """One frame, packed here."""
        self.append(matrix, time_us, *pack(frame, self._packing))

    def add_imu(self, count: int) -> None:
        """What follows the frames: IMU records of 15 doubles and a time."""
        self._file.write(struct.pack("<Q", count) + bytes(128 * count))

    def __enter__(self) -> SensWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def pack(frame: RgbdFrame, packing: tuple[str, str] = ("jpeg", "zlib_ushort")) -> tuple[bytes, bytes]:
    """Colour and depth of a frame as the file holds them."""
    if packing[0] == "raw":
        color = frame.color.tobytes()
    else:
        ending = ".jpg" if packing[0] == "jpeg" else ".png"
        color = cv2.imencode(ending, cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR))[1].tobytes()
    depth = frame.depth_raw.astype("<u2").tobytes()
    return color, zlib.compress(depth) if packing[1] == "zlib_ushort" else depth


def write_sens(
    path: Path,
    frames: Iterable[RgbdFrame],
    *,
    packing: tuple[str, str] = ("png", "zlib_ushort"),
    T_base_color: NDArray[np.float64] = IDENTITY,
    timed: bool = True,
    imu: int = 0,
) -> Path:
    """A whole recording. Poses and times are the frames'; one without a pose is written as lost. timed: else zeros."""
    given = list(frames)
    first = given[0]
    with SensWriter(
        path,
        first.color_intrinsics,
        first.depth_intrinsics,
        len(given),
        packing=packing,
        T_base_color=T_base_color,
        T_base_depth=T_base_color @ first.T_color_depth,
        depth_shift=1.0 / first.depth_scale,
    ) as writer:
        T_color_base = pose.inverse(T_base_color)
        for frame in given:
            T = frame.T_world_camera
            matrix = LOST if T is None else T @ T_color_base
            writer.add(frame, matrix, frame.timestamp_ns // 1000 if timed else 0)
        writer.add_imu(imu)
    return path


def _K(one: Intrinsics) -> NDArray[np.float64]:
    K = np.eye(4)
    K[:3, :3] = one.K
    return K


def _floats(matrix: ArrayLike) -> bytes:
    return np.asarray(matrix, dtype="<f4").reshape(16).tobytes()
