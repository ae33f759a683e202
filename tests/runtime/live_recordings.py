"""Small recordings of live sessions for the tests of the recorder and of replay."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scene_r1.frame import RgbdFrame
from scene_r1.recorder import Recorder, RecorderReport
from scene_r1.recorder.card import LiveCard
from scene_r1.recorder.recording import LiveRecording, RecordedFrame
from scene_r1.recorder.writer import RecordingWriter
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadRecording

SOON_S = 20.0
"""Far above what anything here takes: a test that waits this long has failed."""


def info_of(frame: RgbdFrame, rate_hz: float = 30.0) -> SourceInfo:
    return SourceInfo(
        path="camera",
        format="made",
        frames=None,
        rate_hz=rate_hz,
        timestamps="recorded",
        color_intrinsics=frame.color_intrinsics,
        depth_intrinsics=frame.depth_intrinsics,
        T_color_depth=frame.T_color_depth,
        depth_scale=frame.depth_scale,
        intrinsics_from="the test",
        has_poses=True,
    )


def hand_over(recorder: Recorder, frame: RgbdFrame, quality: Any = None) -> None:
    """One frame as soon as there is a slot for it, so that a slow machine drops none."""
    before = recorder.counters["frames"]
    until_s = time.monotonic() + SOON_S
    while recorder.failed is None and time.monotonic() < until_s:
        dropped = recorder.counters["dropped_frames"]
        if recorder.free:
            recorder.frame(frame, frame.T_world_camera, "tracking", quality)
            assert recorder.failed is not None or recorder.counters["frames"] == before + 1
            assert recorder.counters["dropped_frames"] == dropped
            return
        time.sleep(0.002)


def recorded(path: Path, frames: Sequence[RgbdFrame], events: int = 0) -> RecorderReport:
    """A recording by the recorder with its process."""
    with Recorder() as recorder:
        recorder.start(path, info_of(frames[0]))
        for frame in frames:
            hand_over(recorder, frame)
            if events:
                recorder.event("counters", {"at": frame.index})
        return recorder.close(SOON_S)


def written(path: Path, frames: Sequence[RgbdFrame], chunk_each: int = 2) -> RecordingWriter:
    """A recording by the process's own part, in this process, with a chunk every so many frames."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    try:
        writer = RecordingWriter(fd, LiveCard.of(info_of(frames[0]), 92))
        for place, frame in enumerate(frames):
            writer.frame(frame.timestamp_ns, frame.color, frame.depth_raw, said_of(frame))
            writer.event(f'{{"kind": "counters", "after": {frame.index}, "fields": {{}}}}')
            if place % chunk_each == chunk_each - 1:
                writer.flush()
        writer.close()
    finally:
        os.close(fd)
    return writer


def said_of(frame: RgbdFrame) -> dict[str, Any]:
    """What the recorder says of a frame to its process."""
    rows = None if frame.T_world_camera is None else frame.T_world_camera.ravel().tolist()
    record = (
        f'{{"index": {frame.index}, "timestamp_ns": {frame.timestamp_ns}, "received_ns": 0, "state": "tracking", '
        f'"T_world_camera": {"null" if rows is None else rows}, "quality": null, "dropped_before": 0}}'
    )
    return {"record": record, "T_world_camera": rows}


def read(path: Path) -> list[RgbdFrame]:
    with LiveRecording(path) as source:
        return list(source.frames())


def read_until_a_fault(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    frames: list[RgbdFrame] = []
    try:
        with LiveRecording(path) as source:
            frames.extend(source.frames())
    except BadRecording as error:
        return frames, error
    return frames, None


def same_but_for_jpeg(got: RgbdFrame, wanted: RgbdFrame) -> None:
    """Everything but colour bit for bit."""
    assert (got.timestamp_ns, got.received_ns) == (wanted.timestamp_ns, wanted.received_ns)
    assert np.array_equal(got.depth_raw, wanted.depth_raw)
    assert (got.color_intrinsics, got.depth_intrinsics) == (wanted.color_intrinsics, wanted.depth_intrinsics)
    assert got.depth_scale == wanted.depth_scale
    assert np.array_equal(got.T_color_depth, wanted.T_color_depth)
    assert (got.T_world_camera is None) == (wanted.T_world_camera is None)
    if got.T_world_camera is not None and wanted.T_world_camera is not None:
        assert np.array_equal(got.T_world_camera, wanted.T_world_camera)
    assert isinstance(got, RecordedFrame)
    assert got.jpeg.startswith(b"\xff\xd8")


def wait_for(what: Any) -> None:
    until_s = time.monotonic() + SOON_S
    while not what():
        assert time.monotonic() < until_s, "it did not come to pass"
        time.sleep(0.01)
