"""Recordings played as a camera, in real time; and what a live source may be called."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, SMALL_DEPTH, make_frames, same

from scene_r1.frame import RgbdFrame
from scene_r1.live import LiveFrame, State, open_live
from scene_r1.live.address import recording_and_rate
from scene_r1.live.recording_device import RecordingDevice
from scene_r1.sources import create_sink, open_source
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording, CameraLost, MissingExtra

COUNT = 12


def written(path: Path, frames: list[RgbdFrame], **options: str) -> Path:
    with create_sink(path, **options) as sink:
        for frame in frames:
            sink.write(frame)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = make_frames(COUNT, depth=SMALL_DEPTH, T_color_depth=np.eye(4), lost=(3,))
    return written(tmp_path_factory.mktemp("live") / "room", frames, format="seven_scenes")


@pytest.fixture(scope="module")
def db3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return written(tmp_path_factory.mktemp("live") / "room.db3", make_frames(COUNT, lost=(3,)))
    except MissingExtra as error:
        pytest.skip(str(error))


def as_recorded(path: Path) -> list[RgbdFrame]:
    with open_source(path) as source:
        return list(source.frames())


@pytest.mark.parametrize("kind", ["folder", "db3"])
def test_a_recording_played_live_gives_its_own_frames_with_their_poses_and_times_and_ends(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    with open_live(f"{path}@60hz", waiting=64) as source:
        assert source.info.rate_hz == 60.0
        frames = list(source.frames())
        assert source.status.state is State.ENDED
        assert source.counters["frames"] == COUNT
        assert source.counters["dropped"] == 0
    for played, recorded in zip(frames, as_recorded(path), strict=True):
        same(played, recorded)
        assert isinstance(played, LiveFrame)
        assert played.received_ns > 0
        assert played.capture.segment == 0


def test_no_frame_comes_before_its_time(folder: Path) -> None:
    device = RecordingDevice(str(folder), 100.0)
    device.open()
    came = []
    while not device.ended:
        raw = device.wait(0.002)
        if raw is not None:
            came.append(raw.received_ns)
    device.close()
    assert len(came) == COUNT
    # Each is due a period after the one before it was due, and that one was a period late at most.
    assert came[-1] - came[0] > (COUNT - 3) * 10_000_000
    assert all(b > a for a, b in pairwise(came))


def test_without_a_rate_it_plays_at_its_own(folder: Path) -> None:
    with open_live(str(folder)) as live, open_source(folder) as source:
        assert live.info.rate_hz == source.info.rate_hz
        assert live.info.has_poses


def test_a_recording_plays_from_its_beginning_at_every_loop(folder: Path) -> None:
    with open_live(f"{folder}@200hz", waiting=64) as source:
        loop = source.frames()
        assert next(loop).index == 0
        again = source.frames()
        assert [next(again).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(BadInput, match="another loop"):
            next(loop)
        assert [frame.index for frame in source.frames()] == list(range(COUNT))


def test_the_latest_frame_can_be_read_without_a_loop_and_beside_one(folder: Path) -> None:
    with open_live(f"{folder}@50hz", waiting=64) as source:
        first = source.read_latest(1000.0)
        assert first.index >= 0
        loop = source.frames()
        seen = [next(loop).index for _ in range(3)]
        time.sleep(0.05)
        latest = source.read_latest(500.0)
        assert latest.index >= seen[-1]
        assert [*seen, *(frame.index for frame in loop)] == list(range(COUNT))
        time.sleep(0.06)
        with pytest.raises(CameraLost, match="the recording is over"):
            source.read_latest(50.0)


@pytest.mark.parametrize("age", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_age_is_refused(folder: Path, age: float) -> None:
    with open_live(str(folder)) as source, pytest.raises(BadInput, match="max_age_ms"):
        source.read_latest(age)


def test_a_damaged_recording_gives_what_is_whole_then_its_error_and_can_be_played_again(tmp_path: Path) -> None:
    path = written(tmp_path / "room", make_frames(8), format="seven_scenes")
    damaged = path / "frame-000005.depth.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with open_live(f"{path}@200hz", waiting=64) as source:
        for _ in range(2):
            loop = source.frames()
            assert [next(loop).index for _ in range(5)] == [0, 1, 2, 3, 4]
            with pytest.raises(BadRecording, match="000005"):
                next(loop)
            assert "000005" in source.status.reason


def test_a_recording_whose_first_frame_is_damaged_is_not_opened(tmp_path: Path) -> None:
    path = written(tmp_path / "room", make_frames(2), format="seven_scenes")
    (path / "frame-000000.color.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadRecording, match="000000"):
        open_live(f"{path}@30hz")


def test_what_is_no_recording_is_refused_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="nothing at this path"):
        open_live(f"{tmp_path / 'absent'}@30hz")
    (tmp_path / "empty.db3").touch()
    with pytest.raises(BadRecording, match="empty"):
        open_live(f"{tmp_path / 'empty.db3'}@30hz")


@pytest.mark.parametrize("rate", ["0", "-3", "nan", "inf", "1e400", "1001", "", "thirty"])
def test_a_rate_that_cannot_be_is_refused_before_anything_is_opened(rate: str) -> None:
    with pytest.raises(BadConfig, match=r"a rate is a number in 0\.\.1000"):
        open_live(f"nowhere@{rate}hz")


@pytest.mark.parametrize("address", ["realsense:", "realsense: 12", "realsense:../x", "realsense:" + "1" * 40])
def test_a_serial_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(BadConfig, match="realsense:SERIAL"):
        open_live(address)


@pytest.mark.parametrize("waiting", [0, -1, 10_000, 2.0])
def test_a_number_of_waiting_frames_that_cannot_be_is_refused(folder: Path, waiting: int) -> None:
    with pytest.raises(BadConfig, match="waiting"):
        open_live(str(folder), waiting=waiting)


def test_a_size_is_for_cameras(folder: Path) -> None:
    with pytest.raises(BadConfig, match="a recording has the size it has"):
        open_live(str(folder), size=(848, 480))


@given(st.text(max_size=30))
def test_every_address_is_a_path_with_or_without_a_rate_or_refused(address: str) -> None:
    try:
        path, rate_hz = recording_and_rate(address)
    except BadConfig:
        assert address.lower().endswith("hz")
        return
    assert path == address if rate_hz is None else address.startswith(f"{path}@")


@given(st.floats(0.01, 1000.0), st.sampled_from(["room", "a/b.db3", "me@home/room", "x@1hz/y"]))
def test_a_path_and_its_rate_are_told_apart(rate_hz: float, path: str) -> None:
    assert recording_and_rate(f"{path}@{rate_hz!r}Hz") == (path, rate_hz)
    assert recording_and_rate(path) == (path, None)


def test_frames_of_one_camera_stay_of_one_camera(tmp_path: Path) -> None:
    path = written(tmp_path / "room", make_frames(2, color=CAMERA, depth=CAMERA), format="seven_scenes")
    with open_live(f"{path}@100hz") as source:
        assert all(frame.one_camera for frame in source.frames())
