"""ScanNet's `.sens` files: what is in them comes out, in the right frame, and what is broken is named."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import tracemalloc
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.sens_writer import COLOR_CODES, DEPTH_CODES, LOST, SensWriter, pack, write_sens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, make_frames, random_pose, same

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import create_sink, open_source
from scene_r1.sources.scannet.header import BODY, MAX_FRAMES, START, parse_header
from scene_r1.sources.scannet.sens import SensSource
from scene_r1.sources.scannet.sens_file import FRAME, SensFile
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

SENSOR = b"StructureSensor"
BODY_AT = START.size + len(SENSOR)
FIRST_AT = BODY_AT + BODY.size
SMALL = Intrinsics(11.0, 11.5, 4.0, 3.0, 10, 8)
ALIGNMENT = "0.945519 0.325568 0.000000 -5.384390 -0.325568 0.945519 0.000000 -2.871780 0 0 1 -0.064350 0 0 0 1"
"""Of the kind that scans have: a turn about z and a shift, with six decimals."""


def near(a: RgbdFrame, b: RgbdFrame) -> None:
    """b is a, but for times in whole microseconds and matrices in float32."""
    assert (a.index, a.timestamp_ns // 1000 * 1000) == (b.index, b.timestamp_ns)
    assert np.array_equal(a.depth_raw, b.depth_raw)
    assert np.array_equal(a.color, b.color)
    assert (a.color_intrinsics, a.depth_intrinsics) == (b.color_intrinsics, b.depth_intrinsics)
    np.testing.assert_allclose(a.T_color_depth, b.T_color_depth, atol=2e-6, rtol=0)
    assert (a.T_world_camera is None) == (b.T_world_camera is None)
    if a.T_world_camera is not None and b.T_world_camera is not None:
        np.testing.assert_allclose(a.T_world_camera, b.T_world_camera, atol=2e-6, rtol=0)


def read_all(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    """The good prefix, and the fault that ended it."""
    frames: list[RgbdFrame] = []
    try:
        with SensSource(path) as source:
            for frame in source.frames():
                frames.append(frame)
    except BadRecording as error:
        return frames, error
    return frames, None


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sens(tmp_path_factory.mktemp("good") / "scene0000_00.sens", make_frames(3))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(2, 4),
    two=st.booleans(),
    color=st.sampled_from(["png", "raw"]),
    depth=st.sampled_from(["raw_ushort", "zlib_ushort"]),
    imu=st.integers(0, 3),
)
def test_what_is_written_is_read_back(seed: int, count: int, two: bool, color: str, depth: str, imu: int) -> None:
    T = random_pose(np.random.default_rng(seed))
    cameras: dict[str, Any] = {"depth": SMALL, "T_color_depth": T} if two else {}
    frames = make_frames(count, seed, lost=(count - 1,), **cameras)
    with tempfile.TemporaryDirectory() as folder:
        path = write_sens(Path(folder) / "a.sens", frames, packing=(color, depth), imu=imu)
        with open_source(path) as source:
            assert (source.info.format, source.info.frames, source.info.timestamps) == ("scannet", count, "recorded")
            back = list(source.frames())
            assert source.info.counters["without_pose"] == 1
    assert len(back) == count
    for a, b in zip(frames, back, strict=True):
        near(a, b)
        assert b.one_camera == (not two)


def test_a_jpeg_is_decoded_as_a_jpeg_file_is(tmp_path: Path) -> None:
    frames = make_frames(1)
    frames[0] = RgbdFrame(
        0, 0, np.full((12, 16, 3), (200, 90, 30), np.uint8), CAMERA, frames[0].depth_raw, 0.001, CAMERA
    )  # fmt: skip
    back, fault = read_all(write_sens(tmp_path / "a.sens", frames, packing=("jpeg", "zlib_ushort")))
    assert fault is None
    assert np.abs(back[0].color.astype(int) - frames[0].color).max() <= 3


def test_extrinsics_map_each_camera_to_the_frame_whose_pose_is_recorded(tmp_path: Path) -> None:
    """The depth extrinsic takes depth points to the base; with colour's the identity, that is the colour camera."""
    rng = np.random.default_rng(4)
    T_base_color, T_base_depth, T_world_base = (pose.rigid(random_pose(rng).astype(np.float32)) for _ in range(3))
    frame = make_frames(1, depth=SMALL)[0]
    for E_color in (IDENTITY, T_base_color):
        path = tmp_path / "a.sens"
        with SensWriter(path, CAMERA, SMALL, 1, T_base_color=E_color, T_base_depth=T_base_depth) as writer:
            writer.add(frame, T_world_base, 0)
        (back,), _ = read_all(path)
        point_depth = np.array([[0.1, -0.2, 1.5]])
        expected = pose.apply(T_world_base, pose.apply(T_base_depth, point_depth))
        np.testing.assert_allclose(pose.apply(back.T_world_depth, point_depth), expected, atol=1e-5)
        assert back.T_world_camera is not None
        np.testing.assert_allclose(back.T_world_camera, T_world_base @ E_color, atol=1e-5)


@pytest.mark.parametrize("place", ["scene0000_00.txt", "scene0000_00/scene0000_00.txt"])
def test_poses_are_in_the_aligned_frame_where_the_scan_has_one(good: Path, tmp_path: Path, place: str) -> None:
    path = tmp_path / good.name
    path.write_bytes(good.read_bytes())
    plain, _ = read_all(path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(f"appVersionId = 65\naxisAlignment = {ALIGNMENT} \ncolorHeight = 968\n")
    with SensSource(path) as source:
        assert any("aligned frame" in note for note in source.info.notes)
        aligned = list(source.frames())
    T = np.array([float(word) for word in ALIGNMENT.split()]).reshape(4, 4)
    for a, b in zip(plain, aligned, strict=True):
        assert a.T_world_camera is not None
        assert b.T_world_camera is not None
        np.testing.assert_allclose(b.T_world_camera, T @ a.T_world_camera, atol=1e-5)
        assert np.abs(b.T_world_camera - a.T_world_camera).max() > 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("axisAlignment = 1 0 0 0\n", "4 numbers"),
        (f"axisAlignment = {'nan ' * 16}\n", "NaN"),
        (f"axisAlignment = {'2 ' * 16}\n", "0 0 0 1"),
        ("axisAlignment = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 one\n", "'one'"),
    ],
)
def test_a_corrupt_alignment_is_an_error_and_not_none_at_all(good: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.sens"
    path.write_bytes(good.read_bytes())
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(BadRecording, match=words) as caught:
        SensSource(path)
    assert caught.value.path.endswith("a.txt")


def test_a_scan_without_alignment_says_so(good: Path) -> None:
    with SensSource(good) as source:
        assert any("scan's own frame" in note for note in source.info.notes)


@pytest.mark.parametrize(
    ("times_us", "kind", "note"),
    [
        ([0, 0, 0], "assumed", ""),
        ([10, 20, 20], "assumed", "frame 2"),
        ([10, 20, 5], "assumed", "frame 2"),
        ([1, 2, 2**64 - 1], "assumed", "nanoseconds"),
        ([0, 40_000, 80_000], "recorded", ""),
    ],
)
def test_times_that_do_not_advance_are_made_up_from_thirty_hertz(
    tmp_path: Path, times_us: list[int], kind: str, note: str
) -> None:
    frames = make_frames(3)
    with SensWriter(tmp_path / "a.sens", CAMERA, CAMERA, 3) as writer:
        for frame, time_us in zip(frames, times_us, strict=True):
            writer.add(frame, np.eye(4), time_us)
    with SensSource(tmp_path / "a.sens") as source:
        assert source.info.timestamps == kind
        assert source.info.rate_hz == pytest.approx(30.0 if kind == "assumed" else 25.0)
        assert any(note in one for one in source.info.notes)
        got = [frame.timestamp_ns for frame in source.frames()]
    assert got == [t * 1000 for t in times_us] if kind == "recorded" else [0, 33_333_333, 66_666_667]


@pytest.mark.parametrize("lost", [LOST, np.full((4, 4), np.nan), np.zeros((4, 4))])
def test_a_lost_pose_is_a_frame_without_one_and_counted(tmp_path: Path, lost: np.ndarray) -> None:
    frames = make_frames(3)
    with SensWriter(tmp_path / "a.sens", CAMERA, CAMERA, 3) as writer:
        for frame, matrix in zip(frames, (lost, np.eye(4), lost), strict=True):
            writer.add(frame, matrix, 0)
    with SensSource(tmp_path / "a.sens") as source:
        assert source.info.has_poses
        for _ in range(2):  # counted anew each time
            assert [frame.T_world_camera is None for frame in source.frames()] == [True, False, True]
            assert source.info.counters["without_pose"] == 2


def test_a_pose_that_is_not_rigid_ends_the_reading_at_its_frame(tmp_path: Path) -> None:
    with SensWriter(tmp_path / "a.sens", CAMERA, CAMERA, 2) as writer:
        for frame, matrix in zip(make_frames(2), (np.eye(4), np.diag([2.0, 2.0, 2.0, 1.0])), strict=True):
            writer.add(frame, matrix, 0)
    frames, fault = read_all(tmp_path / "a.sens")
    assert len(frames) == 1
    assert fault is not None
    assert (fault.frame, "not rigid" in fault.reason) == (1, True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_at_any_byte_every_whole_frame_comes_and_then_one_error(good: Path, data: st.DataObject) -> None:
    content = good.read_bytes()
    with SensFile(good) as whole:
        starts = [*whole.starts, len(content) - 8]  # the trailer is eight bytes: no IMU records
    at = data.draw(st.integers(0, starts[-1] - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut.sens"
        path.write_bytes(content[:at])
        frames, fault = read_all(path)
    assert fault is not None
    assert len(frames) == (sum(end <= at for end in starts[1:]) if at >= starts[0] else 0)
    assert fault.path == os.fspath(path)
    assert fault.frame == (len(frames) if at >= starts[0] else None)
    for a, b in zip(make_frames(3), frames, strict=False):
        near(a, b)


def test_a_cut_is_told_when_the_file_is_opened(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.sens"
    path.write_bytes(good.read_bytes()[:-100])
    with SensSource(path) as source:
        assert "cut short: 2 of 3 frames are whole" in source.info.notes


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_give_frames_or_bad_recording(good: Path, data: st.DataObject) -> None:
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(st.integers(0, FIRST_AT + FRAME.size), st.integers(0, len(content) - 1)))
        content[at] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changed.sens"
        path.write_bytes(content)
        with np.errstate(all="ignore"):
            frames, fault = read_all(path)
    assert fault is not None or len(frames) >= 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_no_header(data: bytes) -> None:
    with pytest.raises(BadRecording), np.errstate(all="ignore"):
        parse_header(data, Path("a.sens"))


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (0, "<I", 3, "version"),
        (4, "<Q", 2**60, "name"),
        (BODY_AT, "<f", -1.0, "colour camera: fx"),
        (BODY_AT + 128, "<f", float("nan"), "depth camera: K must be"),
        (BODY_AT + 192, "<f", 3.0, "depth extrinsic is not rigid"),
        (BODY_AT + 256, "<i", COLOR_CODES["unknown"], "'unknown'"),
        (BODY_AT + 256, "<i", 7, "'7'"),
        (BODY_AT + 260, "<i", DEPTH_CODES["occi_ushort"], "'occi_ushort'"),
        (BODY_AT + 264, "<I", 2**32 - 1, "pixels"),
        (BODY_AT + 272, "<I", 2**31, "pixels"),
        (BODY_AT + 280, "<f", 0.0, "depth shift"),
        (BODY_AT + 284, "<Q", 0, "no frames"),
        (BODY_AT + 284, "<Q", MAX_FRAMES + 1, "frames"),
    ],
)
def test_a_hostile_header_is_refused_at_opening(
    good: Path, tmp_path: Path, at: int, form: str, value: float, words: str
) -> None:
    content = bytearray(good.read_bytes())
    struct.pack_into(form, content, at, value)
    (tmp_path / "a.sens").write_bytes(content)
    with pytest.raises(BadRecording, match=words) as caught:
        SensSource(tmp_path / "a.sens")
    assert caught.value.frame is None


@pytest.mark.parametrize(
    ("color", "depth", "words"),
    [
        (None, b"", "no depth image"),
        (b"", None, "no colour image"),
        (b"\xff\xd8\xff\xd9", None, "JPEG"),
        (None, b"not deflated", "damaged depth"),
        (None, zlib.compress(bytes(16 * 12 * 2 - 1)), "only 383 bytes"),
        (None, zlib.compress(bytes(10_000_000))[:1400], "more than 384"),
        (None, zlib.compress(bytes(16 * 12 * 2))[:-4], "unfinished"),
        (None, bytes(10_000), "at most"),
    ],
)
def test_a_damaged_image_ends_the_reading_at_its_frame(
    tmp_path: Path, color: bytes | None, depth: bytes | None, words: str
) -> None:
    frame = make_frames(1)[0]
    fine = pack(frame)
    with SensWriter(tmp_path / "a.sens", CAMERA, CAMERA, 3) as writer:
        writer.append(np.eye(4), 0, *fine)
        writer.append(np.eye(4), 0, fine[0] if color is None else color, fine[1] if depth is None else depth)
        writer.append(np.eye(4), 0, *fine)
    frames, fault = read_all(tmp_path / "a.sens")
    assert len(frames) == 1
    assert fault is not None
    assert (fault.frame, words in fault.reason) == (1, True), fault


@pytest.mark.parametrize("which", [0, 1])
def test_raw_images_must_have_exactly_their_size(tmp_path: Path, which: int) -> None:
    frame = make_frames(1)[0]
    images = list(pack(frame, ("raw", "raw_ushort")))
    images[which] += b"\0"
    with SensWriter(tmp_path / "a.sens", CAMERA, CAMERA, 1, packing=("raw", "raw_ushort")) as writer:
        writer.append(np.eye(4), 0, images[0], images[1])
    assert "bytes of" in str(read_all(tmp_path / "a.sens")[1])


def test_a_small_file_that_inflates_to_much_takes_little_memory(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(200_000_000))[:1400]
    with SensWriter(tmp_path / "a.sens", CAMERA, CAMERA, 1) as writer:
        writer.append(np.eye(4), 0, pack(make_frames(1)[0])[0], bomb)
    tracemalloc.start()
    try:
        _, fault = read_all(tmp_path / "a.sens")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fault is not None
    assert peak < 4_000_000


def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    camera = Intrinsics(100.0, 100.0, 79.5, 59.5, 160, 120)
    frame = make_frames(1, color=camera, depth=camera)[0]
    images = pack(frame, ("png", "zlib_ushort"))
    with SensWriter(tmp_path / "a.sens", camera, camera, 400, packing=("png", "zlib_ushort")) as writer:
        for _ in range(400):
            writer.append(np.eye(4), 0, *images)
    del frame
    held = []
    with SensSource(tmp_path / "a.sens") as source:
        tracemalloc.start()
        try:
            for one in source.frames():
                if one.index % 100 == 50:
                    held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    frame_bytes = 5 * 160 * 120
    assert max(held) - min(held) < 8 * frame_bytes  # frames decoded ahead and in the making, not 300 of them


def test_two_loops_at_a_time_do_not_disturb_each_other(good: Path) -> None:
    with SensSource(good) as source:
        for a, b in zip(source.frames(), source.frames(), strict=True):
            same(a, b)


def test_closing_ends_the_reading_and_the_file(good: Path) -> None:
    source = SensSource(good)
    half_way = source.frames()
    next(half_way)
    source.close()
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "decode-ahead"]
    with pytest.raises(BadInput, match="closed"):
        list(half_way)
    with pytest.raises(BadInput, match="closed"):
        source.frames()


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.sens")
    with pytest.raises(BadRecording, match="regular file"):
        SensSource(tmp_path / "a.sens")


def test_a_format_that_is_only_read_cannot_be_written(tmp_path: Path) -> None:
    for path, format in (("a.sens", None), ("a.sens", "scannet"), ("a", "replica"), ("a", "scannet_export")):
        with pytest.raises(BadConfig, match="read here, not written"):
            create_sink(tmp_path / path, format)


def test_leaving_early_reads_no_more_than_is_decoded_ahead(good: Path) -> None:
    with SensSource(good) as source:
        assert [frame.index for frame in islice(source.frames(), 1)] == [0]
