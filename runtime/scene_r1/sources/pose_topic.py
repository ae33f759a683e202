"""Camera poses inside a RealSense `.db3`, as a ROS 2 topic that any ROS tool reads.

Topic `/scene_r1/T_world_camera`, type geometry_msgs/msg/PoseStamped, CDR: one message for each frame whose pose is
known. header.stamp is the colour image's device time, header.frame_id is "world", and the pose is T_world_camera of
the colour camera with OpenCV axes (x right, y down, z forward).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1_engines.errors import BadRecording, MissingExtra

TOPIC = "/scene_r1/T_world_camera"
TYPE = "geometry_msgs/msg/PoseStamped"
FRAME_ID = "world"


@dataclass(frozen=True, slots=True, eq=False)
class PoseTrack:
    """Poses by time. stamps_ns: (N,) int64, increasing. T_world_camera: (N, 4, 4) float64, the colour camera."""

    stamps_ns: NDArray[np.int64]
    T_world_camera: NDArray[np.float64]

    def at(self, timestamp_ns: int, within_ns: int) -> NDArray[np.float64] | None:
        """The pose of exactly this time, or the nearest one within `within_ns`, or None."""
        if not len(self.stamps_ns):
            return None
        i = int(np.searchsorted(self.stamps_ns, timestamp_ns))
        near = range(max(0, i - 1), min(i + 1, len(self.stamps_ns)))
        best = min(near, key=lambda k: abs(int(self.stamps_ns[k]) - timestamp_ns))
        return self.T_world_camera[best] if abs(int(self.stamps_ns[best]) - timestamp_ns) <= within_ns else None


def serialise(poses: Iterable[tuple[int, NDArray[np.float64]]]) -> Iterable[bytes]:
    """CDR of one PoseStamped for each (timestamp_ns, T_world_camera)."""
    store = typestore("writing poses into a .db3")
    types = store.types
    Point, Quaternion = types["geometry_msgs/msg/Point"], types["geometry_msgs/msg/Quaternion"]
    Pose, PoseStamped = types["geometry_msgs/msg/Pose"], types[TYPE]
    Header, Time = types["std_msgs/msg/Header"], types["builtin_interfaces/msg/Time"]
    for timestamp_ns, T in poses:
        seconds, rest = divmod(timestamp_ns, 1_000_000_000)
        message = PoseStamped(
            Header(Time(seconds, rest), FRAME_ID),
            Pose(Point(*(float(v) for v in T[:3, 3])), Quaternion(*(float(v) for v in pose.to_quaternion(T)))),
        )
        yield bytes(store.serialize_cdr(message, TYPE))


def read(path: str, connection: sqlite3.Connection) -> PoseTrack:
    """All poses of the topic, none when the file has no such topic. Raises BadRecording for a message that is none."""
    query = "SELECT data FROM messages JOIN topics ON topic_id = topics.id WHERE name = ? ORDER BY messages.id"
    rows = [bytes(data) for (data,) in connection.execute(query, (TOPIC,))]
    if not rows:
        return PoseTrack(np.empty(0, np.int64), np.empty((0, 4, 4)))
    store = typestore("reading poses out of a .db3")
    poses: dict[int, NDArray[np.float64]] = {}
    for k, row in enumerate(rows):
        try:
            message = store.deserialize_cdr(row, TYPE)
            p, q = message.pose.position, message.pose.orientation
            stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            poses[stamp_ns] = pose.from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        except Exception as error:  # the deserialiser raises whatever its generated code stumbles over
            raise BadRecording(path, f"message {k} of {TOPIC} is no pose: {error}") from error
    stamps = sorted(poses)
    return PoseTrack(np.array(stamps, dtype=np.int64), np.stack([poses[s] for s in stamps]))


def typestore(what: str) -> Any:
    """ROS 2 message types of `rosbags`. Raises MissingExtra('realsense')."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise MissingExtra("realsense", what, str(error)) from error
    return get_typestore(Stores.ROS2_HUMBLE)
