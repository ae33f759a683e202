"""ScanNet's own recordings, `<scan id>.sens`: one file with every frame, streamed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.scannet.alignment import beside_scan, find_alignment
from scene_r1.sources.scannet.matrix import recorded_pose
from scene_r1.sources.scannet.sens_file import SensFile
from scene_r1.sources.source import SourceInfo

RATE_HZ = 30.0
MAX_TIME_US = (1 << 63) // 1000 - 1


class SensSource(FolderSource):
    """Colour raw, PNG or JPEG; depth uint16, raw or deflated (zlib_ushort); a pose, camera to world, with each frame.

    A frame's time is that of its colour image, in microseconds; many scans have zeros there, and wherever times do
    not advance from each frame to the next, all are made up from 30 Hz. A pose of -infinity, NaN or zeros was lost: the
    frame comes with `T_world_camera` None and is counted (`without_pose`). Where `<scan id>.txt` lies beside the file
    (or in a folder of that name) and has an axisAlignment, poses are in the aligned frame, and `info.notes` says so.
    Of a file that is cut short every whole frame comes, then BadRecording.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        alignment = find_alignment(beside_scan(self._path.parent, self._path.stem))
        self._file = SensFile(self._path)
        header = self._file.header
        self._T_scan = alignment.T_aligned_scan
        times_us = self._file.times_us
        self._times_recorded, said = _judge_times(times_us)
        steps_us = sorted(b - a for a, b in pairwise(times_us)) if self._times_recorded else []
        notes = [alignment.note]
        if said:
            notes.append(said)
        if self._file.whole < header.frames:
            notes.append(f"cut short: {self._file.whole} of {header.frames} frames are whole")
        counters = {"without_pose": 0, "rotation_rounding_ppm": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._path),
                format="scannet",
                frames=header.frames,
                rate_hz=1e6 / steps_us[len(steps_us) // 2] if steps_us else RATE_HZ,
                timestamps="recorded" if self._times_recorded else "assumed",
                color_intrinsics=header.color,
                depth_intrinsics=header.depth,
                T_color_depth=header.T_color_depth,
                depth_scale=header.depth_scale,
                intrinsics_from=f"the file's own calibration (sensor: {header.sensor})",
                has_poses=self._file.posed > 0,
                notes=tuple(notes),
                counters=counters,
            ),
            counters,
        )

    def close(self) -> None:
        super().close()  # first, so that no thread still reads
        self._file.close()

    def _load(self, index: int) -> RgbdFrame:
        header = self._file.header
        record = self._file.record(index)
        size = header.color.width, header.color.height
        if header.color_packing == "raw":
            color = np.frombuffer(record.color, dtype=np.uint8).reshape(size[1], size[0], 3)
        else:
            color = images.decode_color(record.color, self._path, size, index)
        return RgbdFrame(
            index=index,
            timestamp_ns=record.time_us * 1000 if self._times_recorded else round(index * 1e9 / RATE_HZ),
            color=color,
            color_intrinsics=header.color,
            depth_raw=record.depth_raw,
            depth_scale=header.depth_scale,
            depth_intrinsics=header.depth,
            T_color_depth=header.T_color_depth,
            T_world_camera=self._pose(record.matrix, index),
        )

    def _pose(self, matrix: NDArray[np.float64], index: int) -> NDArray[np.float64] | None:
        T_scan_base, rounding = recorded_pose(matrix, self._path, index)
        if T_scan_base is None:
            self._counters["without_pose"] += 1
            return None
        key = "rotation_rounding_ppm"
        self._counters[key] = max(self._counters[key], round(rounding * 1e6))
        return self._T_scan @ T_scan_base @ self._file.header.T_base_color

    def _file_of(self, index: int) -> Path:
        return self._path


def _judge_times(times_us: Sequence[int]) -> tuple[bool, str]:
    """Whether recorded times can be used, and if there are some that cannot, why not."""
    if not any(times_us):
        return False, ""
    if max(times_us) > MAX_TIME_US:
        return False, "recorded times are beyond the range of nanoseconds: made up from 30 Hz"
    for index, (before, after) in enumerate(pairwise(times_us), 1):
        if after <= before:
            return False, f"recorded times do not advance at frame {index}: made up from 30 Hz"
    return True, ""
