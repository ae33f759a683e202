"""Recordings in the layout of the 7-Scenes data set (Shotton et al., CVPR 2013): one folder, three files a frame."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.camera_file import CAMERA_FILE, CameraFile, read_camera
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.recorded_file import parse_floats, read_text
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadFrame, BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

FRAME_FILE = re.compile(r"(frame-([0-9]{1,12}))\.(color\.png|color\.jpg|color\.jpeg|depth\.png|pose\.txt)")
SEQUENCE_FOLDER = re.compile(r"seq-[0-9]+")
INTRINSICS_FILE = "camera-intrinsics.txt"
TIMESTAMPS_FILE = "timestamps.txt"
DEPTH_SCALE = 0.001
RATE_HZ = 30.0
USUAL = Intrinsics(585.0, 585.0, 320.0, 240.0, 640, 480)
"""The data set publishes no calibration; this is the Kinect's nominal one, used by all who evaluate on it."""
MAX_POSE_BYTES = 16 << 10


@dataclass(slots=True)
class FrameFiles:
    """Which files of one frame are there. number: in its name, which need not be its index."""

    stem: str
    number: int
    suffixes: set[str] = field(default_factory=set)


class SevenScenesSource(FolderSource):
    """`frame-XXXXXX.color.{png,jpg}`, `.depth.png` (uint16, millimetres, 0 and 65535 = no return), `.pose.txt`.

    The pose is a 4x4 camera-to-world matrix; a frame whose pose file is missing or holds NaN or infinity is a lost
    pose: it comes with `T_world_camera` None and is counted (`without_pose`). A frame's index is its rank by number.
    Intrinsics: `camera.toml`, else `camera-intrinsics.txt` (3x3; in the folder, or beside it for a seq-XX folder),
    else the data set's usual 585, 585, 320, 240. Times: `timestamps.txt` (one whole nanosecond count a frame), else
    made up from the rate. A scene folder with a single seq-XX folder opens that one.

    Raises BadRecording at opening for what concerns all frames, else at the frame at fault.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = _sequence_folder(Path(path))
        self._files = _list_frames(self._folder)
        camera, intrinsics_from = self._camera()
        self._timestamps_ns = self._read_timestamps()
        self._scale = camera.depth_scale
        self._T_color_depth = camera.T_color_depth
        has_poses = any("pose.txt" in one.suffixes for one in self._files)
        counters = {"without_pose": 0, "rotation_rounding_ppm": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._folder),
                format="seven_scenes",
                frames=len(self._files),
                rate_hz=camera.rate_hz,
                timestamps="assumed" if self._timestamps_ns is None else "recorded",
                color_intrinsics=camera.color,
                depth_intrinsics=camera.depth,
                T_color_depth=camera.T_color_depth,
                depth_scale=camera.depth_scale,
                intrinsics_from=intrinsics_from,
                has_poses=has_poses,
                notes=_numbering_notes(self._files),
                counters=counters,
            ),
            counters,
        )

    def _load(self, index: int) -> RgbdFrame:
        info = self.info
        color, depth = info.color_intrinsics, info.depth_intrinsics
        if self._timestamps_ns is None:
            timestamp_ns = round(index * 1e9 / info.rate_hz)
        else:
            timestamp_ns = self._timestamps_ns[index]
        return RgbdFrame(
            index=index,
            timestamp_ns=timestamp_ns,
            color=images.read_color(self._file_of(index), (color.width, color.height), index),
            color_intrinsics=color,
            depth_raw=images.read_depth(self._depth_file(index), (depth.width, depth.height), index),
            depth_scale=self._scale,
            depth_intrinsics=depth,
            T_color_depth=self._T_color_depth,
            T_world_camera=self._read_pose(index),
        )

    def _file_of(self, index: int) -> Path:
        one = self._files[index]
        color = sorted(suffix for suffix in one.suffixes if suffix.startswith("color."))
        return self._folder / f"{one.stem}.{color[0] if color else 'color.png'}"

    def _depth_file(self, index: int) -> Path:
        return self._folder / f"{self._files[index].stem}.depth.png"

    def _read_pose(self, index: int) -> NDArray[np.float64] | None:
        one = self._files[index]
        T = None
        if "pose.txt" in one.suffixes:
            path = self._folder / f"{one.stem}.pose.txt"
            T, rounding = read_pose(path, index)
            key = "rotation_rounding_ppm"
            self._counters[key] = max(self._counters[key], round(rounding * 1e6))
        if T is None:
            self._counters["without_pose"] += 1
        return T

    def _camera(self) -> tuple[CameraFile, str]:
        """The cameras, and in words where their numbers come from."""
        sidecar = self._folder / CAMERA_FILE
        if os.path.lexists(sidecar):
            return read_camera(sidecar), CAMERA_FILE
        color_size = images.read_size(self._file_of(0), 0)
        depth_size = images.read_size(self._depth_file(0), 0)
        if color_size != depth_size:
            raise BadRecording(
                self._folder,
                f"colour is {color_size[0]}x{color_size[1]} and depth {depth_size[0]}x{depth_size[1]} pixels: "
                f"two cameras need a {CAMERA_FILE} that describes both",
            )
        places = [self._folder]
        if SEQUENCE_FOLDER.fullmatch(self._folder.resolve().name):
            places.append(self._folder.resolve().parent)
        for place in places:
            if os.path.lexists(place / INTRINSICS_FILE):
                one = _read_K(place / INTRINSICS_FILE, color_size)
                return CameraFile(one, one, IDENTITY, DEPTH_SCALE, RATE_HZ), INTRINSICS_FILE
        if color_size != (USUAL.width, USUAL.height):
            raise BadRecording(
                self._folder / INTRINSICS_FILE,
                f"is missing, and images of {color_size[0]}x{color_size[1]} pixels are not the data set's 640x480: "
                f"write the 3x3 matrix there, or a {CAMERA_FILE}",
            )
        said = f"the data set's usual 585, 585, 320, 240 (no {INTRINSICS_FILE})"
        return CameraFile(USUAL, USUAL, IDENTITY, DEPTH_SCALE, RATE_HZ), said

    def _read_timestamps(self) -> list[int] | None:
        path = self._folder / TIMESTAMPS_FILE
        if not os.path.lexists(path):
            return None
        words = read_text(path).split()
        if len(words) != len(self._files):
            raise BadRecording(path, f"has {len(words)} times for {len(self._files)} frames: one line for each frame")
        for number, word in enumerate(words, 1):
            if not re.fullmatch(r"-?[0-9]{1,19}", word) or abs(int(word)) >= 1 << 63:
                raise BadRecording(path, f"line {number} is {word[:40]!r}, not a whole number of nanoseconds")
        return [int(word) for word in words]


def read_pose(path: Path, frame: int | None = None) -> tuple[NDArray[np.float64] | None, float]:
    """A 4x4 camera-to-world matrix from a text file, and how far its rotation is off orthonormal.

    Returns ((4, 4) float64 or None where the pose is lost: NaN or infinity in it, largest |singular value - 1|).
    Raises BadRecording when the file does not hold 16 numbers, or no rigid transform.
    """
    try:
        numbers = parse_floats(read_text(path, frame, MAX_POSE_BYTES))
    except ValueError as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"{error}: a pose is 16 numbers", frame) from None
    if len(numbers) != 16:
        raise BadRecording(path, f"holds {len(numbers)} numbers, not the 16 of a 4x4 matrix", frame)
    T = np.array(numbers).reshape(4, 4)
    if not np.all(np.isfinite(T)):
        return None, 0.0
    try:
        checked = pose.rigid(T)
    except (BadFrame, np.linalg.LinAlgError) as error:
        raise BadRecording(path, str(error), frame) from None
    return checked, float(np.abs(np.linalg.svd(T[:3, :3], compute_uv=False) - 1.0).max())


def looks_like_seven_scenes(folder: Path) -> bool:
    """Whether a folder has a 7-Scenes frame or sequence folder in it; nothing is opened."""
    with os.scandir(folder) as entries:
        return any(FRAME_FILE.fullmatch(entry.name) or SEQUENCE_FOLDER.fullmatch(entry.name) for entry in entries)


def _sequence_folder(folder: Path) -> Path:
    names = _names(folder)
    if any(FRAME_FILE.fullmatch(name) for name in names):
        return folder
    sequences = sorted(name for name in names if SEQUENCE_FOLDER.fullmatch(name))
    if len(sequences) == 1:
        return folder / sequences[0]
    if sequences:
        shown = ", ".join(sequences[:20])
        raise BadRecording(folder, f"holds {len(sequences)} sequences ({shown}): open one of them")
    raise BadRecording(folder, "has no frame-XXXXXX.color.png, .depth.png and .pose.txt in it")


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (OSError, ValueError) as error:
        raise BadRecording(folder, f"cannot be listed ({getattr(error, 'strerror', None) or error})") from error


def _list_frames(folder: Path) -> list[FrameFiles]:
    """Every frame that has any of its files, so that a missing one is an error of that frame and not a gap."""
    frames: dict[str, FrameFiles] = {}
    for name in _names(folder):
        match = FRAME_FILE.fullmatch(name)
        if match:
            stem, number, suffix = match.groups()
            frames.setdefault(stem, FrameFiles(stem, int(number))).suffixes.add(suffix)
    if not frames:
        raise BadRecording(folder, "has no frame-XXXXXX.color.png, .depth.png and .pose.txt in it")
    return sorted(frames.values(), key=lambda one: (one.number, one.stem))


def _numbering_notes(files: list[FrameFiles]) -> tuple[str, ...]:
    first, last = files[0].number, files[-1].number
    if (first, last) == (0, len(files) - 1):
        return ()
    return (f"file numbers run from {first} to {last} for {len(files)} frames; indices count the frames from 0",)


def _read_K(path: Path, size: tuple[int, int]) -> Intrinsics:
    try:
        numbers = parse_floats(read_text(path, limit_bytes=MAX_POSE_BYTES))
        if len(numbers) != 9:
            raise BadRecording(path, f"holds {len(numbers)} numbers, not the 9 of a 3x3 matrix")
        return Intrinsics.from_K(np.array(numbers).reshape(3, 3), *size)
    except BadRecording:
        raise
    except (ValueError, BadIntrinsics) as error:
        raise BadRecording(path, f"{error}: the file is a 3x3 pinhole matrix") from None
