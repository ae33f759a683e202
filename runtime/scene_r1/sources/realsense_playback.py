"""Every stored image of one RealSense recording, in order, through librealsense's playback device."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.realsense_pairing import StreamImage
from scene_r1.sources.realsense_sdk import (
    COLOR_FORMATS,
    intrinsics_from,
    nanoseconds,
    sdk,
    shortest,
    transform_from,
)
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import Intrinsics

log = logging.getLogger(__name__)

STALL_S = 10.0
"""Silence after which a playback that has not said 'stopped' is given up."""
SLICE_S = 0.05
TEARDOWN_S = 0.03
"""Left to librealsense's threads between the stop of a playback and the end of its objects."""
QUEUED = 4
"""Images copied ahead. A full queue blocks librealsense's threads, which in turn stop reading: nothing is dropped."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    sensor: Any
    profile: Any


class _Inbox:
    """Where librealsense's threads leave what they have.

    It knows nothing of the device: librealsense holds its callbacks, and a callback that held the device would keep
    device, file and threads alive for ever, out of the garbage collector's sight.
    """

    def __init__(self) -> None:
        self.images: queue.Queue[StreamImage | BaseException] = queue.Queue(QUEUED)
        self.stopped = threading.Event()
        self.left = threading.Event()

    def on_frame(self, frame: Any) -> None:
        # Runs in librealsense's threads. Copy and let go: a frame held, or a view into it, starves the playback.
        item: StreamImage | BaseException
        try:
            profile = frame.get_profile()
            kind: Literal["depth", "color"] = "depth" if profile.stream_type().name == "depth" else "color"
            item = StreamImage(
                kind,
                frame.get_frame_number(),
                nanoseconds(frame.get_timestamp()),
                frame.get_frame_timestamp_domain().name,
                np.array(frame.get_data()),
            )
        except (RuntimeError, ValueError) as error:
            item = error
        while not self.left.is_set():
            try:
                self.images.put(item, timeout=SLICE_S)
                return
            except queue.Full:
                continue

    def on_status(self, status: Any) -> None:
        if status.name == "stopped":
            self.stopped.set()


@dataclass(frozen=True, slots=True, eq=False)
class Cameras:
    """What a recording says of its cameras. color_format: librealsense's name of how `images` gives colour."""

    color: Intrinsics
    depth: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    rate_hz: float
    color_format: str
    notes: tuple[str, ...]


class Playback:
    """One pass over a `.db3` or `.bag` file. A context manager.

    The sensors are played, not a pipeline: a pipeline's syncer repeats images ((1,1), (2,1), (2,2) ...) and hides
    the end of the file behind a timeout. Raises BadRecording for what librealsense cannot open, and for a file
    without a depth (Z16) or a colour stream.
    """

    def __init__(self, path: str, shown_path: str) -> None:
        rs = sdk("reading RealSense recordings")
        self._path = shown_path
        self._inbox = _Inbox()
        self._resuming: threading.Thread | None = None
        self._playing: list[Any] = []
        try:
            self._context = rs.context()  # kept: a device outlives its context badly
            self._device = self._context.load_device(path)
            self._device.set_real_time(False)
            streams = self._streams(rs)
        except RuntimeError as error:
            raise BadRecording(shown_path, f"librealsense cannot read it: {error}") from error
        self.depth, self.color = streams

    def _streams(self, rs: Any) -> tuple[_Stream, _Stream]:
        found: dict[str, _Stream] = {}
        others: list[str] = []
        for sensor in self._device.query_sensors():
            for profile in sensor.get_stream_profiles():
                kind = profile.stream_type().name
                fits = profile.format().name == "z16" if kind == "depth" else profile.format().name in COLOR_FORMATS
                if kind in ("depth", "color") and fits and kind not in found:
                    found[kind] = _Stream(sensor, profile.as_video_stream_profile())
                elif kind in ("depth", "color"):
                    others.append(f"{kind} as {profile.format().name}")
        for kind, formats in (("depth", "z16"), ("color", ", ".join(COLOR_FORMATS))):
            if kind not in found:
                has = f" (it has {'; '.join(others)})" if others else ""
                raise BadRecording(self._path, f"it has no {kind} stream in a format read here: {formats}{has}")
        return found["depth"], found["color"]

    def cameras(self) -> Cameras:
        """Raises BadRecording where the recording leaves something out."""
        depth, color = self.depth.profile, self.color.profile
        color_intrinsics, color_note = intrinsics_from(self._path, color)
        depth_intrinsics, depth_note = intrinsics_from(self._path, depth)
        try:
            T_color_depth = transform_from(self._path, depth.get_extrinsics_to(color))
        except RuntimeError as error:
            raise BadRecording(self._path, f"it lacks the transform from depth to colour: {error}") from error
        option = sdk("reading RealSense recordings").option.depth_units
        if not self.depth.sensor.supports(option):
            raise BadRecording(self._path, "its depth sensor does not say its depth units")
        return Cameras(
            color=color_intrinsics,
            depth=depth_intrinsics,
            T_color_depth=T_color_depth,
            depth_scale=shortest(self.depth.sensor.get_option(option)),
            rate_hz=float(min(depth.fps(), color.fps())),
            color_format=color.format().name,
            notes=tuple(note for note in (color_note, depth_note) if note),
        )

    def images(self) -> Iterator[StreamImage]:
        """Images of both streams as they come; ends when the playback says it has stopped. Raises BadRecording."""
        inbox = self._inbox
        self._device.set_status_changed_callback(inbox.on_status)
        callbacks = {"depth": self.depth, "color": self.color}
        sensors = {id(stream.sensor): stream.sensor for stream in callbacks.values()}
        try:
            for key, sensor in sensors.items():
                sensor.open([s.profile for s in callbacks.values() if id(s.sensor) == key])
                self._playing.append(sensor)
            # Paused until both listen: reading begins with the first sensor started, and what the other one has
            # stored by then would be lost (seen: all of 12 small images).
            self._device.pause()
            for sensor in self._playing:
                sensor.start(inbox.on_frame)
            # resume() waits for callbacks, and these wait for the loop below once the inbox is full.
            self._resuming = threading.Thread(target=self._device.resume, name="realsense-resume", daemon=True)
            self._resuming.start()
        except RuntimeError as error:
            raise BadRecording(self._path, f"librealsense cannot play it: {error}") from error
        heard = time.monotonic()
        while True:
            try:
                image = inbox.images.get(timeout=SLICE_S)
            except queue.Empty:
                # librealsense says 'stopped' after it has handed over the last image, so an empty queue is the end.
                if inbox.stopped.is_set() and inbox.images.empty():
                    return
                if time.monotonic() - heard > STALL_S:
                    raise BadRecording(self._path, f"the playback has been silent for {STALL_S:.0f} s") from None
                continue
            if isinstance(image, BaseException):
                raise BadRecording(self._path, f"an image cannot be decoded: {image}") from image
            yield image
            heard = time.monotonic()  # after the yield: the consumer's own time is no silence

    def close(self) -> None:
        """Let the threads of librealsense go, then stop them. Twice is fine."""
        self._inbox.left.set()
        if self._resuming is not None:
            self._resuming.join()
        for sensor in self._playing:
            try:
                sensor.stop()
                sensor.close()
            except RuntimeError as error:  # it stops by itself at the end of the file
                log.debug("%s: %s", self._path, error)
        if self._playing:
            # librealsense's reader may be on its way out still, and a device that is freed then takes the process with
            # it (seen: one of some 300 recordings of 5 images, where the objects went right after the last image).
            time.sleep(TEARDOWN_S)
        self._playing.clear()

    def __enter__(self) -> Playback:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
