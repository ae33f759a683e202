"""A ROS bag as a source of RGB-D frames."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

from scene_r1.frame import RgbdFrame
from scene_r1.sources.readings import Readings
from scene_r1.sources.ros import pictures
from scene_r1.sources.ros.storage import open_storage
from scene_r1.sources.ros.stream import BagStream, Found
from scene_r1.sources.ros.survey import Surveyor
from scene_r1.sources.ros.topics import Topics, choose, read_topics
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadFrame, BadRecording


class RosBag:
    """A FrameSource over a .mcap, a ROS 2 bag (its folder, or a bare .db3) or a ROS 1 .bag with standard topics.

    Colour and depth are topics of sensor_msgs/Image or CompressedImage, chosen by their usual names, each with its
    CameraInfo beside it; `topics`, else a `topics.toml` beside the bag, overrides that. Images are paired by header
    stamps, less than 0.02 s apart; a frame's time is its colour image's. 16UC1 depth is in millimetres, 32FC1 in
    metres (REP 118). T_world_camera comes from /tf, from the image's frame (an optical one has OpenCV axes: REP 103)
    to map, odom or world, else from an Odometry or PoseStamped topic; None where transforms are more than 0.5 s apart.
    Two cameras are brought together by /tf_static.

    Reading is one pass in the order of recording. `info.frames` is None: only pairing tells how many there are.
    `info.counters`, live, of the latest `frames()`: frames, without_pose, frames_unpaired (images without a partner)
    and frames_late (images refused because a later one was already out).

    Raises BadRecording naming file, frame and topic; MissingExtra('ros').
    """

    def __init__(self, path: str | os.PathLike[str], topics: Topics | None = None) -> None:
        self._path = Path(path)
        self._storage = open_storage(self._path)
        told = read_topics(self._path) if topics is None else topics
        self._chosen = choose(self._storage.topics, told, self._path)
        self._survey = Surveyor(self._storage, self._chosen, told, self._path).survey()
        self._counters = {"frames": 0, "without_pose": 0, "frames_unpaired": 0, "frames_late": 0}
        self._readings = Readings(self._path)
        survey = self._survey
        kind = self._path.suffix.lower() if self._path.is_file() else "folder"
        self._info = SourceInfo(
            path=os.fspath(self._path),
            format=f"ros {1 if self._storage.ros1 else 2} {kind}",
            frames=None,
            rate_hz=survey.rate_hz,
            timestamps="recorded",
            color_intrinsics=survey.color,
            depth_intrinsics=survey.depth,
            T_color_depth=survey.T_color_depth,
            depth_scale=survey.depth_scale,
            intrinsics_from=f"{self._chosen.color_info.name} and {self._chosen.depth_info.name}",
            has_poses=survey.fixed_frame is not None,
            notes=(f"colour {self._chosen.color.name}, depth {self._chosen.depth.name}", *survey.notes),
            counters=self._counters,
        )

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[RgbdFrame]:
        """The frames from the first on, decoded ahead on one thread. Raises BadInput after `close()`."""
        self._readings.check_open()
        frames = self._frames()
        return self._readings.ahead(frames, frames, self._info)

    def _frames(self) -> Generator[RgbdFrame, None, None]:
        for key in self._counters:
            self._counters[key] = 0
        stream = BagStream(self._storage, self._chosen, self._survey, self._path)
        index = 0
        for found in stream.found():
            frame = self._frame(index, found)
            index += 1
            self._counters["frames"] = index
            self._counters["without_pose"] += frame.T_world_camera is None
            self._counters["frames_unpaired"] = stream.pairing.unpaired
            self._counters["frames_late"] = stream.pairing.late
            yield frame
            del frame, found
        self._counters["frames_unpaired"] = stream.pairing.unpaired
        if stream.fault is not None:
            fault = stream.fault
            raise BadRecording(fault.path, f"{fault.reason}; the frames before it were read", index) from fault
        if index == 0:
            raise BadRecording(
                self._path,
                f"no image of {self._chosen.color.name} is within 0.02 s of one of {self._chosen.depth.name} "
                f"({stream.pairing.unpaired} images): their clocks differ, or one camera was not running",
            )

    def _frame(self, index: int, found: Found) -> RgbdFrame:
        stamp_ns, color, depth, T_world_camera = found
        survey = self._survey
        color_size = (survey.color.width, survey.color.height)
        depth_size = (survey.depth.width, survey.depth.height)
        try:
            return RgbdFrame(
                index=index,
                timestamp_ns=stamp_ns,
                color=pictures.decode_color(color, color_size, self._path, index),
                color_intrinsics=survey.color,
                depth_raw=pictures.decode_depth(depth, depth_size, survey.depth_encoding, self._path, index),
                depth_scale=survey.depth_scale,
                depth_intrinsics=survey.depth,
                T_color_depth=survey.T_color_depth,
                T_world_camera=T_world_camera,
            )
        except BadFrame as error:
            raise BadRecording(self._path, str(error), index) from error

    def close(self) -> None:
        """Stop reading and end the threads of loops still running. Twice is fine."""
        self._readings.close()

    def __enter__(self) -> RosBag:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
