"""Serialised messages into objects with fields, and what all of them have: a stamp and a frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from scene_r1.sources.ros.storage import Message, Storage, message_stores
from scene_r1_engines.errors import BadRecording

TF, OLD_TF = "tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"
ODOMETRY, POSE = "nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"


class Messages:
    """Reads the standard types, which have not changed since ROS 2 Foxy (of ROS 1: since Groovy).

    Definitions stored in a bag are not needed for them. Raises MissingExtra('ros').
    """

    def __init__(self, storage: Storage, path: str | os.PathLike[str]) -> None:
        stores = message_stores("reading ROS bags")
        self._path = path
        if storage.ros1:
            store = stores.get_typestore(stores.Stores.ROS1_NOETIC)
            for kind in (TF, OLD_TF):  # which that collection of types lacks
                store.register(stores.get_types_from_msg("geometry_msgs/TransformStamped[] transforms", kind))
            self._read = store.deserialize_ros1
        else:
            self._read = stores.get_typestore(stores.Stores.ROS2_HUMBLE).deserialize_cdr

    def read(self, message: Message) -> Any:
        """Raises BadRecording when its bytes are not what its type says."""
        try:
            return self._read(message.data, message.topic.type)
        except Exception as error:  # the deserialiser raises whatever its generated code stumbles over
            raise BadRecording(
                self._path, f"a message of {message.topic.name} is no {message.topic.type}: {error!r}"[:400]
            ) from error


def stamp_ns(header: Any, log_ns: int) -> int:
    """The time in a header, nanoseconds; that of recording where the publisher left it out."""
    found = int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
    return found or log_ns


def frame_of(header: Any) -> str:
    """A header's frame as tf names it: ROS 1 allowed a leading slash."""
    return str(header.frame_id).lstrip("/")


def transforms(message: Any, kind: str) -> Iterator[tuple[str, str, int, tuple[float, ...]]]:
    """(parent, child, stamp in ns, (x, y, z, qx, qy, qz, qw)) of a TFMessage, an Odometry or a PoseStamped.

    The child of a PoseStamped is empty: it does not say whose pose it is.
    """
    if kind in (ODOMETRY, POSE):
        child = message.child_frame_id if kind == ODOMETRY else ""
        body = message.pose.pose if kind == ODOMETRY else message.pose
        p, q = body.position, body.orientation
        yield message.header.frame_id, child, stamp_ns(message.header, 0), (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
        return
    for one in message.transforms:
        p, q = one.transform.translation, one.transform.rotation
        row = (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
        yield one.header.frame_id, one.child_frame_id, stamp_ns(one.header, 0), row
