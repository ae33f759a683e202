"""RealSense recordings: real librealsense writes them, plays them, and is handed broken ones."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.needs_realsense import MISSING, needs_sdk

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.sources import pose_topic, realsense_db3, realsense_playback
from scene_r1.sources.pose_topic import PoseTrack
from scene_r1.sources.realsense import RealSenseRecording
from scene_r1.sources.realsense_pairing import MAX_WAITING, Pairing, StreamImage
from scene_r1.sources.realsense_sdk import nanoseconds, rgb, sdk, shortest
from scene_r1.sources.realsense_sink import RealSenseSink
from scene_r1.sources.source import FrameSink, FrameSource
from scene_r1_engines.errors import BadFrame, BadInput, BadRecording, MissingExtra, OutputExists
from scene_r1_engines.intrinsics import Intrinsics

COLOR = Intrinsics(
    91.123456789, 90.2, 47.1, 36.9, 96, 72, "inverse_brown_conrady", (0.12345678, -0.21, 0.0013, -0.0007, 0.031)
)
DEPTH = Intrinsics(60.5, 60.25, 31.7, 23.3, 64, 48, "brown_conrady", (-0.05, 0.02, 0.0003, 0.0004, -0.01))
T_COLOR_DEPTH = pose.from_quaternion((0.0150123456, -0.0021, 0.0003), (0.1, 0.2, -0.05, 0.9733961166965893))
STEP_NS = 33_333_333


def synthetic(count: int, start_ns: int = 1_700_000_000_123_456_789, scale: float = 0.001) -> list[RgbdFrame]:
    """Noise, so that any lossy step shows; no two cameras alike; every third pose unknown."""
    rng = np.random.default_rng(7)
    frames = []
    for n in range(count):
        q = rng.normal(size=4)
        T = pose.from_quaternion(rng.normal(size=3), q / np.linalg.norm(q))
        frames.append(
            RgbdFrame(
                index=n,
                timestamp_ns=start_ns + n * STEP_NS + int(rng.integers(0, 1000)),
                color=rng.integers(0, 256, (72, 96, 3), dtype=np.uint8),
                color_intrinsics=COLOR,
                depth_raw=rng.integers(0, 65536, (48, 64), dtype=np.uint16),
                depth_scale=scale,
                depth_intrinsics=DEPTH,
                T_color_depth=T_COLOR_DEPTH,
                T_world_camera=None if n % 3 == 1 else T,
            )
        )
    return frames


def write(path: Path, frames: Sequence[RgbdFrame]) -> Path:
    with RealSenseSink(str(path)) as sink:
        for frame in frames:
            sink.write(frame)
    return path


def assert_same(got: RgbdFrame, wanted: RgbdFrame) -> None:
    assert (got.index, got.timestamp_ns, got.depth_scale) == (wanted.index, wanted.timestamp_ns, wanted.depth_scale)
    assert (got.color_intrinsics, got.depth_intrinsics) == (wanted.color_intrinsics, wanted.depth_intrinsics)
    np.testing.assert_array_equal(got.color, wanted.color)
    np.testing.assert_array_equal(got.depth_raw, wanted.depth_raw)
    np.testing.assert_allclose(got.T_color_depth, wanted.T_color_depth, atol=1e-14)
    if wanted.T_world_camera is None:
        assert got.T_world_camera is None
    else:
        assert got.T_world_camera is not None
        np.testing.assert_allclose(got.T_world_camera, wanted.T_world_camera, atol=1e-14)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rs") / "room.db3", synthetic(40))


def foreign(
    path: Path,
    streams: Sequence[str] = ("depth", "color"),
    *,
    color_format: str = "rgb8",
    model: str = "none",
    coefficients: Sequence[float] = (0.0,) * 5,
    number_offset: int = 0,
    color_late_ms: float = 0.0,
    count: int = 12,
    domain: str = "hardware_clock",
) -> Path:
    """A recording as another program makes it: librealsense alone, without our topics; D405 units; 16x12 pixels."""
    rs = sdk("this test")
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.fy = 16, 12, 15.0, 15.0
    intrinsics.ppx, intrinsics.ppy, intrinsics.model = 8.0, 6.0, getattr(rs.distortion, model)
    intrinsics.coeffs = list(coefficients)
    device = rs.software_device()
    bytes_of = {"depth": 2, "color": {"rgba8": 4, "bgra8": 4, "yuyv": 2, "y8": 1}.get(color_format, 3)}
    sensors, profiles = {}, {}
    for uid, kind in enumerate(streams):
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = getattr(rs.stream, kind), 0, uid
        stream.width, stream.height, stream.fps, stream.bpp = 16, 12, 30, bytes_of[kind]
        stream.fmt = rs.format.z16 if kind == "depth" else getattr(rs.format, color_format)
        stream.intrinsics = intrinsics
        sensors[kind] = device.add_sensor(kind)
        profiles[kind] = sensors[kind].add_video_stream(stream).as_video_stream_profile()
    if "depth" in streams:
        sensors["depth"].add_read_only_option(rs.option.depth_units, 0.0001)
    if len(streams) == 2:
        extrinsics = rs.extrinsics()
        extrinsics.rotation, extrinsics.translation = T_COLOR_DEPTH[:3, :3].T.ravel().tolist(), [0.015, 0.0, 0.0]
        profiles["depth"].register_extrinsics_to(profiles["color"], extrinsics)
    recorder = rs.recorder(str(path), device)
    recorded = recorder.query_sensors()
    for sensor, profile in zip(recorded, profiles.values(), strict=True):
        sensor.open(profile)
        sensor.start(lambda frame: None)
    for n in range(count):
        for kind in streams:
            late = kind == "color"
            image = rs.software_video_frame()
            image.pixels = np.full((12, 16, bytes_of[kind]), 10 * n + 5, dtype=np.uint8)
            image.bpp, image.stride = bytes_of[kind], 16 * bytes_of[kind]
            image.timestamp = 1000.0 + n * 33.333 + (color_late_ms if late else 0.0)
            image.domain = getattr(rs.timestamp_domain, domain if late else "hardware_clock")
            image.frame_number = n + 1 + (number_offset if late else 0)
            image.profile = profiles[kind]
            sensors[kind].on_video_frame(image)
    for sensor in recorded:
        sensor.stop()
        sensor.close()
    del recorder, recorded, sensor
    gc.collect()
    return path


@needs_sdk
@pytest.mark.parametrize("scale", [0.001, 0.0001, 0.000123456789])
@pytest.mark.parametrize("start_ns", [0, 1_700_000_000_123_456_789])
def test_what_goes_into_a_db3_comes_out_of_it_bit_by_bit(tmp_path: Path, scale: float, start_ns: int) -> None:
    frames = synthetic(13, start_ns, scale)
    with RealSenseRecording(str(write(tmp_path / "a.db3", frames))) as source:
        assert isinstance(source, FrameSource)
        assert source.info.frames == 13
        assert source.info.has_poses
        assert source.info.color_intrinsics == COLOR
        assert source.info.depth_scale == scale
        got = list(source.frames())
    assert len(got) == 13
    for mine, wanted in zip(got, frames, strict=True):
        assert_same(mine, wanted)
    assert source.info.counters == {"frames": 13, "frames_unpaired": 0, "paired_by_timestamp": 0}
    assert os.listdir(tmp_path) == ["a.db3"]


@needs_sdk
def test_frames_starts_from_the_beginning_at_each_call_and_may_be_left_early(recording: Path) -> None:
    with RealSenseRecording(str(recording)) as source:
        early = source.frames()
        assert [next(early).index for _ in range(3)] == [0, 1, 2]
        early.close()
        assert [frame.index for frame in source.frames()] == list(range(40))
        assert [frame.index for frame in source.frames()] == list(range(40))


@needs_sdk
def test_a_closed_recording_says_so_and_closing_twice_is_fine(recording: Path) -> None:
    source = RealSenseRecording(str(recording))
    running = source.frames()
    next(running)
    source.close()
    source.close()
    with pytest.raises(BadInput, match="closed"):
        source.frames()
    with pytest.raises(BadInput, match="closed"):
        list(running)


@needs_sdk
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_opening_twenty_times_leaks_no_files_and_no_threads(recording: Path) -> None:
    def open_things() -> tuple[int, int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()

    def cycle(n: int) -> None:
        with RealSenseRecording(str(recording)) as source:
            frames = source.frames()
            for _ in range(3 if n % 2 else 8):
                next(frames)
            frames.close()

    cycle(0)
    before = open_things()
    for n in range(20):
        cycle(n)
    gc.collect()
    assert open_things() <= before


@needs_sdk
def test_librealsense_plays_the_file_with_the_added_topics(recording: Path) -> None:
    rs = sdk("this test")
    config, pipeline = rs.config(), rs.pipeline()
    config.enable_device_from_file(str(recording), False)
    device = pipeline.start(config).get_device()
    device.as_playback().set_real_time(False)
    seconds = device.as_playback().get_duration().total_seconds()
    numbers = set()
    try:
        while len(numbers) < 20:
            frameset = pipeline.wait_for_frames(5000)
            depth = frameset.get_depth_frame()
            numbers.add(depth.get_frame_number())
            assert depth.get_units() == pytest.approx(0.001)
    finally:
        pipeline.stop()
    assert seconds == pytest.approx(39 * STEP_NS / 1e9, abs=0.01), "it plays at the speed at which it was taken"


@needs_sdk
def test_rosbags_reads_the_pose_topic(recording: Path) -> None:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    wanted = [f for f in synthetic(40) if f.T_world_camera is not None]
    with AnyReader([recording], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        connections = [c for c in reader.connections if c.topic == pose_topic.TOPIC]
        assert [c.msgtype for c in connections] == [pose_topic.TYPE]
        messages = [reader.deserialize(data, pose_topic.TYPE) for _, _, data in reader.messages(connections)]
    assert len(messages) == len(wanted)
    for message, frame in zip(messages, wanted, strict=True):
        assert message.header.frame_id == "world"
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == frame.timestamp_ns
        position = message.pose.position
        assert frame.T_world_camera is not None
        np.testing.assert_allclose((position.x, position.y, position.z), frame.T_world_camera[:3, 3])


@needs_sdk
def test_rows_of_a_db3_are_in_the_order_and_at_the_time_of_their_frames(recording: Path) -> None:
    query = "SELECT timestamp FROM messages JOIN topics ON topic_id = topics.id WHERE name LIKE ? ORDER BY messages.id"
    stamps = [f.timestamp_ns for f in synthetic(40)]
    with sqlite3.connect(recording) as connection:
        for pattern in ("%/Depth_0/image/data%", "%/Color_0/image/metadata"):
            times = [t for (t,) in connection.execute(query, (pattern,))]
            assert times == [s - stamps[0] + realsense_db3.FIRST_ROW_NS for s in stamps]
    connection.close()


@needs_sdk
def test_a_recording_of_another_program_reads_with_its_own_cameras(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.db3", model="inverse_brown_conrady", coefficients=(0.1, -0.2, 0.003, 0.004, 0.05))
    with RealSenseRecording(str(path)) as source:
        frames = list(source.frames())
        info = source.info
    assert (info.frames, info.depth_scale, info.has_poses) == (None, 0.0001, False)
    assert info.color_intrinsics.model == "inverse_brown_conrady"
    np.testing.assert_allclose(info.color_intrinsics.coefficients, (0.1, -0.2, 0.003, 0.004, 0.05), rtol=1e-6)
    np.testing.assert_allclose(info.T_color_depth[:3, :3], T_COLOR_DEPTH[:3, :3], atol=2e-6)
    assert [f.timestamp_ns for f in frames] == [1_000_000_000 + n * 33_333_000 for n in range(12)]
    assert [int(f.color[0, 0, 0]) for f in frames] == [10 * n + 5 for n in range(12)]
    assert [f.T_world_camera for f in frames] == [None] * 12


@needs_sdk
@pytest.mark.parametrize("color_format", ["bgr8", "rgba8", "bgra8", "yuyv"])
def test_other_colour_formats_become_rgb(tmp_path: Path, color_format: str) -> None:
    with RealSenseRecording(str(foreign(tmp_path / "a.db3", color_format=color_format, count=5))) as source:
        assert [f.color.shape for f in source.frames()] == [(12, 16, 3)] * 5


def test_colour_channels_end_in_the_order_red_green_blue() -> None:
    bgra = np.array([[[1, 2, 3, 255], [4, 5, 6, 255]]], dtype=np.uint8)
    assert rgb(bgra, 2, 1, "bgra8").tolist() == [[[3, 2, 1], [6, 5, 4]]]
    assert rgb(bgra[..., :3], 2, 1, "bgr8").tolist() == [[[3, 2, 1], [6, 5, 4]]]
    # YUYV of two red pixels (BT.601: Y 81, U 90, V 240), which librealsense hands out as uint16.
    red = rgb(np.array([[81, 90, 81, 240]], dtype=np.uint8).view(np.uint16), 2, 1, "yuyv")
    assert np.all(np.abs(red.astype(int) - (254, 0, 0)) <= 3)


@needs_sdk
def test_offset_frame_counters_are_paired_by_timestamp(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.db3", number_offset=5, color_late_ms=2.0)
    with RealSenseRecording(str(path)) as source:
        frames = list(source.frames())
        assert source.info.counters["paired_by_timestamp"] == 1
    assert len(frames) == 12
    assert all(int(f.color[0, 0, 0]) == int(f.depth_raw[0, 0]) % 256 for f in frames)


@needs_sdk
def test_clocks_that_cannot_be_compared_are_paired_by_number(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.db3", color_late_ms=5e8, domain="system_time")
    with RealSenseRecording(str(path)) as source:
        assert len(list(source.frames())) == 12


@needs_sdk
@pytest.mark.parametrize(("stream", "other"), [("depth", "color"), ("color", "depth")])
def test_a_recording_without_one_of_the_streams_is_refused(tmp_path: Path, stream: str, other: str) -> None:
    with pytest.raises(BadRecording, match=f"no {other} stream"):
        RealSenseRecording(str(foreign(tmp_path / "a.db3", (stream,))))


@needs_sdk
def test_a_grey_colour_stream_and_a_fisheye_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="color as y8"):
        RealSenseRecording(str(foreign(tmp_path / "grey.db3", color_format="y8")))
    with pytest.raises(BadRecording, match="kannala_brandt4"):
        RealSenseRecording(str(foreign(tmp_path / "eye.db3", model="kannala_brandt4", coefficients=(0.1,) * 5)))


@needs_sdk
def test_what_is_no_recording_is_refused_with_its_path_and_why(tmp_path: Path) -> None:
    database = tmp_path / "notes.db3"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    (tmp_path / "empty.db3").touch()
    (tmp_path / "text.db3").write_bytes(b"garbage" * 100)
    (tmp_path / "zeros.bag").write_bytes(b"#ROSBAG V2.0\n" + b"\0" * 2000)
    (tmp_path / "garbage.bag").write_bytes(b"garbage" * 100)
    (tmp_path / "loop.db3").symlink_to(tmp_path / "loop.db3")
    (tmp_path / "folder.db3").mkdir()
    for name, reason in (
        ("absent.db3", "cannot be opened"),
        ("empty.db3", "empty"),
        ("text.db3", "SQLite"),
        ("notes.db3", "no topics"),
        ("zeros.bag", "librealsense cannot read"),
        ("garbage.bag", "ROSBAG"),
        ("loop.db3", "cannot be opened"),
        ("folder.db3", "folder"),
        ("film.mp4", r"\.db3 or \.bag"),
    ):
        with pytest.raises(BadRecording, match=reason) as raised:
            RealSenseRecording(str(tmp_path / name))
        assert raised.value.path == str(tmp_path / name)


def read_all(path: Path, got: list[RgbdFrame]) -> None:
    with RealSenseRecording(str(path)) as source:
        got.extend(source.frames())


@needs_sdk
@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_cut_recording_gives_the_frames_before_the_cut_and_then_says_so(
    recording: Path, tmp_path: Path, part: float
) -> None:
    frames = synthetic(40)
    cut = tmp_path / "cut.db3"
    whole = recording.read_bytes()
    cut.write_bytes(whole[: int(len(whole) * part)])
    got: list[RgbdFrame] = []
    with pytest.raises(BadRecording, match="truncated") as raised:
        read_all(cut, got)
    assert raised.value.path == str(cut)
    assert len(got) >= 40 * part - 4
    for mine, wanted in zip(got, frames, strict=False):
        assert_same(mine, wanted)


@needs_sdk
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_damaged_recording_never_hangs_and_never_raises_anything_but_bad_recording(
    recording: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(recording.read_bytes())
    cut = data.draw(st.integers(16, len(damaged)), label="cut")
    hole = data.draw(st.integers(16, len(damaged) - 1), label="hole")
    length = data.draw(st.integers(0, 6000), label="length")
    damaged[hole : hole + length] = b"\xa5" * len(damaged[hole : hole + length])
    path = tmp_path_factory.mktemp("damaged") / "x.db3"
    path.write_bytes(damaged[:cut])
    got: list[RgbdFrame] = []
    with suppress(BadRecording):
        read_all(path, got)
    assert [frame.index for frame in got] == list(range(len(got)))
    assert len(got) <= 40


@needs_sdk
def test_a_silent_playback_is_given_up(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realsense_playback, "STALL_S", 0.3)
    monkeypatch.setattr(realsense_playback._Inbox, "on_status", lambda self, status: None)
    got = []
    with RealSenseRecording(str(recording)) as source, pytest.raises(BadRecording, match="silent"):
        got.extend(source.frames())
    assert len(got) == 40


@needs_sdk
def test_a_sink_refuses_a_camera_that_changes_and_time_that_does_not_go_on(tmp_path: Path) -> None:
    a, b, c = synthetic(3)
    wrong = {
        "comes twice|left out": c,
        "does not come after": replace(b, timestamp_ns=a.timestamp_ns),
        "timestamp_ns must be": replace(b, timestamp_ns=-1),
        "color_intrinsics changed": replace(b, color_intrinsics=replace(COLOR, fx=99.0)),
        "depth_scale changed": replace(b, depth_scale=0.002),
        "T_color_depth changed": replace(b, T_color_depth=np.eye(4)),
    }
    for message, frame in wrong.items():
        with pytest.raises(BadFrame, match=message):
            write(tmp_path / "a.db3", [a, frame])
    assert os.listdir(tmp_path) == []


@needs_sdk
def test_a_sink_leaves_nothing_behind_when_its_block_fails(tmp_path: Path) -> None:
    sink = RealSenseSink(str(tmp_path / "a.db3"))
    assert isinstance(sink, FrameSink)

    def convert() -> None:
        with sink:
            for frame in synthetic(6):
                sink.write(frame)
            raise KeyError("the source broke")

    with pytest.raises(KeyError):
        convert()
    assert os.listdir(tmp_path) == []
    with pytest.raises(BadInput, match="not open"):
        sink.write(synthetic(1)[0])


@needs_sdk
def test_a_sink_refuses_other_endings_taken_places_and_having_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.bag"):
        RealSenseSink(str(tmp_path / "a.bag"))
    with pytest.raises(BadInput, match="no frame"), RealSenseSink(str(tmp_path / "a.db3")):
        pass
    assert os.listdir(tmp_path) == []
    taken = tmp_path / "b.db3"
    taken.write_bytes(b"mine")
    with pytest.raises(OutputExists), RealSenseSink(str(taken)):
        pass
    assert taken.read_bytes() == b"mine"
    with RealSenseSink(str(taken), overwrite=True) as sink:
        sink.write(synthetic(1)[0])
    with RealSenseRecording(str(taken)) as source:
        assert len(list(source.frames())) == 1


@needs_sdk
def test_a_file_with_fewer_images_than_rows_is_not_taken_for_whole(recording: Path, tmp_path: Path) -> None:
    frames = synthetic(40)
    damaged = tmp_path / "a.db3"
    damaged.write_bytes(recording.read_bytes())
    with sqlite3.connect(damaged) as connection:
        query = (
            "SELECT messages.id FROM messages JOIN topics ON topic_id = topics.id WHERE name LIKE ? LIMIT 1 OFFSET 9"
        )
        (row,) = connection.execute(query, ("%/Color_0/image/data%",)).fetchone()
        connection.execute("UPDATE messages SET data = substr(data, 1, 400) WHERE id = ?", (row,))
    connection.close()
    got: list[RgbdFrame] = []
    with pytest.raises(BadRecording):
        read_all(damaged, got)
    assert len(got) >= 9
    for mine, wanted in zip(got[:9], frames, strict=False):
        assert_same(mine, wanted)


def image(stream: str, number: int, ms: float, domain: str = "hardware_clock") -> StreamImage:
    return StreamImage(stream, number, nanoseconds(ms), domain, np.zeros(1))  # type: ignore[arg-type]


def paired(images: Sequence[StreamImage], period_ms: float = 33.0) -> tuple[list[tuple[int, int]], Pairing]:
    pairing = Pairing(round(period_ms * 1e6))
    pairs = [(d.number, c.number) for item in images for d, c in pairing.add(item)]
    pairs += [(d.number, c.number) for d, c in pairing.end()]
    return pairs, pairing


def test_each_image_is_used_once_and_the_rest_is_counted() -> None:
    images = []
    for n in range(20):
        images += [image("depth", n, 33.0 * n)] if n % 5 else []
        images += [image("color", n, 33.0 * n + 1)] if n % 7 != 3 else []
    pairs, pairing = paired(images)
    assert pairs == [(n, n) for n in range(20) if n % 5 and n % 7 != 3]
    assert pairing.unpaired == len(images) - 2 * len(pairs)


def test_equal_numbers_taken_at_different_times_are_no_pair() -> None:
    images = [item for n in range(12) for item in (image("depth", n, 33.0 * n), image("color", n, 33.0 * (n + 3) + 2))]
    pairs, pairing = paired(images)
    assert pairing.by == "timestamp"
    assert pairs == [(n + 3, n) for n in range(9)]
    assert pairing.unpaired == 6


def test_a_counter_that_jumps_midway_does_not_end_the_pairing() -> None:
    def number(n: int) -> int:
        return n if n < 10 else n + 2

    images = [
        item for n in range(20) for item in (image("depth", n, 33.0 * n), image("color", number(n), 33.0 * n + 2))
    ]
    pairs, pairing = paired(images)
    assert pairing.by == "timestamp"
    assert [c for _, c in pairs[:10]] == list(range(10))
    assert set(pairs[10:]) <= {(n, number(n)) for n in range(10, 20)}
    assert len(pairs) >= 17


@pytest.mark.parametrize(("depth_ms", "color_ms"), [(11.0, 33.0), (33.0, 16.5)])
def test_streams_of_different_rates_pair_their_common_moments(depth_ms: float, color_ms: float) -> None:
    images = [image("depth", n, depth_ms * n) for n in range(int(990 / depth_ms))]
    images += [image("color", n, color_ms * n + 1.0) for n in range(int(990 / color_ms))]
    images.sort(key=lambda i: i.timestamp_ns)
    pairs, pairing = paired(images, min(depth_ms, color_ms))
    assert len(pairs) == 30
    assert all(abs(d * depth_ms - c * color_ms) < 1e-6 for d, c in pairs)
    assert pairing.unpaired == len(images) - 60


@given(
    st.lists(st.tuples(st.sampled_from(["depth", "color"]), st.integers(0, 400), st.floats(0.0, 3000.0)), max_size=200)
)
def test_any_order_of_images_pairs_within_bounds_and_loses_none_uncounted(
    items: list[tuple[str, int, float]],
) -> None:
    pairing = Pairing(33_000_000)
    pairs = 0
    for stream, number, ms in items:
        pairs += sum(1 for _ in pairing.add(image(stream, number, ms)))
        assert len(pairing._depth) <= MAX_WAITING
        assert len(pairing._color) <= MAX_WAITING
    pairs += sum(1 for _ in pairing.end())
    assert 2 * pairs + pairing.unpaired == len(items)


def test_a_pose_belongs_to_its_exact_time_or_the_nearest_within_reach() -> None:
    transforms = np.stack([np.eye(4)] * 3)
    transforms[:, 0, 3] = (0.0, 1.0, 2.0)
    track = PoseTrack(np.array([100, 200, 300], dtype=np.int64), transforms)
    found = [track.at(t, 40) for t in (100, 200, 239, 241, 60, 59, 341)]
    assert [None if T is None else T[0, 3] for T in found] == [0.0, 1.0, 1.0, None, 0.0, None, None]


def test_float32_depth_units_and_millisecond_floats_come_back_as_they_were_meant() -> None:
    assert [shortest(float(np.float32(v))) for v in (0.0001, 0.001, 0.00025)] == [0.0001, 0.001, 0.00025]
    assert [nanoseconds(t / 1e6) for t in (0, 1, 33_333_333, 10**15 + 1)] == [0, 1, 33_333_333, 10**15 + 1]


IMPORT_IS_LAZY = """
import sys
import scene_r1.sources.realsense, scene_r1.sources.realsense_sink
assert not {"pyrealsense2", "rosbags"} & set(sys.modules), sorted(sys.modules)
sys.modules["pyrealsense2"] = None
from scene_r1_engines.errors import MissingExtra
for make in (scene_r1.sources.realsense.RealSenseRecording, scene_r1.sources.realsense_sink.RealSenseSink):
    try:
        make("x.bag" if "Recording" in make.__name__ else "x.db3")
    except MissingExtra as error:
        assert error.extra == "realsense", error
    else:
        raise SystemExit("no MissingExtra")
"""


def test_the_sdk_is_imported_on_use_and_missed_by_name() -> None:
    subprocess.run([sys.executable, "-c", IMPORT_IS_LAZY], check=True, timeout=60)


def test_a_missing_libusb_is_said_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "raise ImportError('libusb-1.0.so.0: cannot open shared object file')"
    (tmp_path / "pyrealsense2.py").write_text(broken)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pyrealsense2", raising=False)
    with pytest.raises(MissingExtra, match=r"apt-get install libusb-1\.0-0"):
        sdk("this test")


def test_continuous_integration_does_not_skip_these_tests() -> None:
    if os.environ.get("CI"):
        assert MISSING is None, MISSING
        assert find_spec("rosbags") is not None
