"""Writing a RealSense `.db3` with librealsense itself: a software device, its recorder, then our poses."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_file
from scene_r1.frame import RgbdFrame
from scene_r1.sources import pose_topic, realsense_db3
from scene_r1.sources.realsense_card import Card
from scene_r1.sources.realsense_sdk import intrinsics_to, sdk, transform_to
from scene_r1_engines.errors import BadFrame, BadInput, SceneR1Error

BARRIER = 4
"""Frames handed over before waiting until the recorder has written them. It queues without waiting (456 MB after 240
frames of 640x480) and drops frames once its queue is full; it writes as fast with a barrier at every frame."""
END_OF_ROS_TIME_NS = 2**31 * 1_000_000_000


class RealSenseSink:
    """A FrameSink for `.db3` files, as librealsense 2.59, its viewer and ROS 2 tools read them.

    Depth (Z16) and colour (RGB8) are stored as PNG, so both come back bit by bit. Intrinsics, T_color_depth, depth
    scale and timestamps are stored twice: as librealsense rounds them, and exactly in the topic /scene_r1/recording.
    Poses go into /scene_r1/T_world_camera. The file appears under its name when the `with` block ends well.

    rate_hz: the nominal rate that is written down. overwrite: replace a file that is there.

    Raises BadInput (not a .db3, or no frame was written), OutputExists, MissingExtra; `write` raises BadFrame for a
    frame out of order, a time that does not increase, or a camera that differs from that of the first frame.
    """

    def __init__(self, path: str, *, rate_hz: float = 30.0, overwrite: bool = False) -> None:
        if Path(path).suffix != ".db3":
            raise BadInput(
                f"{path}: RealSense recordings are written as .db3, not {Path(path).suffix or 'without ending'}"
            )
        if not 0.0 < rate_hz <= 1000.0:
            raise BadInput(f"rate_hz must be in 0..1000, got {rate_hz!r}")
        self._rs = sdk("writing RealSense recordings")
        pose_topic.typestore("writing RealSense recordings")  # said before an hour of recording, not after it
        self._path = path
        self._rate_hz = rate_hz
        self._overwrite = overwrite
        self._first: RgbdFrame | None = None
        self._timestamps_ns: list[int] = []
        self._poses: dict[int, NDArray[np.float64]] = {}
        self._recorder: _Recorder | None = None
        self._file = ExitStack()
        self._target: Path | None = None
        self._recorded: Path | None = None

    def __enter__(self) -> RealSenseSink:
        try:
            self._target = self._file.enter_context(whole_file(self._path, overwrite=self._overwrite))
            # Beside the target: there is room for one copy of the recording there, or there is none for the recording.
            folder = tempfile.TemporaryDirectory(prefix=".scene-r1-", dir=self._target.parent)
        except OSError as error:
            self._file.close()
            raise SceneR1Error(f"{self._path}: cannot be created: {error.strerror or error}") from error
        self._recorded = Path(self._file.enter_context(folder)) / "recorded.db3"
        return self

    def write(self, frame: RgbdFrame) -> None:
        """Append one frame."""
        if self._recorded is None:
            raise BadInput(f"{self._path}: the recording is not open; write inside its with block")
        self._check(frame)
        if self._first is None:
            self._first = frame
            self._recorder = _Recorder(self._rs, self._recorded, frame, self._rate_hz)
        assert self._recorder is not None
        self._recorder.write(frame)
        self._timestamps_ns.append(frame.timestamp_ns)
        if frame.T_world_camera is not None:
            self._poses[frame.index] = frame.T_world_camera
        if len(self._timestamps_ns) % BARRIER == 0:
            self._recorder.wait()

    def _check(self, frame: RgbdFrame) -> None:
        expected = len(self._timestamps_ns)
        if frame.index != expected:
            raise BadFrame(f"frame {frame.index}: expected frame {expected}; none may be left out or come twice")
        if not 0 <= frame.timestamp_ns < END_OF_ROS_TIME_NS:
            raise BadFrame(
                f"frame {frame.index}: timestamp_ns must be in 0..{END_OF_ROS_TIME_NS}, got {frame.timestamp_ns}"
            )
        if self._timestamps_ns and frame.timestamp_ns <= self._timestamps_ns[-1]:
            raise BadFrame(
                f"frame {frame.index}: timestamp_ns {frame.timestamp_ns} does not come after {self._timestamps_ns[-1]}"
            )
        first = self._first
        if first is None:
            return
        for name in ("color_intrinsics", "depth_intrinsics", "depth_scale"):
            if getattr(frame, name) != getattr(first, name):
                raise BadFrame(
                    f"frame {frame.index}: {name} changed from {getattr(first, name)} to {getattr(frame, name)}; "
                    "a .db3 has one camera from its first frame to its last"
                )
        if not np.array_equal(frame.T_color_depth, first.T_color_depth):
            raise BadFrame(f"frame {frame.index}: T_color_depth changed; a .db3 has one camera")

    def _finish(self) -> None:
        first, recorder = self._first, self._recorder
        if first is None or recorder is None or self._target is None or self._recorded is None:
            raise BadInput(f"{self._path}: no frame was written, and a .db3 without frames cannot be read")
        recorder.close()
        card = Card(
            first.color_intrinsics,
            first.depth_intrinsics,
            first.T_color_depth,
            first.depth_scale,
            self._rate_hz,
            np.array(self._timestamps_ns, dtype=np.int64),
        )
        realsense_db3.complete(self._recorded, self._target, card, self._poses, str(self._path))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                with self._file:  # what is raised in here makes whole_file remove the temporary file
                    self._finish()
        finally:
            if self._recorder is not None:
                self._recorder.close()
            self._target = self._recorded = None
            self._file.__exit__(kind, error, trace)


class _Recorder:
    """librealsense's recorder around a software device with one depth and one colour sensor."""

    def __init__(self, rs: Any, path: Path, first: RgbdFrame, rate_hz: float) -> None:
        self._rs = rs
        device = rs.software_device()
        device.register_info(rs.camera_info.name, "Scene-R1 Edge recording")
        self._depth_sensor = device.add_sensor("Stereo Module")
        self._color_sensor = device.add_sensor("RGB Camera")
        fps = max(1, round(rate_hz))
        self._depth_profile = self._depth_sensor.add_video_stream(
            _stream(rs, rs.stream.depth, 0, rs.format.z16, 2, fps, first.depth_intrinsics)
        ).as_video_stream_profile()
        self._color_profile = self._color_sensor.add_video_stream(
            _stream(rs, rs.stream.color, 1, rs.format.rgb8, 3, fps, first.color_intrinsics)
        ).as_video_stream_profile()
        self._depth_sensor.add_read_only_option(rs.option.depth_units, first.depth_scale)
        self._depth_profile.register_extrinsics_to(self._color_profile, transform_to(rs, first.T_color_depth))
        self._recorder = rs.recorder(str(path), device)
        self._recorded = self._recorder.query_sensors()
        for sensor, profile in zip(self._recorded, (self._depth_profile, self._color_profile), strict=True):
            sensor.open(profile)
        for sensor in self._recorded:
            sensor.start(_ignore)

    def write(self, frame: RgbdFrame) -> None:
        for sensor, profile, pixels in (
            (self._depth_sensor, self._depth_profile, frame.depth_raw),
            (self._color_sensor, self._color_profile, frame.color),
        ):
            image = self._rs.software_video_frame()
            image.pixels = pixels
            image.bpp = pixels.strides[1]
            image.stride = pixels.strides[0]
            image.timestamp = frame.timestamp_ns / 1e6
            image.domain = self._rs.timestamp_domain.hardware_clock
            image.frame_number = frame.index
            image.profile = profile
            if pixels is frame.depth_raw:
                image.depth_units = frame.depth_scale
            sensor.on_video_frame(image)

    def wait(self) -> None:
        """Until what was handed over is on disk: both calls end with a flush of the recorder's queue."""
        self._recorder.pause()
        self._recorder.resume()

    def close(self) -> None:
        """Write what is queued and close the file. Twice is fine."""
        if self._recorder is None:
            return
        self.wait()
        for sensor in self._recorded:
            sensor.stop()
            sensor.close()
        # The file is closed by the last reference to the recorder and its sensors going away.
        self._recorded = []
        self._recorder = None


def _ignore(frame: object) -> None:
    """A started sensor needs a callback; the recorder takes the frames before it."""


def _stream(rs: Any, kind: Any, uid: int, image_format: Any, bpp: int, fps: int, intrinsics: Any) -> Any:
    stream = rs.video_stream()
    stream.type, stream.index, stream.uid = kind, 0, uid
    stream.width, stream.height, stream.fps = intrinsics.width, intrinsics.height, fps
    stream.bpp, stream.fmt = bpp, image_format
    stream.intrinsics = intrinsics_to(rs, intrinsics)
    return stream
