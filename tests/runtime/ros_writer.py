"""Bags for the tests of ROS sources, written by `rosbags` with real serialisation."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

pytest.importorskip("rosbags")
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

COLOR, DEPTH = "/camera/color/image_raw", "/camera/depth/image_raw"
COLOR_INFO, DEPTH_INFO = "/camera/color/camera_info", "/camera/depth/camera_info"
COLOR_FRAME, DEPTH_FRAME = "camera_color_optical_frame", "camera_depth_optical_frame"
TFMESSAGE = "tf2_msgs/msg/TFMessage"
KINDS = ("mcap", "db3", "bag")
T_BASE_LINK = pose.from_quaternion((0.2, 0.0, 1.1), (0.0, 0.0, 0.0, 1.0))
T_LINK_COLOR = pose.from_quaternion((0.01, 0.015, 0.0), (-0.5, 0.5, -0.5, 0.5))
"""Optical axes in ROS's: z forward is x, x right is -y."""


class Bag:
    """One bag in the making; leaving the `with` block finishes it. `path`: the file to open then."""

    def __init__(self, folder: Path, kind: str = "mcap", compression: str | None = None, mode: str = "STORAGE") -> None:
        self.ros1 = kind == "bag"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        self._connections: dict[str, Any] = {}
        self._stack = ExitStack()
        self.written: list[int] = []
        if self.ros1:
            self.store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TFMESSAGE))
            self.path = folder.with_suffix(".bag")
            self._writer: Any = Writer1(self.path)
        else:
            plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
            self.path = folder / f"{folder.name}.{kind}"
            self._writer = Writer(folder, version=9, storage_plugin=plugin)
            if compression is not None:
                self._writer.set_compression(CompressionMode[mode], CompressionFormat[compression])

    def __enter__(self) -> Bag:
        self._stack.enter_context(self._writer)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.__exit__(None, None, None)

    def make(self, kind: str, **fields: Any) -> Any:
        names = [name for name, _ in self.store.fielddefs[kind][1]]
        lower = {name.lower(): value for name, value in fields.items()}
        if "seq" in names:
            lower["seq"] = 0
        return self.store.types[kind](*(lower[name.lower()] for name in names))

    def write(self, topic: str, kind: str, log_ns: int, message: Any) -> None:
        data = self.store.serialize_ros1(message, kind) if self.ros1 else self.store.serialize_cdr(message, kind)
        self.write_raw(topic, kind, log_ns, bytes(data))

    def write_raw(self, topic: str, kind: str, log_ns: int, data: bytes) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self.store)
        self._writer.write(self._connections[topic], log_ns, data)
        self.written.append(log_ns)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        seconds, rest = divmod(stamp_ns, 1_000_000_000)
        time = self.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest)
        return self.make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)

    def image(self, topic: str, stamp_ns: int, frame_id: str, array: np.ndarray, encoding: str, **wrong: Any) -> None:
        rows = np.ascontiguousarray(array).view(np.uint8).reshape(array.shape[0], -1)
        fields = {
            "header": self.header(stamp_ns, frame_id),
            "height": array.shape[0],
            "width": array.shape[1],
            "encoding": encoding,
            "is_bigendian": 0,
            "step": rows.shape[1],
            "data": rows.ravel(),
        }
        kind = "sensor_msgs/msg/Image"
        self.write(topic, kind, wrong.pop("log_ns", stamp_ns), self.make(kind, **(fields | wrong)))

    def compressed(self, topic: str, stamp_ns: int, frame_id: str, data: bytes, format: str) -> None:
        kind = "sensor_msgs/msg/CompressedImage"
        fields = {"header": self.header(stamp_ns, frame_id), "format": format, "data": np.frombuffer(data, np.uint8)}
        self.write(topic, kind, stamp_ns, self.make(kind, **fields))

    def info(self, topic: str, stamp_ns: int, frame_id: str, camera: Intrinsics, **other: Any) -> None:
        K = camera.K
        P = np.hstack([K, np.zeros((3, 1))])
        fields = {
            "header": self.header(stamp_ns, frame_id),
            "height": camera.height,
            "width": camera.width,
            "distortion_model": "plumb_bob",
            "D": np.array(camera.coefficients),
            "K": K.ravel(),
            "R": np.eye(3).ravel(),
            "P": P.ravel(),
            "binning_x": 0,
            "binning_y": 0,
            "roi": {},
        } | other
        roi = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False} | fields["roi"]
        fields["roi"] = self.make("sensor_msgs/msg/RegionOfInterest", **roi)
        kind = "sensor_msgs/msg/CameraInfo"
        self.write(topic, kind, stamp_ns, self.make(kind, **fields))

    def tf(self, topic: str, log_ns: int, *transforms: tuple[str, str, int, np.ndarray]) -> None:
        """transforms: parent, child, stamp in ns, T_parent_child."""
        made = []
        for parent, child, stamp_ns, T in transforms:
            vector = self.make("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, T[:3, 3]), strict=True)))
            transform = self.make("geometry_msgs/msg/Transform", translation=vector, rotation=self._quaternion(T))
            fields = {"header": self.header(stamp_ns, parent), "child_frame_id": child, "transform": transform}
            made.append(self.make("geometry_msgs/msg/TransformStamped", **fields))
        self.write(topic, TFMESSAGE, log_ns, self.store.types[TFMESSAGE](made))

    def pose(self, topic: str, stamp_ns: int, frame_id: str, T: np.ndarray, child: str | None = None) -> None:
        """A PoseStamped, or with a child an Odometry."""
        point = self.make("geometry_msgs/msg/Point", **dict(zip("xyz", map(float, T[:3, 3]), strict=True)))
        body = self.make("geometry_msgs/msg/Pose", position=point, orientation=self._quaternion(T))
        header = self.header(stamp_ns, frame_id)
        if child is None:
            kind = "geometry_msgs/msg/PoseStamped"
            self.write(topic, kind, stamp_ns, self.make(kind, header=header, pose=body))
            return
        zero = self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        twist = self.make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
        spread = np.zeros(36)
        fields = {
            "pose": self.make("geometry_msgs/msg/PoseWithCovariance", pose=body, covariance=spread),
            "twist": self.make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=spread),
        }
        kind = "nav_msgs/msg/Odometry"
        self.write(topic, kind, stamp_ns, self.make(kind, header=header, child_frame_id=child, **fields))

    def _quaternion(self, T: np.ndarray) -> Any:
        values = map(float, pose.to_quaternion(T))
        return self.make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", values, strict=True)))


def mounted(bag: Bag, start_ns: int, T_color_depth: np.ndarray) -> None:
    """base_link -> camera_link -> both optical frames, as a robot's description publishes them."""
    T_link_depth = T_LINK_COLOR @ T_color_depth
    bag.tf(
        "/tf_static",
        start_ns,
        ("base_link", "camera_link", 0, T_BASE_LINK),
        ("camera_link", COLOR_FRAME, 0, T_LINK_COLOR),
        ("camera_link", DEPTH_FRAME, 0, T_link_depth),
    )


def place(bag: Bag, frame: RgbdFrame) -> None:
    """map -> base_link, so that the colour camera is where the frame says."""
    if frame.T_world_camera is not None:
        T_world_base = frame.T_world_camera @ pose.inverse(T_BASE_LINK @ T_LINK_COLOR)
        bag.tf("/tf", frame.timestamp_ns + 1, ("map", "base_link", frame.timestamp_ns, T_world_base))


def shoot(bag: Bag, frame: RgbdFrame, one_camera: bool = False, depth_late_ns: int = 0) -> None:
    """Both images of a frame, and their camera_info."""
    depth_frame = COLOR_FRAME if one_camera else DEPTH_FRAME
    depth_ns = frame.timestamp_ns + depth_late_ns
    bag.info(COLOR_INFO, frame.timestamp_ns, COLOR_FRAME, frame.color_intrinsics)
    bag.info(DEPTH_INFO, depth_ns, depth_frame, frame.depth_intrinsics)
    bag.image(COLOR, frame.timestamp_ns, COLOR_FRAME, frame.color, "rgb8")
    bag.image(DEPTH, depth_ns, depth_frame, frame.depth_raw, "16UC1")


def recorded(folder: Path, frames: Sequence[RgbdFrame], kind: str = "mcap", **options: Any) -> Path:
    """The frames as a bag with tf. Returns the path of its file."""
    with Bag(folder, kind, **options) as bag:
        mounted(bag, frames[0].timestamp_ns - 1000, frames[0].T_color_depth)
        for frame in frames:
            shoot(bag, frame, frame.one_camera)
            place(bag, frame)
    return bag.path


def png(array: np.ndarray) -> bytes:
    """A PNG file's content of an RGB or a 16-bit image."""
    stored = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    return bytes(cv2.imencode(".png", stored)[1])


def compressed_depth(counts: np.ndarray, a: float = 0.0, b: float = 0.0) -> bytes:
    """What compressed_depth_image_transport sends: 12 bytes of parameters, then a PNG."""
    return struct.pack("<iff", 0, a, b) + png(counts)
