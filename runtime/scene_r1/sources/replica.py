"""Renderings of the Replica rooms (Straub et al., 2019) in the layout of NICE-SLAM (Zhu et al., CVPR 2022)."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.camera_file import CAMERA_FILE, CameraFile, read_camera
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.recorded_file import read_text
from scene_r1.sources.scannet.matrix import parse_matrix, recorded_pose
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

RESULTS, TRAJECTORY, PARAMETERS = "results", "traj.txt", "cam_params.json"
IMAGE_FILE = re.compile(r"(frame|depth)([0-9]{1,12})\.(jpg|png)")
PUBLISHED = Intrinsics(600.0, 600.0, 599.5, 339.5, 1200, 680)
"""NICE-SLAM's configs/Replica/replica.yaml; the counts a metre below too."""
COUNTS_PER_M = 6553.5
RATE_HZ = 30.0
MAX_JSON_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """Which images of one frame are there: `frame` and `depth` to file name. number: in the names."""

    number: int
    files: dict[str, str] = field(default_factory=dict)


class ReplicaSource(FolderSource):
    """`results/frame000000.jpg`, `results/depth000000.png` (uint16, 6553.5 counts a metre), `traj.txt`.

    A line of `traj.txt` is a 4x4 camera-to-world matrix (OpenCV axes), row by row: line for frame where there are as
    many lines as frames, else by the frame's number. One of infinity, NaN or zeros is a lost pose; without the file
    there are none. A frame's index is its rank by number; times are made up from 30 Hz. Colour and depth are one
    camera. Its intrinsics and depth scale: `camera.toml`, else `cam_params.json` in the folder or above it, else the
    published 600, 600, 599.5, 339.5 of 1200x680.

    Raises BadRecording at opening for what concerns all frames, else at the frame at fault.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = Path(path)
        self._frames = _list_frames(self._folder / RESULTS)
        camera, intrinsics_from = self._camera()
        self._scale = camera.depth_scale
        notes = []
        self._lines, self._line_of = self._read_trajectory()
        numbers = [one.number for one in self._frames]
        if (numbers[0], numbers[-1]) != (0, len(numbers) - 1):
            said = f"file numbers run from {numbers[0]} to {numbers[-1]} for {len(numbers)} frames"
            notes.append(f"{said}; indices count the frames from 0")
        counters = {"without_pose": 0, "rotation_rounding_ppm": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._folder),
                format="replica",
                frames=len(self._frames),
                rate_hz=camera.rate_hz,
                timestamps="assumed",
                color_intrinsics=camera.color,
                depth_intrinsics=camera.depth,
                T_color_depth=camera.T_color_depth,
                depth_scale=camera.depth_scale,
                intrinsics_from=intrinsics_from,
                has_poses=len(self._lines) > 0,
                notes=tuple(notes),
                counters=counters,
            ),
            counters,
        )

    def _load(self, index: int) -> RgbdFrame:
        info = self.info
        color, depth = info.color_intrinsics, info.depth_intrinsics
        return RgbdFrame(
            index=index,
            timestamp_ns=round(index * 1e9 / info.rate_hz),
            color=images.read_color(self._file_of(index), (color.width, color.height), index),
            color_intrinsics=color,
            depth_raw=images.read_depth(self._image(index, "depth"), (depth.width, depth.height), index),
            depth_scale=self._scale,
            depth_intrinsics=depth,
            T_color_depth=info.T_color_depth,
            T_world_camera=self._pose(index),
        )

    def _file_of(self, index: int) -> Path:
        return self._image(index, "frame")

    def _image(self, index: int, kind: str) -> Path:
        """The file of an image, or where it should be."""
        one = self._frames[index]
        ending = "jpg" if kind == "frame" else "png"
        return self._folder / RESULTS / one.files.get(kind, f"{kind}{one.number:06d}.{ending}")

    def _pose(self, index: int) -> NDArray[np.float64] | None:
        T_world_camera = None
        if self._lines:
            line = self._line_of[index]
            path = self._folder / TRAJECTORY
            matrix = parse_matrix(self._lines[line], path, index, what=f"line {line + 1} ")
            T_world_camera, rounding = recorded_pose(matrix, path, index)
            key = "rotation_rounding_ppm"
            self._counters[key] = max(self._counters[key], round(rounding * 1e6))
        if T_world_camera is None:
            self._counters["without_pose"] += 1
        return T_world_camera

    def _read_trajectory(self) -> tuple[list[str], list[int]]:
        """The lines of `traj.txt`, and for each frame which of them is its pose."""
        path = self._folder / TRAJECTORY
        if not os.path.lexists(path):
            return [], []
        lines = read_text(path).rstrip().splitlines()
        numbers = [one.number for one in self._frames]
        if len(lines) == len(numbers):
            return lines, list(range(len(numbers)))
        if numbers[-1] >= len(lines):
            raise BadRecording(
                path, f"has {len(lines)} poses for {len(numbers)} frames of numbers up to {numbers[-1]}: copy it again"
            )
        return lines, numbers

    def _camera(self) -> tuple[CameraFile, str]:
        """The cameras, and in words where their numbers come from."""
        sidecar = self._folder / CAMERA_FILE
        if os.path.lexists(sidecar):
            return read_camera(sidecar), CAMERA_FILE
        for place in (self._folder / PARAMETERS, self._folder.absolute().parent / PARAMETERS):
            if os.path.lexists(place):
                one, scale = _read_parameters(place)
                return CameraFile(one, one, IDENTITY, scale, RATE_HZ), PARAMETERS
        said = f"the published 600, 600, 599.5, 339.5 (no {PARAMETERS})"
        size = images.read_size(self._file_of(0), 0)
        if size != (PUBLISHED.width, PUBLISHED.height):
            raise BadRecording(
                self._file_of(0),
                f"is {size[0]}x{size[1]} pixels, but {said} is of 1200x680: put {PARAMETERS} or a {CAMERA_FILE} there",
                0,
            )
        return CameraFile(PUBLISHED, PUBLISHED, IDENTITY, 1.0 / COUNTS_PER_M, RATE_HZ), said


def looks_like_replica(folder: Path) -> bool:
    """Whether a folder has NICE-SLAM's numbered images in `results/`; nothing is opened."""
    if not (folder / RESULTS).is_dir():
        return False
    with os.scandir(folder / RESULTS) as entries:
        return any(IMAGE_FILE.fullmatch(entry.name) for entry in entries)


def _list_frames(results: Path) -> list[RenderedFrame]:
    """Every frame that has any of its files, so that a missing one is an error of that frame and not a gap."""
    try:
        names = os.listdir(results)
    except (OSError, ValueError) as error:
        raise BadRecording(results, f"cannot be listed ({getattr(error, 'strerror', None) or error})") from error
    frames: dict[int, RenderedFrame] = {}
    for name in names:
        match = IMAGE_FILE.fullmatch(name)
        if match and (match[1] == "frame" or match[3] == "png"):
            number = int(match[2])
            files = frames.setdefault(number, RenderedFrame(number)).files
            if match[1] in files:
                raise BadRecording(results / name, f"is a second image of frame {number}, beside {files[match[1]]}")
            files[match[1]] = name
    if not frames:
        raise BadRecording(results, "has no frame000000.jpg and depth000000.png in it")
    return sorted(frames.values(), key=lambda one: one.number)


def _read_parameters(path: Path) -> tuple[Intrinsics, float]:
    """The camera, and metres per count, from `{"camera": {"w", "h", "fx", "fy", "cx", "cy", "scale"}}`."""
    try:
        camera = json.loads(read_text(path, limit_bytes=MAX_JSON_BYTES))["camera"]
        values = [camera[key] for key in ("fx", "fy", "cx", "cy", "w", "h", "scale")]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            raise ValueError("every value must be a number")
        one, scale = Intrinsics(*values[:6]), values[6]
    except KeyError as error:
        raise BadRecording(path, f"lacks the key {error}: it is a camera of w, h, fx, fy, cx, cy, scale") from None
    except (ValueError, TypeError, RecursionError, OverflowError, BadIntrinsics) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"is no camera of w, h, fx, fy, cx, cy, scale ({str(error)[:200]})") from None
    if not 10.0 <= scale <= 1e6:
        raise BadRecording(path, f"has a depth scale of {scale} counts a metre; 10 to 1000000 make sense")
    return one, 1.0 / scale
