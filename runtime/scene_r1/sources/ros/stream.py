"""One pass over a bag: its images in pairs, each with the pose of its time, in constant memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.ros.messages import Messages, stamp_ns
from scene_r1.sources.ros.pairing import MAX_WAITING, StampPairing
from scene_r1.sources.ros.poses import Poses
from scene_r1.sources.ros.storage import Storage
from scene_r1.sources.ros.survey import Survey
from scene_r1.sources.ros.topics import Chosen
from scene_r1.sources.ros.transforms import BETWEEN_NS
from scene_r1_engines.errors import BadRecording

MAX_PAIR_DT_NS = 20_000_000
"""As the TUM RGB-D benchmark pairs images."""

Found = tuple[int, Any, Any, NDArray[np.float64] | None]


class BagStream:
    """Yields (stamp in ns, colour message, depth message, T_world_camera or None) by increasing stamps.

    A pair waits for the transforms of its time until none that could matter may come any more: as long as images of
    half a second, which is how far transforms are interpolated, and 32 pairs at most.

    fault: what was wrong with the bag, once `found` has ended; what came before it was yielded.
    """

    def __init__(self, storage: Storage, chosen: Chosen, survey: Survey, path: str | os.PathLike[str]) -> None:
        self.pairing: StampPairing[Any] = StampPairing(MAX_PAIR_DT_NS)
        self.fault: BadRecording | None = None
        self._storage, self._chosen, self._survey = storage, chosen, survey
        self._messages = Messages(storage, path)
        self._poses: Poses | None = None
        if survey.fixed_frame is not None:
            self._poses = Poses(chosen, survey.pose_topic, path)
            self._poses.follow(survey.camera_frame, survey.fixed_frame)
            for topic, message in survey.static:
                self._poses.take(topic, message)
        self._waiting: deque[tuple[int, Any, Any]] = deque()
        self._newest_ns = 0

    def found(self) -> Iterator[Found]:
        color, depth, poses = self._chosen.color, self._chosen.depth, self._poses
        names = frozenset((color.name, depth.name)) | (poses.names if poses is not None else frozenset())
        messages = self._storage.messages(names)
        try:
            while True:
                try:
                    message = next(messages)
                    read = self._messages.read(message)
                    if message.topic not in (color, depth):
                        if poses is not None:
                            poses.take(message.topic, read)
                        continue
                except StopIteration:
                    break
                except BadRecording as error:
                    self.fault = error
                    break
                taken_ns = stamp_ns(read.header, message.log_ns)
                self._newest_ns = max(self._newest_ns, taken_ns)
                self._waiting.extend(self.pairing.add("color" if message.topic == color else "depth", taken_ns, read))
                yield from self._settled(ended=False)
        finally:
            close = getattr(messages, "close", None)  # what a generator has: its file is closed at once
            if close is not None:
                close()
        self._waiting.extend(self.pairing.end())
        yield from self._settled(ended=True)

    def _settled(self, ended: bool) -> Iterator[Found]:
        while self._waiting:
            taken_ns, color, depth = self._waiting[0]
            T_world_camera = None
            if self._poses is not None:
                late = self._newest_ns > taken_ns + BETWEEN_NS or len(self._waiting) > MAX_WAITING
                if not (ended or late or self._poses.settled(taken_ns)):
                    return
                T_world_camera = self._poses.at(taken_ns)
            self._waiting.popleft()
            yield taken_ns, color, depth, T_world_camera
