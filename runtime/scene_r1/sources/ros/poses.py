"""Where the colour camera was, out of one of a bag's ways to tell it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.ros.messages import POSE, transforms
from scene_r1.sources.ros.storage import Topic
from scene_r1.sources.ros.topics import Chosen
from scene_r1.sources.ros.transforms import TransformBuffer
from scene_r1_engines.errors import BadFrame, BadRecording

THE_CAMERA = "(colour camera)"
"""The frame whose pose a PoseStamped is taken to be: its message names none."""


class Poses:
    """T_world_camera by time, from /tf (topic None), or from one topic of Odometry or PoseStamped and /tf_static."""

    def __init__(self, chosen: Chosen, topic: Topic | None, path: str | os.PathLike[str]) -> None:
        self.topic = topic
        self.names = frozenset(t.name for t in (*chosen.tf_static, *(chosen.tf if topic is None else (topic,))))
        self.buffer = TransformBuffer()
        self._static = frozenset(t.name for t in chosen.tf_static)
        self._path = path
        self._frame = ""
        self._fixed = ""

    def take(self, topic: Topic, message: Any) -> None:
        """Take in one message of one of `names`. Raises BadRecording for what is no transform."""
        static = topic.name in self._static
        try:
            for parent, child, stamp_ns, row in transforms(message, topic.type):
                self.buffer.add(parent, child or THE_CAMERA, stamp_ns, row, static)
        except BadFrame as error:
            raise BadRecording(self._path, f"{topic.name}: {error}") from error

    def fixed_frame(self, camera_frame: str, told: str | None) -> str | None:
        """The frame that the camera's poses are given in, None as long as nothing leads to one."""
        frame = self._camera(camera_frame)
        if told is not None:
            return told if told in self.buffer.ancestors(frame) else None
        return self.buffer.fixed_frame(frame)

    def follow(self, camera_frame: str, fixed: str) -> None:
        """Say whose pose is asked for, and where."""
        self._frame, self._fixed = self._camera(camera_frame), fixed

    def settled(self, stamp_ns: int) -> bool:
        return self.buffer.settled(self._fixed, self._frame, stamp_ns)

    def at(self, stamp_ns: int) -> NDArray[np.float64] | None:
        """(4, 4) float64 T_world_camera, or None where no transforms are near enough in time."""
        return self.buffer.at(self._fixed, self._frame, stamp_ns)

    def _camera(self, camera_frame: str) -> str:
        return THE_CAMERA if self.topic is not None and self.topic.type == POSE else camera_frame
