"""A recording played as a camera: in real time, at a rate that is asked for, with the poses that it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain

from scene_r1.frame import RgbdFrame
from scene_r1.live.device import CameraInfo, RawFrame
from scene_r1.sources import FrameSource, open_source
from scene_r1.sources.prefetch import DecodeAhead
from scene_r1_engines.errors import BadInput, BadRecording

AHEAD = 8
"""Frames decoded ahead, so that one that takes long to decode is still there in time."""
DOMAIN = "recording"


class RecordingDevice:
    """A Device. rate_hz: how many frames a second, whatever the recording's own rate; None: its own.

    Numbers, times and poses are those of the recording. A frame that is decoded too late is given at once, and those
    after it are as much later: none comes faster than the rate, and none is left out.

    Raises BadRecording as the recording's own reader does, and where its camera changes half-way.
    """

    def __init__(self, path: str, rate_hz: float | None = None) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._source: FrameSource | None = None
        self._info: CameraInfo | None = None
        self._frames: Iterator[RgbdFrame] = iter(())
        self._decoding: DecodeAhead[RgbdFrame] | None = None
        self._next: RgbdFrame | None = None
        self._due_s = 0.0
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def unpaired(self) -> int:
        return 0 if self._source is None else self._source.info.counters.get("frames_unpaired", 0)

    def open(self, serial: str | None = None) -> CameraInfo:
        """The first frame is decoded here: a recording that has none, or a damaged one, is not opened."""
        self.close()
        self._ended = False
        self._source = open_source(self._path)
        info = self._source.info
        self._info = CameraInfo(
            serial=info.path,
            name=f"recording ({info.format})",
            color_intrinsics=info.color_intrinsics,
            depth_intrinsics=info.depth_intrinsics,
            T_color_depth=info.T_color_depth,
            depth_scale=info.depth_scale,
            rate_hz=self._rate_hz or info.rate_hz,
            recorded=True,
            has_poses=info.has_poses,
            notes=info.notes,
        )
        self._decoding = DecodeAhead(self._source.frames(), AHEAD)
        frames = iter(self._decoding)
        first = next(frames, None)
        if first is None:
            raise BadRecording(self._path, "it has no frame that could be played")
        self._frames = chain((first,), frames)
        self._due_s = 0.0
        return self._info

    def wait(self, timeout_s: float) -> RawFrame | None:
        if self._info is None:
            raise BadInput(f"{self._path}: the recording is not open")
        if self._next is None and not self._ended:
            self._next = next(self._frames, None)
            self._ended = self._next is None
        frame = self._next
        if frame is None:
            return None
        rest_s = self._due_s - time.monotonic()
        if rest_s > timeout_s:
            time.sleep(timeout_s)
            return None
        if rest_s > 0.0:
            time.sleep(rest_s)
        now_s = time.monotonic()
        # From when it was due, so that the rate is exact; but what is later than a period is not caught up in a burst.
        period_s = 1.0 / self._info.rate_hz
        self._due_s = max(self._due_s, now_s - period_s) + period_s
        self._next = None
        return self._raw(frame, self._info)

    def close(self) -> None:
        if self._decoding is not None:
            self._decoding.stop()
        if self._source is not None:
            self._source.close()
        self._source = self._decoding = self._info = self._next = None

    def _raw(self, frame: RgbdFrame, info: CameraInfo) -> RawFrame:
        for name in ("color_intrinsics", "depth_intrinsics", "depth_scale"):
            if getattr(frame, name) != getattr(info, name):
                raise BadRecording(
                    self._path, f"its {name} change here, and a camera has one: convert it first", frame.index
                )
        return RawFrame(
            number=frame.index,
            timestamp_ns=frame.timestamp_ns,
            domain=DOMAIN,
            received_ns=time.monotonic_ns(),
            color=frame.color,
            depth_raw=frame.depth_raw,
            T_world_camera=frame.T_world_camera,
        )
