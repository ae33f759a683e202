"""A live recording as a source of frames, and of all that happened between them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from scene_r1.frame import RgbdFrame
from scene_r1.recorder import channels
from scene_r1.recorder.card import LiveCard, exact_rigid
from scene_r1.recorder.events import RecordedEvent
from scene_r1.sources.readings import Readings
from scene_r1.sources.ros import pictures
from scene_r1.sources.ros.mcap_file import CutShort, McapFile
from scene_r1.sources.ros.messages import Messages
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadFrame, BadRecording

LOOKED_AT = 300
"""Frames among which a pose is looked for when a recording is opened."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame(RgbdFrame):
    """A frame as it was recorded; T_world_camera and T_color_depth are bit for bit those of the live frame.

    jpeg: what `color` is decoded from. state: of the tracker. quality: what the selector made of the camera's own
    picture, in the order of Quality's fields, or None. dropped_before: frames that are missing before this one.
    """

    jpeg: bytes = b""
    state: str = ""
    quality: tuple[float, ...] | None = None
    dropped_before: int = 0

    def __post_init__(self) -> None:
        exact = {"T_world_camera": self.T_world_camera, "T_color_depth": self.T_color_depth}
        RgbdFrame.__post_init__(self)  # not super(): a class with slots is made anew, and super() finds the first one
        for name, T in exact.items():
            object.__setattr__(self, name, T)


class LiveRecording:
    """A FrameSource over a .mcap that the Recorder wrote. Colour is decoded JPEG; depth, poses, times, cameras and
    depth scale are exact.

    `frames()` counts the frames that are there, from 0; `items()` gives them the indices that they had when they were
    recorded, which differ where frames were dropped. A recording whose end is missing (its process was killed) is read
    up to there, and `info.notes` says so. Raises BadRecording, MissingExtra('ros').
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file = McapFile(self._path)
        self._messages = Messages(self._file, self._path)
        self._card = self._read_card()
        self._readings = Readings(self._path)
        self._counters = {"frames": 0, "without_pose": 0, "frames_dropped": 0}
        cut = () if self._file.finished else ("its end is missing: it was not closed, and is read as far as it goes",)
        card = self._card
        self._info = SourceInfo(
            path=os.fspath(self._path),
            format="scene-r1 live .mcap",
            frames=None,
            rate_hz=card.rate_hz,
            timestamps="recorded",
            color_intrinsics=card.color_intrinsics,
            depth_intrinsics=card.depth_intrinsics,
            T_color_depth=card.T_color_depth,
            depth_scale=card.depth_scale,
            intrinsics_from=channels.CARD,
            has_poses=self._soon_posed(),
            notes=(f"recorded live from {card.source}; colour is JPEG of quality {card.jpeg_quality}", *cut),
            counters=self._counters,
        )

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def card(self) -> LiveCard:
        return self._card

    def frames(self) -> Iterator[RgbdFrame]:
        """The frames from the first on, decoded ahead on one thread. Raises BadInput after `close()`."""
        self._readings.check_open()
        items = self._items(renumber=True)
        frames = (item for item in items if isinstance(item, RecordedFrame))
        return self._readings.ahead(items, frames, self._info)

    def items(self) -> Generator[RecordedFrame | RecordedEvent, None, None]:
        """Frames and events in the order in which they were recorded. Raises BadInput after `close()`."""
        self._readings.check_open()
        return self._items(renumber=False)

    def _items(self, renumber: bool) -> Generator[RecordedFrame | RecordedEvent, None, None]:
        for key in self._counters:
            self._counters[key] = 0
        wanted = (channels.COLOR, channels.DEPTH, channels.FRAME, channels.EVENT)
        images: dict[str, Any] = {}
        frames = 0
        messages = self._file.messages(wanted)
        try:
            for message in messages:
                topic, read = message.topic.name, self._messages.read(message)
                if topic == channels.EVENT:
                    yield self._event(read.data)
                elif topic == channels.FRAME:
                    frame = self._frame(read.data, images, frames if renumber else None, frames)
                    images.clear()
                    frames += 1
                    self._counters["frames"] = frames
                    self._counters["without_pose"] += frame.T_world_camera is None
                    self._counters["frames_dropped"] += frame.dropped_before
                    yield frame
                else:
                    images[topic] = read
        except CutShort as error:
            if self._file.finished:
                raise BadRecording(self._path, f"{error.reason}; the frames before it were read", frames) from error
            log.info("%s ends after %d frames: %s", self._path, frames, error.reason)
        except BadRecording as error:
            if error.frame is not None:
                raise
            raise BadRecording(self._path, f"{error.reason}; the frames before it were read", frames) from error
        finally:
            messages.close()
        if frames == 0:
            raise BadRecording(self._path, "it has no frame: the recording ended before one was written")

    def _frame(self, text: str, images: dict[str, Any], index: int | None, at: int) -> RecordedFrame:
        """The frame that a message on /scene_r1/frame closes. at: its place among the frames of the file."""
        card = self._card
        sizes = [(camera.width, camera.height) for camera in (card.color_intrinsics, card.depth_intrinsics)]
        try:
            said = json.loads(text)
            color, depth = (images.get(topic) for topic in (channels.COLOR, channels.DEPTH))
            if color is None or depth is None:
                raise ValueError("an image of it is missing")
            stamp_ns = _whole(said, "timestamp_ns")
            for image in (color, depth):
                if image.header.stamp.sec * 10**9 + image.header.stamp.nanosec != stamp_ns:
                    raise ValueError("its images are of another time")
            rows = said["T_world_camera"]
            T = None if rows is None else exact_rigid(np.asarray(rows, np.float64).reshape(4, 4), "T_world_camera")
            quality = said["quality"]
            return RecordedFrame(
                index=_whole(said, "index") if index is None else index,
                timestamp_ns=stamp_ns,
                color=pictures.decode_color(color, sizes[0], self._path, at),
                color_intrinsics=card.color_intrinsics,
                depth_raw=pictures.decode_depth(depth, sizes[1], "16uc1", self._path, at),
                depth_scale=card.depth_scale,
                depth_intrinsics=card.depth_intrinsics,
                T_color_depth=card.T_color_depth,
                T_world_camera=T,
                received_ns=_whole(said, "received_ns"),
                jpeg=bytes(color.data),
                state=str(said["state"]),
                quality=None if quality is None else tuple(float(value) for value in quality),
                dropped_before=_whole(said, "dropped_before"),
            )
        except BadRecording:
            raise
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, BadFrame) as error:
            raise BadRecording(self._path, f"{channels.FRAME} is no frame of ours: {error!r}"[:400], at) from error

    def _event(self, text: str) -> RecordedEvent:
        try:
            return RecordedEvent.from_json(text)
        except (ValueError, RecursionError) as error:
            raise BadRecording(self._path, f"{channels.EVENT} is no event of ours: {error}"[:400]) from error

    def _read_card(self) -> LiveCard:
        messages = self._file.messages((channels.CARD,))
        try:
            for message in messages:
                return LiveCard.from_json(self._messages.read(message).data)
        except CutShort:
            pass
        except BadRecording:
            raise
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise BadRecording(self._path, f"{channels.CARD} is no card of ours: {error!r}"[:400]) from error
        finally:
            messages.close()
        raise BadRecording(self._path, "it has no frame: the recording ended before one was written")

    def _soon_posed(self) -> bool:
        """Whether one of the first frames has a pose: to look through all of them may take minutes."""
        messages = self._file.messages((channels.TF_TOPIC, channels.FRAME))
        try:
            return any(message.topic.name == channels.TF_TOPIC for message in islice(messages, LOOKED_AT))
        except BadRecording:
            return False  # raised where frames are read, after those before the fault
        finally:
            messages.close()

    def close(self) -> None:
        """Stop reading and end the threads of loops still running. Twice is fine."""
        self._readings.close()

    def __enter__(self) -> LiveRecording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def is_live(path: Path) -> bool:
    """Whether a .mcap is one of the Recorder's. Raises BadRecording."""
    names = {topic.name for topic in McapFile(path).topics}
    return {channels.CARD, channels.FRAME} <= names


def _whole(said: dict[str, Any], name: str) -> int:
    value = said[name]
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} is {value!r:.40}")
    return value


__all__ = ["LiveRecording", "RecordedFrame", "is_live"]
