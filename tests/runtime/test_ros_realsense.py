"""RealSense `.db3` files read without librealsense are the same; a `.db3` is given to the reader it is for."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.recorded_frames import make_frames, same
from tests.runtime.ros_writer import recorded
from tests.runtime.test_realsense import foreign, needs_sdk, synthetic, write

from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.sources.realsense import RealSenseRecording
from scene_r1.sources.ros import RosBag
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadRecording, MissingExtra

pytestmark = needs_sdk


def both(path: Path) -> list[tuple[SourceInfo, list[RgbdFrame]]]:
    """Read with librealsense, and without."""
    found = []
    for librealsense in (True, False):
        with RealSenseRecording(str(path), librealsense=librealsense) as source:
            found.append((source.info, list(source.frames())))
    return found


def assert_identical(a: RgbdFrame, b: RgbdFrame) -> None:
    for name in ("index", "timestamp_ns", "depth_scale", "color_intrinsics", "depth_intrinsics", "received_ns"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("color", "depth_raw", "T_color_depth", "T_world_camera"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        assert x is None or (x.dtype == y.dtype and np.array_equal(x, y)), name


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rs") / "room.db3", synthetic(12))


def test_without_librealsense_every_bit_is_the_same(recording: Path) -> None:
    (info, frames), (info_without, frames_without) = both(recording)
    assert len(frames) == len(frames_without) == 12
    for a, b in zip(frames, frames_without, strict=True):
        assert_identical(a, b)
    for name in ("format", "frames", "rate_hz", "timestamps", "color_intrinsics", "depth_intrinsics", "depth_scale"):
        assert getattr(info, name) == getattr(info_without, name), name
    assert np.array_equal(info.T_color_depth, info_without.T_color_depth)
    assert (info.intrinsics_from, info.has_poses) == (info_without.intrinsics_from, info_without.has_poses)
    assert info.counters == info_without.counters
    assert (info.notes, info_without.notes) == ((), ("read without librealsense",))


@pytest.mark.parametrize("color_format", ["rgb8", "bgr8", "rgba8", "bgra8", "yuyv"])
def test_other_programs_recordings_are_the_same_in_every_colour_format(tmp_path: Path, color_format: str) -> None:
    foreign(tmp_path / "a.db3", color_format=color_format, number_offset=3, color_late_ms=4.0)
    (info, frames), (info_without, frames_without) = both(tmp_path / "a.db3")
    # librealsense inverts the transform between the cameras in float32
    np.testing.assert_allclose(info.T_color_depth, info_without.T_color_depth, atol=1e-7)
    assert len(frames) == len(frames_without) > 8
    for a, b in zip(frames, frames_without, strict=True):
        assert_identical(replace(a, T_color_depth=np.eye(4)), replace(b, T_color_depth=np.eye(4)))
    assert info.counters == info_without.counters


@pytest.mark.parametrize("model", ["brown_conrady", "inverse_brown_conrady", "modified_brown_conrady"])
def test_lenses_and_notes_are_the_same(tmp_path: Path, model: str) -> None:
    foreign(tmp_path / "a.db3", model=model, coefficients=(0.1, 0.02, 0.003, 0.004, 0.005))
    infos = [RealSenseRecording(str(tmp_path / "a.db3"), librealsense=one).info for one in (True, False)]
    assert infos[0].color_intrinsics == infos[1].color_intrinsics
    assert infos[0].depth_intrinsics == infos[1].depth_intrinsics
    assert infos[0].depth_scale == infos[1].depth_scale == 0.0001
    assert (*infos[0].notes, "read without librealsense") == infos[1].notes


def test_what_is_refused_is_refused_in_the_same_words(tmp_path: Path) -> None:
    foreign(tmp_path / "gray.db3", color_format="y8")
    foreign(tmp_path / "blind.db3", streams=("color",))
    foreign(tmp_path / "fisheye.db3", model="kannala_brandt4", coefficients=(0.1, 0.0, 0.0, 0.0, 0.0))
    for name, words in (("gray", "no color stream"), ("blind", "no depth stream"), ("fisheye", "distortion model")):
        for librealsense in (True, False):
            with pytest.raises(BadRecording, match=words):
                RealSenseRecording(str(tmp_path / f"{name}.db3"), librealsense=librealsense)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_cut_recording_gives_the_same_frames_and_the_same_fault(
    recording: Path, tmp_path: Path, share: float
) -> None:
    whole = recording.read_bytes()
    cut = tmp_path / "cut.db3"
    cut.write_bytes(whole[: int(len(whole) * share)])
    results = []
    for librealsense in (True, False):
        frames: list[RgbdFrame] = []
        try:
            with RealSenseRecording(str(cut), librealsense=librealsense) as source:
                for one in source.frames():
                    frames.append(one)
        except BadRecording as error:
            results.append((frames, error.reason, error.frame))
    assert len(results) == 2
    (frames, reason, frame), (frames_without, reason_without, frame_without) = results
    assert "truncated" in reason
    assert (reason, frame) == (reason_without, frame_without)
    for a, b in zip(frames, frames_without, strict=True):
        assert_identical(a, b)


@pytest.mark.parametrize(
    ("topic", "damage", "words"),
    [
        ("%Depth_0/image/data%", "x'0001000000000000'", "is no sensor_msgs"),
        ("%Color_0/image/data%", "substr(data, 1, length(data) - 30)", "is no sensor_msgs"),
        ("%Color_0/image/metadata", "x'000100000400000041424300'", "does not say the frame number"),
        ("%Depth_0/camera_info", "x'000100000400000041424300'", "does not say the width"),
        ("%Depth_Units/value", "x'000100000400000041424300'", "does not say the depth units"),
    ],
)
def test_a_broken_message_is_said_and_never_a_wrong_frame(
    recording: Path, tmp_path: Path, topic: str, damage: str, words: str
) -> None:
    broken = tmp_path / "broken.db3"
    broken.write_bytes(recording.read_bytes())
    with closing(sqlite3.connect(broken)) as connection:
        last = "SELECT max(m.id) FROM messages m JOIN topics ON topic_id = topics.id WHERE name LIKE ?"
        connection.execute(f"UPDATE messages SET data = {damage} WHERE id = ({last})", (topic,))
        connection.commit()
    frames: list[RgbdFrame] = []

    def read() -> None:
        with RealSenseRecording(str(broken), librealsense=False) as source:
            for frame in source.frames():
                frames.append(frame)

    with pytest.raises(BadRecording, match=words):
        read()
    assert len(frames) in (0, 11)


def test_a_db3_is_opened_by_what_is_in_it(recording: Path, tmp_path: Path) -> None:
    frames = make_frames(3)
    with open_source(recording) as source:
        assert isinstance(source, RealSenseRecording)
        assert source.info.notes == ()
    with open_source(recorded(tmp_path / "room", frames, "db3")) as source:
        assert isinstance(source, RosBag)
        for got, wanted in zip(source.frames(), frames, strict=True):
            same(got, wanted)


def test_without_the_sdk_installed_a_db3_is_still_read_and_says_so(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with open_source(recording) as source:
        assert len(list(source.frames())) == 12
        assert "read without librealsense, which is not installed" in source.info.notes[0]
    with pytest.raises(MissingExtra, match="realsense"):
        RealSenseRecording(str(recording), librealsense=True)
    (tmp_path / "a.bag").write_bytes(b"#ROSBAG V2.0\n")
    for librealsense in (None, True, False):
        with pytest.raises(MissingExtra, match="realsense"):
            RealSenseRecording(str(tmp_path / "a.bag"), librealsense=librealsense)


def test_without_rosbags_the_extra_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded(tmp_path / "room", make_frames(1))
    hidden: dict[str, Any] = {name: None for name in sys.modules if name.split(".")[0] == "rosbags"}
    for name in {"rosbags", "rosbags.typesys", *hidden}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"'ros'"):
        open_source(path)
