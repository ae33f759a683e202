"""Recordings of the Stray Scanner app: a video in step with depth, confidence and odometry."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.phone_recordings import fault, write_image, write_stray
from tests.runtime.walked_room import depth_of_a_room, rotation, walk

from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.inspection import inspect
from scene_r1.sources import open_source
from scene_r1.sources.npy_image import read_npy_depth
from scene_r1.sources.stray_odometry import read_odometry
from scene_r1.sources.stray_scanner import StrayScannerSource
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(80.0, 80.5, 63.0, 48.5, 128, 96)
DEPTH = CAMERA.scaled(64, 48)
UP_TO_Y = np.diag([1.0, -1.0, -1.0, 1.0])
"""The walked room has y down, ARKit's world y up."""


def recorded(count: int = 12, roll: float = 0.0) -> list[RgbdFrame]:
    """A walk through the room, each picture of one grey of its own. roll: of the phone about its optical axis."""
    turned = np.eye(4)
    turned[:3, :3] = rotation(2, roll)
    return [
        RgbdFrame(
            index=i,
            timestamp_ns=5_000_000_000_000 + i * 16_666_667,
            color=np.full((CAMERA.height, CAMERA.width, 3), 20 + 15 * (i % 15), np.uint8),
            color_intrinsics=replace(CAMERA, fx=CAMERA.fx + 0.01 * i),
            depth_raw=depth_counts(depth_of_a_room(T @ turned, DEPTH), 0.001),
            depth_scale=0.001,
            depth_intrinsics=DEPTH,
            T_world_camera=UP_TO_Y @ T @ turned,
        )
        for i, T in enumerate(walk(count))
    ]


def read_all(path: Path, **options: int) -> list[RgbdFrame]:
    with StrayScannerSource(path, **options) as source:
        return list(source.frames())


@pytest.mark.parametrize(("npy", "old", "own"), [(False, False, False), (False, False, True), (True, True, False)])
def test_each_picture_of_the_video_gets_its_own_depth_and_pose(tmp_path: Path, npy: bool, old: bool, own: bool) -> None:
    frames = recorded()
    write_stray(tmp_path / "scan", frames, npy=npy, old=old, own_intrinsics=own)
    with open_source(tmp_path / "scan") as source:
        assert (source.info.format, source.info.frames) == ("stray_scanner", len(frames))
        assert source.info.timestamps == ("assumed" if old else "recorded")
        assert source.info.rate_hz == pytest.approx(60.0, rel=1e-3)
        back = list(source.frames())
        assert [one.timestamp_ns for one in source.frames()] == [one.timestamp_ns for one in back]
    for got, wanted in zip(back, frames, strict=True):
        assert np.abs(got.color.astype(int) - wanted.color).max() <= 6  # the codec loses a little; greys are 15 apart
        assert np.array_equal(got.depth_raw, wanted.depth_raw)
        np.testing.assert_allclose(got.T_world_camera, wanted.T_world_camera, atol=1e-12)
        assert got.color_intrinsics.fx == pytest.approx(wanted.color_intrinsics.fx if own else CAMERA.fx)
        assert got.depth_intrinsics == got.color_intrinsics.scaled(64, 48)
        assert old or got.timestamp_ns == wanted.timestamp_ns


def test_camera_axes_and_depth_of_a_recording_agree_as_they_are_read(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded(40))
    with open_source(tmp_path / "scan") as source:
        found = inspect(source)
    assert found.better_reading is None
    assert found.reprojection[0].error is not None
    assert found.reprojection[0].error < 0.01


def test_a_phone_held_upright_gives_upright_frames(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded(40, roll=np.pi / 2))
    with open_source(tmp_path / "scan") as source:
        assert any("a quarter turn clockwise" in note for note in source.info.notes)
        assert (source.info.color_intrinsics.width, source.info.color_intrinsics.height) == (96, 128)
        found = inspect(source)
        first = next(source.frames())
    assert first.T_world_camera is not None
    assert first.T_world_camera[1, 1] < -0.9  # the camera's y points down the world's y
    assert found.better_reading is None
    assert found.reprojection[0].error is not None
    assert found.reprojection[0].error < 0.01


def test_a_video_that_asks_to_be_shown_turned_is_read_as_the_sensor_saw_it(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded())
    video = tmp_path / "scan" / "rgb.mp4"
    data = bytearray(video.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix, nine fixed-point numbers (ISO 14496-12, 8.3.2)
    assert struct.unpack_from(">9i", data, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, 0, 1 << 16, 0, -(1 << 16), 0, 0, CAMERA.height << 16, 0, 1 << 30)
    video.write_bytes(data)
    back = read_all(tmp_path / "scan")
    assert len(back) == 12
    assert all(frame.color.shape == (96, 128, 3) for frame in back)


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_depth_below_the_confidence_threshold_is_no_return(tmp_path: Path, threshold: int) -> None:
    frames = recorded(4)
    levels = [np.random.default_rng(i).integers(0, 3, (48, 64), dtype=np.uint8) for i in range(4)]
    write_stray(tmp_path / "scan", frames, levels)
    with StrayScannerSource(tmp_path / "scan", threshold) as source:
        for got, wanted, level in zip(source.frames(), frames, levels, strict=True):
            assert np.array_equal(got.depth_raw, np.where(level < threshold, 0, wanted.depth_raw))
        low = [(a < threshold) & (frame.depth_raw > 0) for a, frame in zip(levels, frames, strict=True)]
        assert source.info.counters["low_confidence_px"] == np.count_nonzero(low)
    with pytest.raises(BadConfig, match="min_confidence"):
        StrayScannerSource(tmp_path / "scan", 5)
    write_image(tmp_path / "scan" / "confidence" / "000002.png", np.full((48, 64), 7, np.uint8))
    if threshold:
        with pytest.raises(BadRecording, match="value 7") as caught:
            read_all(tmp_path / "scan", min_confidence=threshold)
        assert caught.value.frame == 2


def test_a_frame_before_the_first_depth_has_no_return_and_is_counted(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded(4))
    (tmp_path / "scan" / "depth" / "000000.png").unlink()
    with StrayScannerSource(tmp_path / "scan") as source:
        back = list(source.frames())
        assert source.info.counters["without_depth"] == 1
    assert not back[0].depth_raw.any()
    assert back[1].depth_raw.any()
    for path in (tmp_path / "scan" / "depth").iterdir():
        path.unlink()
    with pytest.raises(BadRecording, match="none of the 4 depth images"):
        open_source(tmp_path / "scan")


def test_a_lost_pose_is_none_and_counted(tmp_path: Path) -> None:
    frames = recorded(4)
    write_stray(tmp_path / "scan", [frames[0], replace(frames[1], T_world_camera=None), *frames[2:]])
    with StrayScannerSource(tmp_path / "scan") as source:
        assert [frame.T_world_camera is None for frame in source.frames()] == [False, True, False, False]
        assert source.info.counters["without_pose"] == 1


def test_a_video_shorter_than_its_odometry_ends_in_a_fault_after_the_good_frames(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded(8), pictures=5)
    frames = []
    with StrayScannerSource(tmp_path / "scan") as source:
        assert any("claims 5 pictures" in note for note in source.info.notes)
        error = fault(lambda: frames.extend(iter(source.frames())) or None)
    assert error is not None
    assert "ends after 5 pictures" in str(error)
    assert error.frame == 5
    assert error.path.endswith("rgb.mp4")


def test_a_video_cut_short_anywhere_is_a_fault_of_the_video(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded(8))
    video = tmp_path / "scan" / "rgb.mp4"
    whole = video.read_bytes()
    for length in [0, 1, 7, *range(8, len(whole) - 200, len(whole) // 12)]:
        video.write_bytes(whole[:length])
        error = fault(lambda: read_all(tmp_path / "scan"))
        assert error is not None
        assert error.path.endswith("rgb.mp4")
    video.unlink()
    video.mkdir()
    with pytest.raises(BadRecording, match="not a regular file"):
        open_source(tmp_path / "scan")


def test_closing_in_the_middle_lets_go_of_the_decoder_and_the_loop_ends(tmp_path: Path) -> None:
    write_stray(tmp_path / "scan", recorded(10))
    source = StrayScannerSource(tmp_path / "scan")
    loop = source.frames()
    next(loop)
    source.close()
    source.close()
    with pytest.raises(BadInput, match="closed"):
        list(loop)
    with pytest.raises(BadInput, match="closed"):
        source.frames()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["timestamp, frame, x, y, z"], "qx, qy, qz, qw"),
        (["timestamp, frame, x, y, z, qx, qy, qz, qw"], "no pose"),
        (["timestamp, frame, x, y, z, qx, qy, qz, qw", "1.0, 000000, 0, 0, 0, 0, 0, 0, 2"], "line 2.*length 1"),
        (["timestamp, frame, x, y, z, qx, qy, qz, qw", "1.0, -1, 0, 0, 0, 0, 0, 0, 1"], "line 2.*frame number"),
        (["timestamp, frame, x, y, z, qx, qy, qz, qw", "1.0, 000000, 0, 0, 0, 0, 0, 0"], "line 2.*8 fields"),
        (["frame, x, y, z, qx, qy, qz, qw", *["000003, 0, 0, 0, 0, 0, 0, 1"] * 2], "line 3 repeats frame 3"),
    ],
)
def test_odometry_that_makes_no_sense_is_named_by_its_line(tmp_path: Path, lines: list[str], says: str) -> None:
    path = tmp_path / "odometry.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(BadRecording, match=says):
        read_odometry(path)


@settings(max_examples=100, deadline=None)
@given(
    head=st.sampled_from(["", "timestamp, frame, x, y, z, qx, qy, qz, qw\n", "frame,x,y,z,qx,qy,qz,qw,fx,fy,cx,cy\n"]),
    body=st.one_of(st.binary(max_size=60), st.text("0123456789.,-e naif\n", max_size=160).map(str.encode)),
)
def test_any_odometry_is_read_or_refused_by_name(head: str, body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odometry.csv"
        path.write_bytes(head.encode() + body)
        error = fault(lambda: read_odometry(path))
        assert error is None or error.path == str(path)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 200), junk=st.binary(max_size=40))
def test_a_damaged_npy_is_refused_before_its_claim_is_believed(cut: int, junk: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "000000.npy"
        image = np.arange(12, dtype=np.uint16).reshape(3, 4)
        np.save(path, image)
        whole = path.read_bytes()
        assert np.array_equal(read_npy_depth(path, (4, 3)), image)
        path.write_bytes(whole[:-24][:cut] + junk)
        error = fault(lambda: read_npy_depth(path, (4, 3)))
        assert error is not None or len(junk) == 24


def test_an_npy_whose_header_leaves_a_bracket_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "000000.npy"
    np.save(path, np.zeros((3, 4), np.uint16))
    path.write_bytes(path.read_bytes().replace(b"}", b" "))
    with pytest.raises(BadRecording, match=r"is no \.npy file"):
        read_npy_depth(path, None)


def test_an_npy_of_objects_or_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "000000.npy"
    np.save(path, np.array([[{"run": "me"}]], dtype=object), allow_pickle=True)
    with pytest.raises(BadRecording, match="uint16"):
        read_npy_depth(path, None)
    np.save(path, np.zeros((3, 4), np.float32))
    with pytest.raises(BadRecording, match="uint16"):
        read_npy_depth(path, None)
    np.save(path, np.zeros((3, 4), np.uint16))
    with pytest.raises(BadRecording, match="4x3"):
        read_npy_depth(path, (8, 6))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"(3, 4), }" + b" " * 12, b"(99999999, 999999), }"))
    with pytest.raises(BadRecording, match="24 bytes"):
        read_npy_depth(path, None)


@pytest.mark.parametrize(("text", "says"), [("1, 0, 0", "3 numbers"), ("a, b", "not a number"), ("0," * 8 + "1", "fx")])
def test_a_camera_matrix_that_is_none_is_named(tmp_path: Path, text: str, says: str) -> None:
    write_stray(tmp_path / "scan", recorded(2))
    (tmp_path / "scan" / "camera_matrix.csv").write_text(text)
    with pytest.raises(BadRecording, match=says):
        open_source(tmp_path / "scan")
