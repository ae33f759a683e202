"""A RealSense camera of librealsense's own software device, for tests: real sensors, frames and filters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scene_r1.live.realsense_device import Bus
from scene_r1.sources.realsense_sdk import intrinsics_to, sdk, transform_to
from scene_r1_engines.intrinsics import Intrinsics

W, H = 64, 48
COLOR = Intrinsics(60.0, 61.0, 31.5, 23.5, W, H, "inverse_brown_conrady", (0.1, -0.05, 0.001, -0.002, 0.01))
DEPTH = Intrinsics(55.0, 55.5, 32.0, 24.0, W, H)
T_COLOR_DEPTH = np.array([[1.0, 0, 0, 0.015], [0, 1.0, 0, 0], [0, 0, 1.0, 0.0005], [0, 0, 0, 1.0]])
T_COLOR_IMU = np.array([[0.0, 1.0, 0, 0], [-1.0, 0, 0, 0.01], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])


def depth_image(number: int) -> np.ndarray:
    """Of one value, which differs so much from the next one's that the temporal filter leaves it alone."""
    return np.full((H, W), 1000 + 100 * (number % 50), np.uint16)


class SoftwareCamera:
    """units: metres per count. imu: it has a motion module. sizes: that both images come in. rates: of the images.
    one_sensor: gives both, as a D405's does."""

    def __init__(
        self,
        serial: str = "4711",
        name: str = "Intel RealSense D435I",
        units: float = 0.001,
        imu: bool = False,
        rates: tuple[int, ...] = (30,),
        size: tuple[int, int] = (W, H),
        one_sensor: bool = False,
    ) -> None:
        rs = self.rs = sdk("these tests")
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, name)
        self.device.register_info(rs.camera_info.serial_number, serial)
        self.stereo = self.device.add_sensor("Stereo Module")
        self.rgb = self.stereo if one_sensor else self.device.add_sensor("RGB Camera")
        self.units = units
        self.stereo.add_read_only_option(rs.option.depth_units, units)
        depths = [self._video(self.stereo, rs.stream.depth, rs.format.z16, 2, r, DEPTH, size) for r in rates]
        colors = [self._video(self.rgb, rs.stream.color, rs.format.rgb8, 3, r, COLOR, size) for r in rates]
        self.depth, self.color = depths[0], colors[0]
        for depth in depths:
            for color in colors:
                depth.register_extrinsics_to(color, transform_to(rs, T_COLOR_DEPTH))
        if imu:
            self.motion = self.device.add_sensor("Motion Module")
            self.accel, self.gyro = (self._motion(kind, 200, color) for kind in ("accel", "gyro"))

    def give(
        self,
        number: int,
        timestamp_ms: float,
        depth: np.ndarray | None = None,
        color: np.ndarray | None = None,
        color_number: int | None = None,
        color_ms: float | None = None,
    ) -> None:
        """A depth image, a colour image, or both; images of one value each by default, unless one of them is given."""
        if depth is None and color is None:
            depth, color = depth_image(number), np.full((H, W, 3), number % 256, np.uint8)
        both = (
            (self.stereo, self.depth, depth, number, timestamp_ms),
            (self.rgb, self.color, color, color_number or number, timestamp_ms if color_ms is None else color_ms),
        )
        for sensor, profile, pixels, n, at_ms in both:
            if pixels is None:
                continue
            image = self.rs.software_video_frame()
            image.pixels, image.bpp, image.stride = pixels, pixels.strides[1], pixels.strides[0]
            image.timestamp, image.frame_number, image.profile = at_ms, n, profile
            image.domain = self.rs.timestamp_domain.hardware_clock
            if profile is self.depth:
                image.depth_units = self.units
            sensor.on_video_frame(image)

    def move(self, kind: str, timestamp_ms: float, xyz: Sequence[float]) -> None:
        """A measurement of `accel` or `gyro`."""
        vector = self.rs.vector()
        vector.x, vector.y, vector.z = xyz
        frame = self.rs.software_motion_frame()
        frame.data, frame.timestamp, frame.frame_number = vector, timestamp_ms, round(timestamp_ms)
        frame.domain, frame.profile = self.rs.timestamp_domain.hardware_clock, getattr(self, kind)
        self.motion.on_motion_frame(frame)

    def _video(self, sensor: Any, kind: Any, form: Any, bpp: int, fps: int, camera: Intrinsics, size: Any) -> Any:
        stream = self.rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt = kind, 0, id(camera) % 1000 * 100 + fps, form
        stream.width, stream.height, stream.fps, stream.bpp = *size, fps, bpp
        stream.intrinsics = intrinsics_to(self.rs, camera.scaled(*size))
        return sensor.add_video_stream(stream).as_video_stream_profile()

    def _motion(self, kind: str, fps: int, color: Any) -> Any:
        stream = self.rs.motion_stream()
        stream.type, stream.index, stream.fps = getattr(self.rs.stream, kind), 0, fps
        stream.uid, stream.fmt = 90_000 + len(kind), self.rs.format.motion_xyz32f
        stream.intrinsics = self.rs.motion_device_intrinsic()
        profile = self.motion.add_motion_stream(stream)
        profile.register_extrinsics_to(color, transform_to(self.rs, T_COLOR_IMU))
        return profile.as_motion_stream_profile()


class Table(Bus):
    """The cameras that lie on a table, as those that are plugged in."""

    def __init__(self, *cameras: SoftwareCamera) -> None:
        self.cameras = cameras
        self.unplug: Callable[[], None] = lambda: None

    def devices(self) -> Sequence[Any]:
        return [camera.device for camera in self.cameras]

    def on_removal(self, device: Any, call: Callable[[], None]) -> None:
        self.unplug = call


def running(rs: Any) -> Table:
    """A Bus with one camera that gives frames for as long as its process lives."""
    camera = SoftwareCamera()

    def give() -> None:
        began_s, n = time.monotonic(), 0
        while True:
            n += 1
            time.sleep(max(0.0, began_s + n / 30.0 - time.monotonic()))
            camera.give(n, 1000.0 * n / 30.0)

    threading.Thread(target=give, daemon=True).start()
    return Table(camera)
