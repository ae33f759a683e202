"""The topics of a live recording and their messages: standard ROS 2 types, which Foxglove and ROS tools show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.recorder.card import LiveCard
from scene_r1.sources.ros.messages import TF
from scene_r1.sources.ros.storage import message_stores
from scene_r1_engines.intrinsics import Intrinsics

COLOR, DEPTH = "/camera/color/image_raw/compressed", "/camera/depth/image_raw"
COLOR_INFO, DEPTH_INFO = "/camera/color/camera_info", "/camera/depth/camera_info"
TF_TOPIC, TF_STATIC = "/tf", "/tf_static"
CARD, FRAME, EVENT = "/scene_r1/recording", "/scene_r1/frame", "/scene_r1/event"
STRING, IMAGE, JPEG = "std_msgs/msg/String", "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TOPICS = {
    # name: type; in the order in which they are written down
    CARD: STRING,
    TF_STATIC: TF,
    COLOR: JPEG,
    COLOR_INFO: INFO,
    DEPTH: IMAGE,
    DEPTH_INFO: INFO,
    TF_TOPIC: TF,
    FRAME: STRING,
    EVENT: STRING,
}
WORLD, COLOR_FRAME, DEPTH_FRAME = "map", "camera_color_optical_frame", "camera_depth_optical_frame"
QUALITY_FIELDS = ("score", "sharpness", "relative_sharpness", "depth_share", "exposure")
"""Those of Quality, in its order: what the selector made of a frame, as /scene_r1/frame says it."""
END_OF_ROS_TIME_NS = 2**31 * 1_000_000_000


class RosMessages:
    """Makes the messages of one recording, serialised as CDR. Raises MissingExtra('ros')."""

    def __init__(self, card: LiveCard) -> None:
        stores = message_stores("recording")
        self._store = stores.get_typestore(stores.Stores.ROS2_HUMBLE)
        self._card = card
        self._infos = {
            COLOR_INFO: (COLOR_FRAME, card.color_intrinsics),
            DEPTH_INFO: (DEPTH_FRAME, card.depth_intrinsics),
        }

    def definition(self, type_name: str) -> str:
        """The type in ROS's own words, with the types in it."""
        return str(self._store.generate_msgdef(type_name, ros_version=2)[0])

    def color(self, stamp_ns: int, jpeg: NDArray[np.uint8]) -> memoryview:
        fields = (self._header(stamp_ns, COLOR_FRAME), "rgb8; jpeg compressed bgr8", jpeg)
        return self._packed(JPEG, *fields)

    def depth(self, stamp_ns: int, depth_raw: NDArray[np.uint16]) -> memoryview:
        """The raw counts: a chunk of them compresses five times as fast as PNG and to less (docs/benchmarks.md)."""
        h, w = depth_raw.shape
        pixels = np.ascontiguousarray(depth_raw, dtype="<u2").view(np.uint8).ravel()
        return self._packed(IMAGE, self._header(stamp_ns, DEPTH_FRAME), h, w, "16UC1", 0, 2 * w, pixels)

    def info(self, topic: str, stamp_ns: int) -> memoryview:
        """A CameraInfo. A lens that it cannot say is written as a pinhole, and exactly in the card."""
        frame, camera = self._infos[topic]
        P = np.hstack([camera.K, np.zeros((3, 1))])
        region = self._store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        lens = ("plumb_bob", _plumb_bob(camera), camera.K.ravel(), np.eye(3).ravel(), P.ravel())
        return self._packed(INFO, self._header(stamp_ns, frame), camera.height, camera.width, *lens, 0, 0, region)

    def mounting(self) -> memoryview:
        """/tf_static: the depth camera in the colour camera."""
        return self._transform(0, COLOR_FRAME, DEPTH_FRAME, self._card.T_color_depth)

    def placed(self, stamp_ns: int, T_world_camera: NDArray[np.float64]) -> memoryview:
        """/tf: the colour camera in the world."""
        return self._transform(stamp_ns, WORLD, COLOR_FRAME, T_world_camera)

    def text(self, text: str) -> memoryview:
        return self._packed(STRING, text)

    def _transform(self, stamp_ns: int, parent: str, child: str, T: NDArray[np.float64]) -> memoryview:
        types = self._store.types
        vector = types["geometry_msgs/msg/Vector3"](*(float(v) for v in T[:3, 3]))
        quaternion = types["geometry_msgs/msg/Quaternion"](*(float(v) for v in pose.to_quaternion(T)))
        transform = types["geometry_msgs/msg/Transform"](vector, quaternion)
        stamped = types["geometry_msgs/msg/TransformStamped"](self._header(stamp_ns, parent), child, transform)
        return self._packed(TF, [stamped])

    def _header(self, stamp_ns: int, frame: str) -> Any:
        types = self._store.types
        return types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), frame)

    def _packed(self, kind: str, *fields: Any) -> memoryview:
        return memoryview(self._store.serialize_cdr(self._store.types[kind](*fields), kind))


def _plumb_bob(camera: Intrinsics) -> NDArray[np.float64]:
    known: Sequence[float] = camera.coefficients if camera.model == "brown_conrady" else (0.0,) * 5
    return np.array(known, dtype=np.float64)
