"""Recordings of the Stray Scanner app: a video, and a depth image and a pose for each of its pictures."""

from __future__ import annotations

import os
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.confidence import LOWEST_BELIEVED, believed, check_threshold, read_confidence, threshold_note
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.npy_image import read_npy_depth
from scene_r1.sources.recorded_file import parse_floats, read_text
from scene_r1.sources.source import SourceInfo
from scene_r1.sources.stray_odometry import OdometryRow, read_odometry
from scene_r1.sources.upright import IN_WORDS, turned_frame, turned_intrinsics, turns_to_upright
from scene_r1.sources.video import Video
from scene_r1_engines.errors import BadFrame, BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

VIDEO, ODOMETRY, MATRIX = "rgb.mp4", "odometry.csv", "camera_matrix.csv"
DEPTH_SCALE = 0.001
RATE_HZ = 60.0
MAX_MATRIX_BYTES = 4 << 10
UP = (0.0, 1.0, 0.0)
"""ARKit's world has y away from gravity."""


class StrayScannerSource(FolderSource):
    """`rgb.mp4`, `depth/NNNNNN.png` (or `.npy`; uint16, millimetres), `confidence/NNNNNN.png`, `odometry.csv`.

    Row k of the odometry belongs to picture k of the video, and names its depth image. Depth is registered to colour:
    the same view at its own size. Intrinsics: of the row, where the app wrote them there, else `camera_matrix.csv`,
    both in pixels of the video. Times: of the rows, else (old versions) made up from the video's rate.

    Camera axes are OpenCV's already: ARKit's have y up and z backward, and the app turns them about x before it writes
    (q_WA * q_AC in OdometryEncoder.swift of strayrobots/scanner; its StrayVisualizer lifts with T_WC as it is). The
    world is ARKit's: metric, y up. Pictures are the sensor's, sideways where the phone was upright: all are turned by
    the same quarter turns, decided from gravity (upright.py).

    min_confidence: depth below it counts as no return (`low_confidence_px`); 0 keeps all. The app writes no depth while
    ARKit has none: such a frame has no return at all (`without_depth`). Raises BadRecording at opening for what
    concerns all frames, else at the frame at fault; BadConfig for another min_confidence.
    """

    def __init__(self, path: str | os.PathLike[str], min_confidence: int = LOWEST_BELIEVED) -> None:
        self._min_confidence = check_threshold(min_confidence)
        self._folder = Path(path)
        self._videos: list[Video] = []
        self._rows = read_odometry(self._folder / ODOMETRY)
        video = Video(self._folder / VIDEO)
        self._color_size, claimed, rate_hz = video.size, video.frames, video.rate_hz or RATE_HZ
        video.close()
        self._depth_suffix, self._depth_size = self._look_at_depth()
        self._has_confidence = min_confidence > 0 and (self._folder / "confidence").is_dir()
        camera = self._read_matrix()
        self._camera = camera
        self._turns = self._decide_turns()
        self._recorded = all(row.timestamp_ns is not None for row in self._rows)
        if self._recorded:
            steps = sorted((b.timestamp_ns or 0) - (a.timestamp_ns or 0) for a, b in pairwise(self._rows))
            if steps and steps[len(steps) // 2] > 0:
                rate_hz = 1e9 / steps[len(steps) // 2]
        counters = {"without_pose": 0, "without_depth": 0, "low_confidence_px": 0, "without_confidence": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._folder),
                format="stray_scanner",
                frames=len(self._rows),
                rate_hz=rate_hz,
                timestamps="recorded" if self._recorded else "assumed",
                color_intrinsics=turned_intrinsics(camera, self._turns),
                depth_intrinsics=turned_intrinsics(self._depth_camera(camera), self._turns),
                T_color_depth=IDENTITY,
                depth_scale=DEPTH_SCALE,
                intrinsics_from=f"{MATRIX}, of the last frame"
                + ("; each frame has its own" if self._rows[0].camera is not None else ""),
                has_poses=any(row.T_world_camera is not None for row in self._rows),
                notes=self._notes(claimed),
                counters=counters,
            ),
            counters,
        )

    def close(self) -> None:
        super().close()
        for video in self._videos:
            video.close()
        self._videos.clear()

    def _load_all(self) -> Generator[RgbdFrame, None, None]:
        """One decoder runs through the video; frames cannot be asked for out of order."""
        for key in self._counters:
            self._counters[key] = 0
        video = Video(self._folder / VIDEO)
        self._videos.append(video)
        try:
            pictures = iter(video)
            for index in range(len(self._rows)):
                color = next(pictures, None)
                if color is None:
                    raise BadRecording(
                        video.path,
                        f"ends after {index} pictures, but {ODOMETRY} has {len(self._rows)} rows: copy it again",
                        index,
                    )
                try:
                    frame = self._frame(index, color)
                except (BadFrame, BadIntrinsics) as error:
                    raise BadRecording(self._file_of(index), str(error), index) from error
                del color
                yield frame
                del frame
        finally:
            video.close()
            if video in self._videos:
                self._videos.remove(video)

    def _load(self, index: int) -> RgbdFrame:
        raise NotImplementedError("a video is read in order: _load_all")

    def _file_of(self, index: int) -> Path:
        return self._folder / ODOMETRY

    def _frame(self, index: int, color: NDArray[np.uint8]) -> RgbdFrame:
        row = self._rows[index]
        camera = self._camera
        if row.camera is not None:
            camera = Intrinsics(*row.camera, *self._color_size)
        if row.T_world_camera is None:
            self._counters["without_pose"] += 1
        frame = RgbdFrame(
            index=index,
            timestamp_ns=round(index * 1e9 / self.info.rate_hz) if row.timestamp_ns is None else row.timestamp_ns,
            color=color,
            color_intrinsics=camera,
            depth_raw=self._depth(row, index),
            depth_scale=DEPTH_SCALE,
            depth_intrinsics=self._depth_camera(camera),
            T_world_camera=row.T_world_camera,
        )
        return turned_frame(frame, self._turns)

    def _depth(self, row: OdometryRow, index: int) -> NDArray[np.uint16]:
        path = self._folder / "depth" / f"{row.number:06d}{self._depth_suffix}"
        if not os.path.lexists(path):
            self._counters["without_depth"] += 1
            return np.zeros((self._depth_size[1], self._depth_size[0]), dtype=np.uint16)
        if self._depth_suffix == ".png":
            depth_raw = images.read_depth(path, self._depth_size, index)
        else:
            depth_raw = read_npy_depth(path, self._depth_size, index)
        if not self._has_confidence:
            return depth_raw
        path = self._folder / "confidence" / f"{row.number:06d}.png"
        if not os.path.lexists(path):
            self._counters["without_confidence"] += 1
            return depth_raw
        depth_raw, dropped = believed(depth_raw, read_confidence(path, self._depth_size, index), self._min_confidence)
        self._counters["low_confidence_px"] += dropped
        return depth_raw

    def _depth_camera(self, color: Intrinsics) -> Intrinsics:
        return color if self._depth_size == self._color_size else color.scaled(*self._depth_size)

    def _look_at_depth(self) -> tuple[str, tuple[int, int]]:
        """Suffix and (width, height) of the depth images, by the first one there is."""
        folder = self._folder / "depth"
        for index, row in enumerate(self._rows):
            png, npy = (folder / f"{row.number:06d}{suffix}" for suffix in (".png", ".npy"))
            if os.path.lexists(png):
                return ".png", images.read_size(png, index)
            if os.path.lexists(npy):
                height, width = read_npy_depth(npy, None, index).shape
                return ".npy", (width, height)
        raise BadRecording(
            folder, f"has none of the {len(self._rows)} depth images of {ODOMETRY}: copy the folder again"
        )

    def _read_matrix(self) -> Intrinsics:
        path = self._folder / MATRIX
        try:
            numbers = parse_floats(read_text(path, limit_bytes=MAX_MATRIX_BYTES).replace(",", " "))
            if len(numbers) != 9:
                raise ValueError(f"holds {len(numbers)} numbers, not the 9 of a 3x3 matrix")
            return Intrinsics.from_K(np.array(numbers).reshape(3, 3), *self._color_size)
        except (ValueError, BadIntrinsics) as error:
            if isinstance(error, BadRecording):
                raise
            raise BadRecording(path, str(error)) from None

    def _decide_turns(self) -> int:
        return turns_to_upright([row.T_world_camera for row in self._rows if row.T_world_camera is not None], UP)

    def _notes(self, claimed: int | None) -> tuple[str, ...]:
        notes = ["the world has y up (ARKit)"]
        if self._turns:
            notes.append(f"frames are turned {IN_WORDS[self._turns]}, so that up is up; poses and intrinsics with them")
        if self._has_confidence:
            notes.append(threshold_note(self._min_confidence))
        elif self._min_confidence:
            notes.append("no confidence images: all depth is kept")
        if claimed is not None and claimed != len(self._rows):
            notes.append(f"{VIDEO} claims {claimed} pictures, {ODOMETRY} has {len(self._rows)} rows")
        return tuple(notes)


def looks_like_stray_scanner(folder: Path) -> bool:
    """Whether a folder has the app's video and odometry, or either with its camera matrix; nothing is opened."""
    return sum(os.path.lexists(folder / name) for name in (VIDEO, ODOMETRY, MATRIX)) >= 2
