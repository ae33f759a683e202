"""The FrameSource over one video of ARKitScenes or SceneFun3D."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.arkit_scenes.pincam import median_intrinsics, read_pincam, read_trajectory
from scene_r1.sources.arkit_scenes.video_folder import Stream, TimedFiles, choose_stream, list_files, video_folder
from scene_r1.sources.association import CrowdedTimes, associate
from scene_r1.sources.confidence import LOWEST_BELIEVED, believed, check_threshold, read_confidence, threshold_note
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.source import SourceInfo
from scene_r1.sources.trajectory import Trajectory
from scene_r1.sources.upright import IN_WORDS, turned_frame, turned_intrinsics, turns_to_upright
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import Intrinsics

DEPTH_SCALE = 0.001
RATE_HZ = 60.0
MAX_PAIR_DT_NS = 5_000_000
"""Streams of 60 Hz share their times; names may differ by a rounded millisecond."""
SAMPLE = 64
"""Pincam files read when opening, for `info`; each frame reads its own."""
DECIDED_BY = 500
"""Poses that decide the turn; a minute has 3600."""


class ArkitScenesSource(FolderSource):
    """`<stream>/<video_id>_<seconds>.png`, depth in millimetres, one `.pincam` a frame, a world-to-camera `.traj`.

    Of the streams whose colour, depth and intrinsics are all there the finest is read: hires_wide, wide, lowres_wide.
    A visit's folder with a single video opens that one. Poses are inverted, and interpolated between neighbours; a
    frame without one has None and is counted (`without_pose`). The world is metric with z up.

    The intrinsics of a frame are its own file's (the phone refocuses); `info` has their median. All frames are turned
    by the same quarter turns, decided from gravity over the whole video (upright.py), and say so in the notes.

    min_confidence: low-resolution depth below it counts as no return (`low_confidence_px`); 0 keeps all. A frame
    without a confidence image keeps its depth and is counted (`without_confidence`).

    Layout after the toolkits of both data sets. Raises BadRecording at opening for what concerns all frames, else at
    the frame at fault; BadConfig for another min_confidence.
    """

    def __init__(self, path: str | os.PathLike[str], min_confidence: int = LOWEST_BELIEVED) -> None:
        self._min_confidence = check_threshold(min_confidence)
        self._folder = video_folder(Path(path))
        self._stream = choose_stream(self._folder)
        colors, depths = list_files(self._folder / self._stream.color), list_files(self._folder / self._stream.depth)
        self._pincams = list_files(self._folder / self._stream.intrinsics)
        self._frames = _pair(self._folder, self._stream, colors, depths)
        self._confidences = self._list_confidences()
        self._trajectory = self._read_poses()
        color = self._median_camera()
        self._color_size = (color.width, color.height)
        self._depth_size = images.read_size(self._frames[0][2], 0)
        self._turns = self._decide_turns()
        steps = sorted(b[0] - a[0] for a, b in pairwise(self._frames))
        counters = {"without_pose": 0, "low_confidence_px": 0, "without_confidence": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._folder),
                format="arkit_scenes",
                frames=len(self._frames),
                rate_hz=1e9 / steps[len(steps) // 2] if steps else RATE_HZ,
                timestamps="recorded",
                color_intrinsics=turned_intrinsics(color, self._turns),
                depth_intrinsics=turned_intrinsics(self._depth_camera(color), self._turns),
                T_color_depth=IDENTITY,
                depth_scale=DEPTH_SCALE,
                intrinsics_from=f"{self._stream.intrinsics}: a frame has its own, the median is shown",
                has_poses=len(self._trajectory) > 0,
                notes=self._notes(len(colors.paths), len(depths.paths)),
                counters=counters,
            ),
            counters,
        )

    def _load(self, index: int) -> RgbdFrame:
        time_ns, color_path, depth_path = self._frames[index]
        camera = self._pincam(time_ns, color_path, index)
        if (camera.width, camera.height) != self._color_size:
            raise BadRecording(
                color_path,
                f"has intrinsics of {camera.width}x{camera.height} pixels, other frames of "
                f"{self._color_size[0]}x{self._color_size[1]}: a video has one size",
                index,
            )
        depth_raw = images.read_depth(depth_path, self._depth_size, index)
        if self._confidences is not None:
            path = self._confidences.nearest(time_ns, MAX_PAIR_DT_NS)
            if path is None:
                self._counters["without_confidence"] += 1
            else:
                confidence = read_confidence(path, self._depth_size, index)
                depth_raw, dropped = believed(depth_raw, confidence, self._min_confidence)
                self._counters["low_confidence_px"] += dropped
        T_world_camera = self._trajectory.at(time_ns)
        if T_world_camera is None:
            self._counters["without_pose"] += 1
        frame = RgbdFrame(
            index=index,
            timestamp_ns=time_ns,
            color=images.read_color(color_path, self._color_size, index),
            color_intrinsics=camera,
            depth_raw=depth_raw,
            depth_scale=DEPTH_SCALE,
            depth_intrinsics=self._depth_camera(camera),
            T_world_camera=T_world_camera,
        )
        return turned_frame(frame, self._turns)

    def _file_of(self, index: int) -> Path:
        return self._frames[index][1]

    def _pincam(self, time_ns: int, color_path: Path, index: int) -> Intrinsics:
        path = self._pincams.nearest(time_ns, MAX_PAIR_DT_NS)
        if path is None:
            raise BadRecording(
                color_path,
                f"has no .pincam within {MAX_PAIR_DT_NS / 1e6:g} ms in {self._stream.intrinsics}: download it again",
                index,
            )
        return read_pincam(path, index)

    def _depth_camera(self, color: Intrinsics) -> Intrinsics:
        # Depth is registered to colour: the same view, at its own size.
        size = self._depth_size
        return color if size == (color.width, color.height) else color.scaled(*size)

    def _median_camera(self) -> Intrinsics:
        count = len(self._frames)
        chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(SAMPLE, count))})
        cameras = [self._pincam(self._frames[i][0], self._frames[i][1], i) for i in chosen]
        return median_intrinsics([one for one in cameras if one.width == cameras[0].width])

    def _list_confidences(self) -> TimedFiles | None:
        name = self._stream.confidence
        if name is None or self._min_confidence == 0 or not (self._folder / name).is_dir():
            return None
        return list_files(self._folder / name)

    def _read_poses(self) -> Trajectory:
        for name in self._stream.trajectories:
            if os.path.lexists(self._folder / name):
                return read_trajectory(self._folder / name)
        return Trajectory([])

    def _decide_turns(self) -> int:
        every = max(1, len(self._frames) // DECIDED_BY)
        known = (self._trajectory.at(time_ns) for time_ns, _, _ in self._frames[::every])
        return turns_to_upright([T for T in known if T is not None])

    def _notes(self, colors: int, depths: int) -> tuple[str, ...]:
        notes = [f"the stream {self._stream.color}"]
        if len(self._frames) < max(colors, depths):
            notes.append(f"{len(self._frames)} pairs of {colors} colour and {depths} depth images")
        if self._turns:
            notes.append(f"frames are turned {IN_WORDS[self._turns]}, so that up is up; poses and intrinsics with them")
        if self._confidences is not None:
            notes.append(threshold_note(self._min_confidence))
        elif self._min_confidence and self._stream.confidence is not None:
            notes.append("no confidence images: all depth is kept")
        if not len(self._trajectory):
            notes.append(f"no poses ({' or '.join(self._stream.trajectories)}): frames are not turned upright")
        return tuple(notes)


def _pair(folder: Path, stream: Stream, colors: TimedFiles, depths: TimedFiles) -> list[tuple[int, Path, Path]]:
    """(time in ns, colour, depth) by time."""
    try:
        pairs = associate(colors.times_ns, depths.times_ns, MAX_PAIR_DT_NS)
    except CrowdedTimes as error:
        raise BadRecording(folder / stream.color, str(error)) from None
    if not pairs:
        raise BadRecording(
            folder / stream.depth,
            f"none of its {len(depths.paths)} images is within {MAX_PAIR_DT_NS / 1e6:g} ms of one in {stream.color}",
        )
    return [(colors.times_ns[i], colors.paths[i], depths.paths[j]) for i, j in pairs]
