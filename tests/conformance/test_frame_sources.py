"""What every FrameSource and every FrameSink promises, asked of each of them in the same words."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.sens_writer import write_sens
from tests.runtime.exported_folders import embodied_scan, replica, sens_reader_export
from tests.runtime.phone_recordings import write_arkit_scenes, write_record3d, write_stray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.live import open_live
from scene_r1.rooms import SyntheticRecording
from scene_r1.sources import FrameSink, FrameSource, create_sink, open_source
from scene_r1.sources.camera_file import CameraFile, write_camera
from scene_r1.sources.realsense import RealSenseRecording
from scene_r1_engines.errors import BadFrame, BadInput, MissingExtra, OutputExists, SceneR1Error
from scene_r1_engines.intrinsics import Intrinsics

COUNT = 6
CAMERA = Intrinsics(60.0, 60.5, 31.2, 23.7, 64, 48)
COLOR = Intrinsics(61.5, 60.25, 31.1, 23.3, 64, 48, "inverse_brown_conrady", (0.1, -0.05, 0.001, -0.002, 0.01))
DEPTH = Intrinsics(41.0, 41.5, 24.0, 18.0, 48, 36, "brown_conrady", (0.05, -0.01, 0.0, 0.0, 0.0))
T_COLOR_DEPTH = pose.from_quaternion((0.015, -0.002, 0.0003), (0.0, 0.01, 0.0, 0.99995))
CAMERAS: dict[str, dict[str, Any]] = {
    "one camera": {"color_intrinsics": CAMERA, "depth_intrinsics": CAMERA},
    "two cameras": {"color_intrinsics": COLOR, "depth_intrinsics": DEPTH, "T_color_depth": T_COLOR_DEPTH},
}


def made(count: int = COUNT, cameras: str = "two cameras") -> list[RgbdFrame]:
    """Frames of noise, so that anything lost or mixed up shows. Frame 2 has no pose. Depths suit every layout."""
    rng = np.random.default_rng(11)
    color, depth = CAMERAS[cameras]["color_intrinsics"], CAMERAS[cameras]["depth_intrinsics"]
    frames = []
    for i in range(count):
        q = rng.normal(size=4)
        T = pose.from_quaternion(rng.uniform(-3.0, 3.0, 3), q / np.linalg.norm(q))
        frames.append(
            RgbdFrame(
                index=i,
                timestamp_ns=1_700_000_000_000_000_000 + i * 33_333_333 + int(rng.integers(0, 1_000_000)),
                color=rng.integers(0, 256, (color.height, color.width, 3), dtype=np.uint8),
                depth_raw=rng.integers(0, 13_000, (depth.height, depth.width), dtype=np.uint16),
                depth_scale=0.001,
                T_world_camera=None if i == 2 else T,
                **CAMERAS[cameras],
            )
        )
    return frames


def recorded(path: Path, cameras: str, **options: Any) -> Path:
    with create_sink(path, **options) as sink:
        for frame in made(cameras=cameras):
            sink.write(frame)
    return path


def times_left_out(folder: Path, cameras: str) -> Path:
    """As the data set itself has it: no times, so that they are made up from the rate."""
    recorded(folder, cameras, format="seven_scenes")
    (folder / "timestamps.txt").unlink()
    return folder


def pinhole(cameras: str) -> list[RgbdFrame]:
    """Without the distortion that ScanNet's formats have no place for."""
    plain = {"model": "none", "coefficients": (0.0,) * 5}
    return [
        replace(
            frame,
            color_intrinsics=replace(frame.color_intrinsics, **plain),
            depth_intrinsics=replace(frame.depth_intrinsics, **plain),
        )
        for frame in made(cameras=cameras)
    ]


def by_phone(cameras: str) -> list[RgbdFrame]:
    """Depth registered to colour, at its own size or at colour's."""
    depth = CAMERA if cameras == "one camera" else CAMERA.scaled(32, 24)
    return [
        replace(
            frame,
            color_intrinsics=CAMERA,
            depth_intrinsics=depth,
            depth_raw=np.resize(frame.depth_raw, (depth.height, depth.width)),
            T_color_depth=np.eye(4),
        )
        for frame in made(cameras=cameras)
    ]


def rendered(folder: Path, cameras: str) -> Path:
    """Replica has one camera; two of them only camera.toml can say."""
    replica(folder, made(cameras=cameras))
    first = made(1, cameras)[0]
    camera = CameraFile(first.color_intrinsics, first.depth_intrinsics, first.T_color_depth, 1.0 / 6553.5, 30.0)
    write_camera(folder / "camera.toml", camera)
    return folder


def synthetic(cameras: str, cache: Path | None = None) -> Callable[[], FrameSource]:
    one = cameras == "one camera"
    return lambda: SyntheticRecording(5, COUNT, (64, 48), one_camera=one, cache_dir=cache)


def read_once(opens: Callable[[], FrameSource]) -> Callable[[], FrameSource]:
    with opens() as source:
        assert len(list(source.frames())) == COUNT
    return opens


def without_sdk(path: Path) -> Callable[[], FrameSource]:
    return lambda: RealSenseRecording(str(path), librealsense=False)


def bag(folder: Path, cameras: str, kind: str) -> Path:
    """With a lens that a CameraInfo can have. `rosbags`, which writes it, is an extra."""
    pytest.importorskip("rosbags")
    writer = import_module("tests.runtime.ros_writer")
    lens = replace(COLOR, model="brown_conrady") if cameras == "two cameras" else CAMERA
    path: Path = writer.recorded(folder, [replace(f, color_intrinsics=lens) for f in made(cameras=cameras)], kind)
    return path


Opens = Callable[[], FrameSource]
KINDS: Mapping[str, Callable[[Path, str], Opens]] = {
    "7-Scenes, PNG": lambda tmp, c: opened(recorded(tmp / "folder", c, format="seven_scenes")),
    "7-Scenes, JPEG": lambda tmp, c: opened(recorded(tmp / "folder", c, format="seven_scenes", jpeg_quality=90)),
    "7-Scenes, no times": lambda tmp, c: opened(times_left_out(tmp / "folder", c)),
    "TUM": lambda tmp, c: opened(recorded(tmp / "folder", c, format="tum")),
    "RealSense .db3": lambda tmp, c: opened(recorded(tmp / "room.db3", c)),
    "ScanNet .sens": lambda tmp, c: opened(write_sens(tmp / "scan.sens", pinhole(c))),
    "ScanNet .sens, no times": lambda tmp, c: opened(write_sens(tmp / "scan.sens", pinhole(c), timed=False)),
    "ScanNet export": lambda tmp, c: opened(sens_reader_export(tmp / "scan", pinhole(c))),
    "EmbodiedScan": lambda tmp, c: opened(embodied_scan(tmp / "scan", pinhole(c))),
    "Replica": lambda tmp, c: opened(rendered(tmp / "room0", c)),
    "ARKitScenes": lambda tmp, c: opened(write_arkit_scenes(tmp / "41048143", by_phone(c))),
    "SceneFun3D": lambda tmp, c: opened(write_arkit_scenes(tmp / "421254" / "42445021", by_phone(c), stream="hires")),
    "Stray Scanner": lambda tmp, c: opened(write_stray(tmp / "scan", by_phone(c))),
    "Stray Scanner, old": lambda tmp, c: opened(write_stray(tmp / "scan", by_phone(c), npy=True, old=True)),
    "Record3D": lambda tmp, c: opened(write_record3d(tmp / "room.r3d", by_phone(c))),
    "RealSense .db3, by SQLite": lambda tmp, c: without_sdk(recorded(tmp / "room.db3", c)),
    "ROS 2 .mcap": lambda tmp, c: opened(bag(tmp / "room", c, "mcap")),
    "ROS 2 folder": lambda tmp, c: opened(bag(tmp / "room", c, "db3").parent),
    "ROS 2 .db3": lambda tmp, c: opened(bag(tmp / "room", c, "db3")),
    "ROS 1 .bag": lambda tmp, c: opened(bag(tmp / "room", c, "bag")),
    "live, 7-Scenes": lambda tmp, c: live(recorded(tmp / "folder", c, format="seven_scenes")),
    "synthetic": lambda tmp, c: synthetic(c),
    "synthetic, cached": lambda tmp, c: read_once(synthetic(c, tmp)),
}


def opened(path: Path) -> Opens:
    return lambda: open_source(path)


def live(path: Path) -> Opens:
    """Played as a camera would give it, in real time, by a process of its own."""
    return lambda: open_live(f"{path}@30hz", waiting=4 * COUNT)


def unless_missing(make: Callable[[], Any]) -> Any:
    """Skip where an extra is not installed; on CI everything is, so there its absence is a failure."""
    try:
        return make()
    except MissingExtra as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=[f"{kind}, {cameras}" for kind in KINDS for cameras in CAMERAS])
def opens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opens:
    """Opens the same recording anew at each call."""
    kind, cameras = request.param.rsplit(", ", 1)
    return unless_missing(lambda: KINDS[kind](tmp_path_factory.mktemp("recording"), cameras))


@pytest.fixture
def source(opens: Opens) -> Iterator[FrameSource]:
    with opens() as source:
        yield source


def same(a: RgbdFrame, b: RgbdFrame) -> None:
    assert (a.index, a.timestamp_ns, a.depth_scale) == (b.index, b.timestamp_ns, b.depth_scale)
    assert np.array_equal(a.color, b.color)
    assert np.array_equal(a.depth_raw, b.depth_raw)
    assert (a.T_world_camera is None) == (b.T_world_camera is None)
    assert a.T_world_camera is None or np.array_equal(a.T_world_camera, b.T_world_camera)


def test_it_is_a_frame_source_and_a_context_manager(opens: Opens) -> None:
    source = opens()
    assert isinstance(source, FrameSource)
    with source as entered:
        assert entered is source


def test_closing_twice_is_fine(opens: Opens) -> None:
    with opens() as source:
        next(iter(source.frames()))
    source.close()
    source.close()


def test_frames_after_close_is_refused_at_once(opens: Opens) -> None:
    source = opens()
    source.close()
    with pytest.raises(SceneR1Error):
        source.frames()


def test_a_loop_does_not_end_quietly_when_its_recording_is_closed_under_it(opens: Opens) -> None:
    source = opens()
    frames = source.frames()
    next(frames)
    source.close()
    with pytest.raises(SceneR1Error):
        list(frames)


def test_info_can_be_read_before_and_after_the_frames_and_after_close(opens: Opens) -> None:
    with opens() as source:
        before = source.info
        list(source.frames())
    assert (source.info.path, source.info.format) == (before.path, before.format)


def test_every_call_of_frames_starts_from_the_beginning_and_gives_the_same(source: FrameSource) -> None:
    first, second = list(source.frames()), list(source.frames())
    assert len(first) == len(second) == COUNT
    for a, b in zip(first, second, strict=True):
        same(a, b)


def test_two_openings_give_the_same(opens: Opens) -> None:
    with opens() as a, opens() as b:
        for one, other in zip(a.frames(), b.frames(), strict=True):
            same(one, other)


def test_a_loop_left_early_does_not_disturb_the_next(source: FrameSource) -> None:
    assert [frame.index for frame in islice(source.frames(), 2)] == [0, 1]
    assert [frame.index for frame in source.frames()] == list(range(COUNT))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts /proc/self/fd")
def test_loops_left_early_leave_no_threads_and_no_open_files(opens: Opens) -> None:
    def leave_early() -> tuple[int, int]:
        with opens() as source:
            frames = source.frames()
            next(frames)
            frames.close()  # type: ignore[attr-defined]
            with suppress(StopIteration):
                next(iter(source.frames()))
        del source, frames
        gc.collect()
        return threading.active_count(), open_files()

    first = leave_early()  # what a library opens once and keeps is no leak
    after = [leave_early() for _ in range(3)]
    assert after[-1] <= first


def test_indices_count_from_zero_without_a_gap(source: FrameSource) -> None:
    assert [frame.index for frame in source.frames()] == list(range(COUNT))


def test_time_always_advances(source: FrameSource) -> None:
    times = [frame.timestamp_ns for frame in source.frames()]
    assert np.all(np.diff(times) > 0)


def test_info_says_what_the_frames_are(source: FrameSource) -> None:
    info = source.info
    frames = list(source.frames())
    assert info.frames is None or info.frames == len(frames)
    assert info.has_poses == any(frame.T_world_camera is not None for frame in frames)
    assert info.rate_hz == pytest.approx(1e9 / np.median(np.diff([f.timestamp_ns for f in frames])), rel=0.1)
    for frame in frames:
        assert (frame.color_intrinsics, frame.depth_intrinsics) == (info.color_intrinsics, info.depth_intrinsics)
        assert frame.color.shape == (info.color_intrinsics.height, info.color_intrinsics.width, 3)
        assert frame.depth_raw.shape == (info.depth_intrinsics.height, info.depth_intrinsics.width)
        assert frame.depth_scale == info.depth_scale
        np.testing.assert_allclose(frame.T_color_depth, info.T_color_depth, atol=1e-14)


def test_arrays_of_a_frame_cannot_be_written(source: FrameSource) -> None:
    for frame in islice(source.frames(), 2):
        assert frame.T_world_camera is not None
        for array in (frame.color, frame.depth_raw, frame.T_color_depth, frame.T_world_camera):
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[0, 0] = 0


def test_a_frame_stays_what_it_was_when_the_next_ones_are_read(source: FrameSource) -> None:
    frames = source.frames()
    first = next(frames)
    color, depth = first.color.copy(), first.depth_raw.copy()
    list(frames)
    assert np.array_equal(first.color, color)
    assert np.array_equal(first.depth_raw, depth)


def test_poses_are_rigid_to_rounding(source: FrameSource) -> None:
    for frame in source.frames():
        for T in (frame.T_color_depth, frame.T_world_camera):
            if T is not None:
                np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
                assert np.linalg.det(T[:3, :3]) > 0.0
                assert T[3].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_one_camera_and_two_cameras_are_told_apart(source: FrameSource, request: pytest.FixtureRequest) -> None:
    assert [frame.one_camera for frame in source.frames()] == [", one camera" in request.node.name] * COUNT


# -- FrameSink --------------------------------------------------------------------------------------------------------

Creates = Callable[[], FrameSink]
SINKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "7-Scenes, PNG": ("recording", {"format": "seven_scenes"}),
    "7-Scenes, JPEG": ("recording", {"format": "seven_scenes", "jpeg_quality": 90}),
    "TUM": ("recording", {"format": "tum"}),
    "RealSense .db3": ("recording.db3", {}),
}


@pytest.fixture(params=SINKS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the sink writes: the only thing that may appear in its folder."""
    return tmp_path / "place" / SINKS[request.param][0]


@pytest.fixture
def creates(request: pytest.FixtureRequest, target: Path) -> Creates:
    options = SINKS[request.node.callspec.params["target"]][1]
    unless_missing(lambda: create_sink(target, **options))
    return lambda: create_sink(target, **options)


def around(target: Path) -> list[str]:
    """What is in the target's folder, hidden temporary files included."""
    return sorted(os.listdir(target.parent)) if target.parent.exists() else []


def test_it_is_a_frame_sink_and_creating_it_writes_nothing(creates: Creates, target: Path) -> None:
    sink = creates()
    assert isinstance(sink, FrameSink)
    assert around(target) == []


@pytest.mark.parametrize("cameras", CAMERAS)
def test_as_many_frames_come_out_as_went_in(creates: Creates, target: Path, cameras: str) -> None:
    frames = made(cameras=cameras)
    with creates() as sink:
        for frame in frames:
            sink.write(frame)
    assert around(target) == [target.name]
    with open_source(target) as source:
        read = list(source.frames())
    assert [frame.index for frame in read] == list(range(COUNT))
    assert [frame.timestamp_ns for frame in read] == [frame.timestamp_ns for frame in frames]
    for got, wanted in zip(read, frames, strict=True):
        np.testing.assert_allclose(got.depth_m, wanted.depth_m, atol=1e-6, rtol=0.0)
        assert (got.T_world_camera is None) == (wanted.T_world_camera is None)
        if got.T_world_camera is not None:
            np.testing.assert_allclose(got.T_world_camera, wanted.T_world_camera, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("written", [0, 1, 5])
def test_an_error_inside_the_block_leaves_nothing_behind(creates: Creates, target: Path, written: int) -> None:
    class Interruption(Exception):
        pass

    def interrupted() -> None:
        with creates() as sink:
            for frame in made(written):
                sink.write(frame)
            raise Interruption

    with pytest.raises(Interruption):
        interrupted()
    assert around(target) == []


def test_the_recording_does_not_appear_before_the_block_has_ended(creates: Creates, target: Path) -> None:
    with creates() as sink:
        for frame in made(5):
            sink.write(frame)
        assert not target.exists()
    assert target.exists()


def test_what_is_there_already_is_not_touched(creates: Creates, target: Path) -> None:
    if target.suffix:
        kept = target
        target.parent.mkdir()
    else:
        target.mkdir(parents=True)
        kept = target / "letter.txt"
    kept.write_text("mine")
    with pytest.raises(OutputExists), creates() as sink:
        sink.write(made(1)[0])
    assert kept.read_text() == "mine"
    assert around(target) == [target.name]


@pytest.mark.parametrize("wrong", [1, 3])
def test_the_first_frame_must_have_index_zero(creates: Creates, target: Path, wrong: int) -> None:
    with pytest.raises(BadFrame, match=f"frame {wrong}"), creates() as sink:
        sink.write(made()[wrong])
    assert around(target) == []


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_a_frame_left_out_or_repeated_is_refused_and_the_right_one_still_goes_in(
    creates: Creates, target: Path, wrong: int
) -> None:
    frames = made()
    with creates() as sink:
        sink.write(frames[0])
        sink.write(frames[1])
        with pytest.raises(BadFrame, match=f"frame {wrong}"):
            sink.write(replace(frames[wrong], timestamp_ns=frames[2].timestamp_ns))
        sink.write(frames[2])
    with open_source(target) as source:
        assert [frame.timestamp_ns for frame in source.frames()] == [frame.timestamp_ns for frame in frames[:3]]


def test_another_camera_half_way_is_refused(creates: Creates, target: Path) -> None:
    with creates() as sink:
        sink.write(made(cameras="two cameras")[0])
        with pytest.raises(BadFrame, match="frame 1"):
            sink.write(made(cameras="one camera")[1])
    with open_source(target) as source:
        assert len(list(source.frames())) == 1


def test_a_recording_without_frames_is_refused_and_leaves_nothing(creates: Creates, target: Path) -> None:
    with pytest.raises(BadInput, match="no frame"), creates():
        pass
    assert around(target) == []


def test_writing_before_or_after_the_block_is_refused(creates: Creates, target: Path) -> None:
    frames = made(2)
    sink = creates()
    with pytest.raises(BadInput):
        sink.write(frames[0])
    with sink:
        sink.write(frames[0])
    with pytest.raises(BadInput):
        sink.write(frames[1])
    with open_source(target) as source:
        assert len(list(source.frames())) == 1
