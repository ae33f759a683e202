"""Frames and events into the file of a live recording; lives in the recording process."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.recorder import channels
from scene_r1.recorder.card import LiveCard
from scene_r1.recorder.channels import TOPICS, RosMessages
from scene_r1.recorder.mcap_writer import CHUNK_BYTES, McapWriter
from scene_r1.sources.ros.storage import zstd_module
from scene_r1_engines.errors import BadFrame

ZSTD_LEVEL = 1
"""At 640x480 a depth image takes 1.9 ms and 90 kB; level 3 takes 2.0 ms and 88 kB, PNG 9.2 ms and 111 kB."""
MOST_EARLY = 256
"""Events that are held back until the first frame tells the time."""
CHUNK_S = 1.0
"""A chunk is written when it is this old, however small: so much is lost when everything is killed."""


class RecordingWriter:
    """Writes one recording to an open descriptor. Raises OSError as McapWriter does, MissingExtra('ros')."""

    def __init__(self, fd: int, card: LiveCard) -> None:
        self._card = card
        self._messages = RosMessages(card)
        zstd = zstd_module("recording")

        def compress(content: bytes) -> bytes:
            packed: bytes = zstd.compress(content, ZSTD_LEVEL)
            return packed

        self.file = McapWriter(fd, "zstd", compress, "scene-r1-edge")
        self.frames = self.events = 0
        """Those in chunks that are written."""
        self._waiting = [0, 0]
        self._newest_ns = 0
        self._begun_s: float | None = None
        self._early: list[str] = []
        self._introduced = False
        definitions = {kind: self._messages.definition(kind) for kind in dict.fromkeys(TOPICS.values())}
        self._channels = {
            topic: self.file.add_channel(topic, kind, definitions[kind]) for topic, kind in TOPICS.items()
        }
        self.file.metadata("scene_r1", {"recording": card.to_json()})

    def frame(
        self, stamp_ns: int, color: NDArray[np.uint8], depth_raw: NDArray[np.uint16], said: dict[str, Any]
    ) -> None:
        """Add one frame. color: (H, W, 3) uint8 RGB. said: what its message on /scene_r1/frame says, `record` of it,
        and `T_world_camera`, sixteen numbers or None. Both images and the message are in one chunk: all or none."""
        options = [cv2.IMWRITE_JPEG_QUALITY, self._card.jpeg_quality]
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(color, cv2.COLOR_RGB2BGR), options)
        if not done:
            raise BadFrame(f"OpenCV could not encode an image of {color.shape} as JPEG")
        self._newest_ns = stamp_ns
        self._introduce()
        make = self._messages
        self._put(channels.COLOR, make.color(stamp_ns, np.asarray(jpeg, np.uint8).ravel()))
        self._put(channels.COLOR_INFO, make.info(channels.COLOR_INFO, stamp_ns))
        self._put(channels.DEPTH, make.depth(stamp_ns, depth_raw))
        self._put(channels.DEPTH_INFO, make.info(channels.DEPTH_INFO, stamp_ns))
        if said["T_world_camera"] is not None:
            placed = np.array(said["T_world_camera"], dtype=np.float64).reshape(4, 4)
            self._put(channels.TF_TOPIC, make.placed(stamp_ns, placed))
        self._put(channels.FRAME, make.text(said["record"]))
        self._waiting[0] += 1
        self._flush_if_full()

    def event(self, text: str) -> None:
        """Add one event, at the time of the newest frame: device and host clocks are not mixed."""
        if not self._introduced and len(self._early) < MOST_EARLY:
            self._early.append(text)
            return
        self._introduce()
        self._put_event(text)
        self._flush_if_full()

    @property
    def due_s(self) -> float:
        """Seconds until `flush` is due; CHUNK_S where nothing waits."""
        return CHUNK_S if self._begun_s is None else max(0.0, self._begun_s + CHUNK_S - time.monotonic())

    def flush(self) -> None:
        """Write what waits."""
        self._begun_s = None
        (frames, events), self._waiting = self._waiting, [0, 0]
        self.file.flush()
        self.frames += frames
        self.events += events

    def close(self) -> None:
        """Write what waits, and the file's end. Twice is fine."""
        try:
            self._introduce()
            self.flush()
        finally:
            self.file.close()

    def _introduce(self) -> None:
        """What concerns all of the recording, and events before its first frame, with the first frame's time."""
        if self._introduced:
            return
        self._introduced = True
        self._put(channels.CARD, self._messages.text(self._card.to_json()))
        self._put(channels.TF_STATIC, self._messages.mounting())
        for text in self._early:
            self._put_event(text)
        self._early.clear()

    def _put_event(self, text: str) -> None:
        self._put(channels.EVENT, self._messages.text(text))
        self._waiting[1] += 1

    def _put(self, topic: str, data: memoryview) -> None:
        if self._begun_s is None:
            self._begun_s = time.monotonic()
        self.file.message(self._channels[topic], self._newest_ns, data)

    def _flush_if_full(self) -> None:
        if self.file.waiting_bytes >= CHUNK_BYTES:
            self.flush()
