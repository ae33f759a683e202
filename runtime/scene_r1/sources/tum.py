"""Recordings in the layout of the TUM RGB-D benchmark (Sturm et al., IROS 2012): lists of times and file names."""

from __future__ import annotations

import os
import re
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path, PurePosixPath

from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.association import CrowdedTimes, associate
from scene_r1.sources.camera_file import CAMERA_FILE, CameraFile, read_camera
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.recorded_file import parse_floats, read_text
from scene_r1.sources.source import SourceInfo
from scene_r1.sources.trajectory import Trajectory
from scene_r1_engines.errors import BadFrame, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

COLOR_LIST, DEPTH_LIST, POSE_LIST = "rgb.txt", "depth.txt", "groundtruth.txt"
DEPTH_SCALE = 1.0 / 5000.0
RATE_HZ = 30.0
MAX_PAIR_DT_NS = 20_000_000
MAX_INTERPOLATION_NS = 100_000_000
MAX_TIME_S = Decimal(1 << 33)

ROS_DEFAULT = Intrinsics(525.0, 525.0, 319.5, 239.5, 640, 480)
FREIBURG = {
    # https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats, "Calibration of the color camera". Depth is
    # registered to colour in these files, so the one model holds for both images.
    "1": Intrinsics(517.3, 516.5, 318.6, 255.3, 640, 480, "brown_conrady", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "2": Intrinsics(520.9, 521.0, 325.1, 249.7, 640, 480, "brown_conrady", (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "3": Intrinsics(535.4, 539.2, 320.1, 247.6, 640, 480),
}


class TumSource(FolderSource):
    """`rgb.txt` and `depth.txt` (time, file name), `groundtruth.txt` (time tx ty tz qx qy qz qw), depth / 5000.

    A colour and a depth image belong together when they are nearest in time, less than 0.02 s apart, as the
    benchmark's associate.py pairs them: best pairs first, each image once. The frame's time is the colour image's.
    Its pose is interpolated (linear, slerp) between poses at most 0.1 s apart, else the nearest within 0.02 s, else
    None and counted (`without_pose`). Intrinsics: `camera.toml`, else the published ones of freiburg1/2/3, known by
    the folder's name, else the ROS default 525, 525, 319.5, 239.5.

    Raises BadRecording at opening for what concerns all frames, else at the frame at fault.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = Path(path)
        colors = _read_list(self._folder / COLOR_LIST)
        depths = _read_list(self._folder / DEPTH_LIST)
        color_ns = [time_ns for time_ns, _ in colors]
        try:
            pairs = associate(color_ns, [time_ns for time_ns, _ in depths], MAX_PAIR_DT_NS)
        except CrowdedTimes as error:
            raise BadRecording(self._folder / COLOR_LIST, str(error)) from None
        if not pairs:
            raise BadRecording(
                self._folder / DEPTH_LIST,
                f"none of its {len(depths)} images is within {MAX_PAIR_DT_NS / 1e9:g} s of one in {COLOR_LIST}",
            )
        self._pairs = [(colors[i][0], colors[i][1], depths[j][1]) for i, j in pairs]
        camera, intrinsics_from = self._camera()
        self._scale = camera.depth_scale
        self._T_color_depth = camera.T_color_depth
        self._trajectory = self._read_poses(camera.poses_at_frames)
        steps = sorted(b[0] - a[0] for a, b in pairwise(self._pairs))
        notes = []
        if len(pairs) < max(len(colors), len(depths)):
            notes.append(f"{len(pairs)} pairs of {len(colors)} colour and {len(depths)} depth images")
        counters = {"without_pose": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._folder),
                format="tum",
                frames=len(pairs),
                rate_hz=1e9 / steps[len(steps) // 2] if steps else camera.rate_hz,
                timestamps="recorded",
                color_intrinsics=camera.color,
                depth_intrinsics=camera.depth,
                T_color_depth=camera.T_color_depth,
                depth_scale=camera.depth_scale,
                intrinsics_from=intrinsics_from,
                has_poses=len(self._trajectory) > 0,
                notes=tuple(notes),
                counters=counters,
            ),
            counters,
        )

    def _load(self, index: int) -> RgbdFrame:
        timestamp_ns, color_name, depth_name = self._pairs[index]
        color, depth = self.info.color_intrinsics, self.info.depth_intrinsics
        T_world_camera = self._trajectory.at(timestamp_ns)
        if T_world_camera is None:
            self._counters["without_pose"] += 1
        return RgbdFrame(
            index=index,
            timestamp_ns=timestamp_ns,
            color=images.read_color(self._folder / color_name, (color.width, color.height), index),
            color_intrinsics=color,
            depth_raw=images.read_depth(self._folder / depth_name, (depth.width, depth.height), index),
            depth_scale=self._scale,
            depth_intrinsics=depth,
            T_color_depth=self._T_color_depth,
            T_world_camera=T_world_camera,
        )

    def _file_of(self, index: int) -> Path:
        return self._folder / self._pairs[index][1]

    def _camera(self) -> tuple[CameraFile, str]:
        """The cameras, and in words where their numbers come from."""
        sidecar = self._folder / CAMERA_FILE
        if os.path.lexists(sidecar):
            return read_camera(sidecar), CAMERA_FILE
        match = re.search(r"freiburg([123])", self._folder.absolute().name)
        if match:
            one, said = FREIBURG[match[1]], f"the published calibration of freiburg{match[1]} (by the folder's name)"
        else:
            one, said = ROS_DEFAULT, f"the ROS default 525, 525, 319.5, 239.5 (no {CAMERA_FILE})"
        for name in self._pairs[0][1:]:
            size = images.read_size(self._folder / name, 0)
            if size != (one.width, one.height):
                raise BadRecording(
                    self._folder / name,
                    f"is {size[0]}x{size[1]} pixels, but {said} is of 640x480: write a {CAMERA_FILE}",
                    0,
                )
        return CameraFile(one, one, IDENTITY, DEPTH_SCALE, RATE_HZ), said

    def _read_poses(self, exact: bool) -> Trajectory:
        path = self._folder / POSE_LIST
        within_ns = 0 if exact else MAX_PAIR_DT_NS
        between_ns = 0 if exact else MAX_INTERPOLATION_NS
        rows = []
        if os.path.lexists(path):
            for number, line in _lines(path):
                words = line.split()
                if len(words) != 8:
                    raise BadRecording(path, f"line {number} has {len(words)} fields, not t tx ty tz qx qy qz qw")
                try:
                    rows.append((parse_time_ns(words[0]), tuple(parse_floats(" ".join(words[1:])))))
                except ValueError as error:
                    raise BadRecording(path, f"line {number}: {error}") from None
        try:
            return Trajectory(rows, within_ns, between_ns)
        except BadFrame as error:
            raise BadRecording(path, str(error)) from None


def parse_time_ns(word: str) -> int:
    """Whole nanoseconds of a time in decimal seconds, without going through a float (which ends at 200 ns today)."""
    try:
        seconds = Decimal(word) if len(word) <= 40 else None
    except InvalidOperation:
        seconds = None
    if seconds is None or not seconds.is_finite() or not 0 <= seconds < MAX_TIME_S:
        raise ValueError(f"{word[:40]!r} is not a time in seconds")
    return round(seconds * 1_000_000_000)


def looks_like_tum(folder: Path) -> bool:
    """Whether a folder has one of the benchmark's image lists in it; nothing is opened."""
    return any(os.path.lexists(folder / name) for name in (COLOR_LIST, DEPTH_LIST))


def _read_list(path: Path) -> list[tuple[int, str]]:
    """(time in ns, file name) by time, from `rgb.txt` or `depth.txt`."""
    rows: dict[int, str] = {}
    for number, line in _lines(path):
        words = line.split(maxsplit=1)
        if len(words) != 2:
            raise BadRecording(path, f"line {number} must be a time and a file name, got {line[:60]!r}")
        try:
            time_ns = parse_time_ns(words[0])
        except ValueError as error:
            raise BadRecording(path, f"line {number}: {error}") from None
        name = words[1].strip()
        if not _stays_inside(name):
            raise BadRecording(path, f"line {number} names {name[:60]!r}: only files inside the recording are read")
        if time_ns in rows:
            raise BadRecording(path, f"line {number} repeats the time {words[0]}: each image has a time of its own")
        rows[time_ns] = name
    if not rows:
        raise BadRecording(path, "lists no images")
    return sorted(rows.items())


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in name and name.isprintable()


def _lines(path: Path) -> list[tuple[int, str]]:
    """(line number, text) of what is neither blank nor a comment."""
    numbered = ((number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]
