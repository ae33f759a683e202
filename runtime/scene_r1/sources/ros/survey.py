"""What is read of a bag before its first frame: cameras, how they are mounted, and what tells where they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY
from scene_r1.sources.ros.camera_info import intrinsics_from_info
from scene_r1.sources.ros.messages import Messages, frame_of, stamp_ns
from scene_r1.sources.ros.pictures import depth_encoding, depth_step_m
from scene_r1.sources.ros.poses import Poses
from scene_r1.sources.ros.storage import Message, Storage, Topic
from scene_r1.sources.ros.topics import HOW, Chosen, Topics
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import Intrinsics

STAMPS = 16
"""Colour images whose stamps give the rate."""
SETTLING_NS = 5_000_000_000
"""Read on for this long after the camera hangs below some fixed frame: `map` may come later than `odom`."""
RATE_HZ = 30.0
"""Taken for a bag with a single image."""


@dataclass(slots=True)
class _Firsts:
    """The first message of each of the four topics, and the first stamps of colour."""

    messages: dict[str, Any] = field(default_factory=dict)
    stamps_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Cameras of a bag, and how poses are found. T_color_depth: (4, 4) float64. depth_scale: metres per count.

    static: messages of /tf_static, which concern every frame. pose_topic: None is /tf; fixed_frame: None means that
    nothing tells where the camera was.
    """

    color: Intrinsics
    depth: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    depth_encoding: str
    rate_hz: float
    camera_frame: str
    fixed_frame: str | None
    pose_topic: Topic | None
    static: tuple[tuple[Topic, Any], ...]
    notes: tuple[str, ...]


class Surveyor:
    """Makes a Survey. Raises BadRecording for what concerns all frames."""

    def __init__(self, storage: Storage, chosen: Chosen, told: Topics, path: str | os.PathLike[str]) -> None:
        self._storage, self._chosen, self._told, self._path = storage, chosen, told, path
        self._messages = Messages(storage, path)

    def survey(self) -> Survey:
        chosen, told = self._chosen, self._told
        firsts = self._firsts()
        first = firsts.messages
        color = intrinsics_from_info(first["color_info"], chosen.color_info.name, chosen.rectified_color, self._path)
        depth = intrinsics_from_info(first["depth_info"], chosen.depth_info.name, chosen.rectified_depth, self._path)
        camera_frame = frame_of(first["color"].header) or frame_of(first["color_info"].header)
        depth_frame = frame_of(first["depth"].header) or frame_of(first["depth_info"].header) or camera_frame
        ways = [Poses(chosen, topic, self._path) for topic in ((None,) if chosen.tf else ()) + chosen.poses]
        mounted = camera_frame == depth_frame or told.T_color_depth is not None
        static = self._look_for_poses(ways, camera_frame, None if mounted else depth_frame)
        way, fixed, notes = self._way(ways, camera_frame)
        steps = sorted(b - a for a, b in pairwise(sorted(firsts.stamps_ns)) if b > a)
        return Survey(
            color=color,
            depth=depth,
            T_color_depth=self._mounting(static, camera_frame, depth_frame),
            depth_scale=told.depth_scale or depth_step_m(first["depth"]),
            depth_encoding=depth_encoding(first["depth"]),
            rate_hz=1e9 / steps[len(steps) // 2] if steps else RATE_HZ,
            camera_frame=camera_frame,
            fixed_frame=fixed,
            pose_topic=way,
            static=tuple(static),
            notes=notes,
        )

    def _firsts(self) -> _Firsts:
        chosen, found = self._chosen, _Firsts()
        keys: dict[str, list[str]] = {}
        for key in ("color", "depth", "color_info", "depth_info"):
            keys.setdefault(getattr(chosen, key).name, []).append(key)
        fault: BadRecording | None = None
        messages = self._storage.messages(keys)
        try:
            for message in messages:
                read = self._messages.read(message)
                for key in keys[message.topic.name]:
                    found.messages.setdefault(key, read)
                if message.topic == chosen.color and len(found.stamps_ns) < STAMPS:
                    found.stamps_ns.append(stamp_ns(read.header, message.log_ns))
                if len(found.messages) == 4 and len(found.stamps_ns) == STAMPS:
                    break
        except BadRecording as error:
            fault = error
        missing = [
            f"{key} ({getattr(chosen, key).name})"
            for key in ("color", "depth", "color_info", "depth_info")
            if key not in found.messages
        ]
        if missing:
            why = f"; {fault.reason}" if fault is not None else ""
            raise BadRecording(self._path, f"it has no message of {', '.join(missing)}{why}") from fault
        return found

    def _look_for_poses(self, ways: list[Poses], camera_frame: str, depth_frame: str | None) -> list[tuple[Topic, Any]]:
        """Feed the ways until the first of them leads to a fixed frame. Returns the messages of /tf_static seen.

        depth_frame: that of the depth camera as long as its mounting is to be found too, else None.
        """
        static: list[tuple[Topic, Any]] = []
        mounting = Poses(self._chosen, None, self._path)
        names = frozenset().union(mounting.names if depth_frame else (), *(way.names for way in ways))
        found_ns: int | None = None
        try:
            for message in self._small(names):
                read = self._messages.read(message)
                if message.topic in self._chosen.tf_static:
                    static.append((message.topic, read))
                    mounting.take(message.topic, read)
                for way in ways:
                    if message.topic.name in way.names:
                        way.take(message.topic, read)
                if depth_frame and mounting.buffer.static_between(camera_frame, depth_frame) is None:
                    continue
                fixed = ways[0].fixed_frame(camera_frame, self._told.fixed_frame) if ways else None
                if fixed is not None and found_ns is None:
                    found_ns = message.log_ns
                if not ways or fixed in ("map", self._told.fixed_frame or "map"):
                    break
                if found_ns is not None and message.log_ns > found_ns + SETTLING_NS:
                    break
        except BadRecording:
            return static  # raised where frames are read, after those before the fault
        return static

    def _small(self, names: frozenset[str]) -> Iterator[Message]:
        return self._storage.messages(names) if names else iter(())

    def _way(self, ways: list[Poses], camera_frame: str) -> tuple[Topic | None, str | None, tuple[str, ...]]:
        """The topic of poses, the frame they are in, and what people should know of them."""
        told = self._told.fixed_frame
        leading = [(way, fixed) for way in ways if (fixed := way.fixed_frame(camera_frame, told)) is not None]
        if not leading:
            if told is not None and ways:
                above = ways[0].buffer.ancestors(camera_frame)
                raise BadRecording(self._path, f"its frame {camera_frame!r} is not below {told!r}, only below {above}")
            why = f"nothing places its frame {camera_frame!r}" if ways else "no topic tells of poses"
            return None, None, (f"no poses: {why}; where a topic does, {HOW} as poses = ...",)
        way, fixed = leading[0]
        rivals = [one.topic.name for one, _ in leading if one.topic is not None and way.topic is not None]
        if len(rivals) > 1 and len({one.topic.type for one, _ in leading if one.topic is not None}) == 1:
            raise BadRecording(
                self._path, f"several topics may tell its poses: {', '.join(rivals)}: {HOW} as poses = ..."
            )
        by = "/tf" if way.topic is None else way.topic.name
        return way.topic, fixed, (f"poses of {camera_frame or 'the colour camera'!r} in {fixed!r}, by {by}",)

    def _mounting(self, static: list[tuple[Topic, Any]], camera_frame: str, depth_frame: str) -> NDArray[np.float64]:
        if self._told.T_color_depth is not None:
            T = np.array(self._told.T_color_depth, dtype=np.float64)
            return IDENTITY if np.array_equal(T, IDENTITY) else pose.rigid(T, "T_color_depth")
        if camera_frame == depth_frame:
            return IDENTITY
        mounting = Poses(self._chosen, None, self._path)
        for topic, read in static:
            mounting.take(topic, read)
        T_color_depth = mounting.buffer.static_between(camera_frame, depth_frame)
        if T_color_depth is None:
            raise BadRecording(
                self._path,
                f"no /tf_static leads from its depth camera {depth_frame!r} to its colour camera {camera_frame!r}: "
                f"{HOW} as T_color_depth = [[...], ...] (the identity where depth is registered to colour)",
            )
        return T_color_depth
