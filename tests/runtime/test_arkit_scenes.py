"""Videos of ARKitScenes and SceneFun3D: which stream is read, poses inverted, pictures turned upright."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.phone_recordings import fault, traj_line, write_arkit_scenes
from tests.runtime.recorded_frames import DISTORTED, SMALL_DEPTH, make_frames, random_pose

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.sources.arkit_scenes import ArkitScenesSource
from scene_r1.sources.arkit_scenes.pincam import read_pincam, read_trajectory
from scene_r1.sources.upright import turned_frame, turned_intrinsics, turns_to_upright
from scene_r1_engines.errors import BadConfig, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(30.0, 31.0, 15.5, 10.25, 32, 24)
HALF = CAMERA.scaled(16, 12)


def looking_level(yaw: float, roll: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """A camera 1.5 m over the floor of a world with z up; roll turns it about its optical axis."""
    level = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x right, y down, z forward into world's y
    T = np.eye(4)
    T[:3, :3] = rotation(2, yaw) @ level @ rotation(0, pitch) @ rotation(2, roll)
    T[:3, 3] = (0.5 * np.cos(yaw), 0.5 * np.sin(yaw), 1.5)
    return T


def rotation(axis: int, angle: float) -> np.ndarray:
    vector = np.zeros(3)
    vector[axis] = angle
    return cv2.Rodrigues(vector)[0]


def video(count: int = 5, roll: float = 0.0, depth: Intrinsics = CAMERA) -> list[RgbdFrame]:
    """Level frames at 10 Hz whose times are whole milliseconds, each with intrinsics of its own."""
    return [
        replace(
            frame,
            timestamp_ns=98_764_093_000_000 + 100_000_000 * frame.index,
            color_intrinsics=replace(CAMERA, fx=CAMERA.fx + 0.01 * frame.index),
            T_world_camera=looking_level(0.2 * frame.index, roll, 0.05 * frame.index),
        )
        for frame in make_frames(count, 7, CAMERA, depth)
    ]


def read_all(path: Path, **options: int) -> list[RgbdFrame]:
    with ArkitScenesSource(path, **options) as source:
        return list(source.frames())


def lifted(frame: RgbdFrame) -> np.ndarray:
    """(h, w, 3) the point in the world of each depth pixel."""
    h, w = frame.depth_raw.shape
    v, u = np.mgrid[:h, :w]
    rays = frame.depth_intrinsics.rays(np.stack([u.ravel(), v.ravel()], axis=1))
    points = np.column_stack([rays, np.ones(len(rays))]) * frame.depth_m.reshape(-1, 1)
    return pose.apply(frame.T_world_depth, points).reshape(h, w, 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), turns=st.integers(-5, 7), two=st.booleans())
def test_turning_a_frame_leaves_every_point_where_it_was(seed: int, turns: int, two: bool) -> None:
    T = random_pose(np.random.default_rng(seed))
    cameras = {"color": DISTORTED, "depth": SMALL_DEPTH, "T_color_depth": T} if two else {}
    frame = make_frames(1, seed, **cameras)[0]
    turned = turned_frame(frame, turns)
    np.testing.assert_allclose(lifted(turned), np.rot90(lifted(frame), -turns), atol=1e-9)
    assert turned.one_camera == frame.one_camera
    # and a point of the world is seen in the turned pixel of both images
    h, w = frame.color.shape[:2]
    ray = np.array([[0.05, -0.1, 1.0]])
    u, v = frame.color_intrinsics.project(ray)[0]
    there = pose.apply(pose.inverse(turned.T_world_camera) @ frame.T_world_camera, ray)
    for _ in range(turns % 4):
        u, v, h, w = h - 1.0 - v, u, w, h
    np.testing.assert_allclose(turned.color_intrinsics.project(there)[0], (u, v), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), turns=st.integers(0, 3))
def test_turning_back_gives_the_frame_itself(seed: int, turns: int) -> None:
    frame = make_frames(1, seed, DISTORTED, SMALL_DEPTH)[0]
    back = turned_frame(turned_frame(frame, turns), 4 - turns)
    assert np.array_equal(back.color, frame.color)
    assert np.array_equal(back.depth_raw, frame.depth_raw)
    assert (back.color_intrinsics.width, back.depth_intrinsics.height) == (DISTORTED.width, SMALL_DEPTH.height)
    np.testing.assert_allclose(back.color_intrinsics.K, frame.color_intrinsics.K, atol=1e-12)
    assert turned_intrinsics(frame.color_intrinsics, 4).coefficients == DISTORTED.coefficients
    np.testing.assert_allclose(back.T_world_camera, frame.T_world_camera, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    turns=st.integers(0, 3),
    yaw=st.floats(-3.0, 3.0),
    pitch=st.floats(-1.2, 1.2),
    roll=st.floats(-0.6, 0.6),
)
def test_the_turn_is_the_one_that_brings_up_to_the_top(turns: int, yaw: float, pitch: float, roll: float) -> None:
    T = looking_level(yaw, roll + turns * np.pi / 2, pitch)
    assert turns_to_upright([T]) == turns
    frame = turned_frame(replace(make_frames(1)[0], T_world_camera=T), turns)
    assert frame.T_world_camera is not None
    up = frame.T_world_camera[2, :2]  # of the world's z, in the picture
    assert -up[1] >= abs(up[0])


def test_a_few_looks_at_the_floor_do_not_turn_a_video() -> None:
    level = [looking_level(0.1 * i) for i in range(20)]
    floor = [looking_level(0.1 * i, np.pi / 2, -1.5) for i in range(9)]
    assert turns_to_upright([*floor, *level]) == 0
    assert turns_to_upright([]) == 0


@pytest.mark.parametrize("stream", ["lowres", "hires"])
def test_a_video_is_read_with_its_poses_inverted_and_its_own_intrinsics(tmp_path: Path, stream: str) -> None:
    frames = video()
    write_arkit_scenes(tmp_path / "visit" / "41048143", frames, stream=stream)
    with open_source(tmp_path / "visit") as source:
        assert (source.info.format, source.info.depth_scale) == ("arkit_scenes", 0.001)
        assert source.info.rate_hz == pytest.approx(10.0)
        assert source.info.color_intrinsics.fx == pytest.approx(CAMERA.fx + 0.02)
        assert any(f"{stream}_wide" in note for note in source.info.notes)
        back = list(source.frames())
    assert [one.timestamp_ns for one in back] == [one.timestamp_ns for one in frames]
    for got, wanted in zip(back, frames, strict=True):
        np.testing.assert_allclose(got.T_world_camera, wanted.T_world_camera, atol=1e-9)
        assert got.color_intrinsics == got.depth_intrinsics == wanted.color_intrinsics
        assert np.array_equal(got.depth_raw, wanted.depth_raw)
        assert stream == "hires" or np.array_equal(got.color, wanted.color)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_sideways_video_is_turned_as_a_whole_and_says_so(tmp_path: Path, turns: int) -> None:
    frames = video(roll=turns * np.pi / 2, depth=HALF)
    write_arkit_scenes(tmp_path / "v", frames)
    with ArkitScenesSource(tmp_path / "v") as source:
        assert any("turned" in note for note in source.info.notes)
        assert source.info.color_intrinsics.width == (24 if turns % 2 else 32)
        for got, wanted in zip(source.frames(), frames, strict=True):
            assert np.array_equal(got.color, np.rot90(wanted.color, -turns))
            registered = replace(wanted, depth_intrinsics=wanted.color_intrinsics.scaled(16, 12))
            np.testing.assert_allclose(lifted(got), np.rot90(lifted(registered), -turns), atol=1e-6)


@pytest.mark.parametrize("missing", ["hires_depth", "hires_wide_intrinsics"])
def test_the_fine_stream_is_read_only_where_all_of_it_is_there(tmp_path: Path, missing: str) -> None:
    fine = [replace(frame, T_world_camera=None) for frame in video()]
    write_arkit_scenes(tmp_path / "fine", fine, stream="hires")
    write_arkit_scenes(tmp_path / "v", video(), stream="lowres")
    shutil.copytree(tmp_path / "fine", tmp_path / "v", dirs_exist_ok=True)
    with ArkitScenesSource(tmp_path / "v") as source:
        assert any("hires_wide" in note for note in source.info.notes)
    shutil.rmtree(tmp_path / "v" / missing)
    with ArkitScenesSource(tmp_path / "v") as source:
        assert any("lowres_wide" in note for note in source.info.notes)
    shutil.rmtree(tmp_path / "v" / "lowres_depth")
    with pytest.raises(BadRecording, match=missing):
        open_source(tmp_path / "v")


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_depth_below_the_confidence_threshold_is_no_return(tmp_path: Path, threshold: int) -> None:
    frames = video(depth=HALF)
    rng = np.random.default_rng(1)
    levels = [rng.integers(0, 3, (12, 16), dtype=np.uint8) for _ in frames]
    write_arkit_scenes(tmp_path / "v", frames, levels)
    with ArkitScenesSource(tmp_path / "v", threshold) as source:
        for got, wanted, level in zip(source.frames(), frames, levels, strict=True):
            assert np.array_equal(got.depth_raw, np.where(level < threshold, 0, wanted.depth_raw))
        low = sum(int(((a < threshold) & (f.depth_raw > 0)).sum()) for a, f in zip(levels, frames, strict=True))
        assert source.info.counters["low_confidence_px"] == low
        assert any("confidence" in note for note in source.info.notes) == (threshold > 0)
    next((tmp_path / "v" / "confidence").iterdir()).unlink()
    with ArkitScenesSource(tmp_path / "v", threshold) as source:
        list(source.frames())
        assert source.info.counters["without_confidence"] == (threshold > 0)


@pytest.mark.parametrize("threshold", [-1, 3, True, 0.5])
def test_another_confidence_threshold_is_refused(tmp_path: Path, threshold: int) -> None:
    with pytest.raises(BadConfig, match="min_confidence"):
        ArkitScenesSource(write_arkit_scenes(tmp_path / "v", video()), threshold)


def test_a_pose_is_interpolated_between_neighbours_and_none_across_a_gap(tmp_path: Path) -> None:
    write_arkit_scenes(tmp_path / "v", video(6))
    start = video()[0].timestamp_ns
    times = [start, start + 100_000_000, start + 190_000_000, start + 310_000_000]
    lines = [traj_line(time, looking_level(2e-9 * (time - start))) for time in times]
    (tmp_path / "v" / "lowres_wide.traj").write_text("\n".join(lines))
    with ArkitScenesSource(tmp_path / "v") as source:
        back = list(source.frames())
        assert source.info.counters["without_pose"] == 2
    assert [frame.T_world_camera is None for frame in back] == [False] * 4 + [True] * 2
    assert back[2].T_world_camera is not None
    assert pose.angle_deg(back[2].T_world_camera, looking_level(0.4)) < 1e-6


def test_without_poses_frames_are_read_as_they_are(tmp_path: Path) -> None:
    write_arkit_scenes(tmp_path / "v", video(roll=np.pi / 2))
    (tmp_path / "v" / "lowres_wide.traj").unlink()
    with ArkitScenesSource(tmp_path / "v") as source:
        assert not source.info.has_poses
        assert any("no poses" in note for note in source.info.notes)
        assert all(frame.color.shape == (24, 32, 3) for frame in source.frames())


def test_several_videos_in_a_visit_are_named_and_none_is_guessed(tmp_path: Path) -> None:
    for name in ("421", "422"):
        write_arkit_scenes(tmp_path / "visit" / name, video(2))
    with pytest.raises(BadRecording, match=r"2 videos.*421, 422"):
        open_source(tmp_path / "visit")


@pytest.mark.parametrize("what", ["lowres_wide", "lowres_depth", "lowres_wide_intrinsics", "confidence"])
def test_a_file_cut_short_anywhere_is_named_with_its_frame(tmp_path: Path, what: str) -> None:
    frames = video()
    write_arkit_scenes(tmp_path / "v", frames, [np.full((24, 32), 2, np.uint8)] * len(frames))
    victim = sorted((tmp_path / "v" / what).iterdir())[3]
    whole = victim.read_bytes()
    # the last characters of a pincam are digits of a number: less of them is another number
    end = len(whole) - 1 if what != "lowres_wide_intrinsics" else whole.rindex(b" ")
    for length in [*range(0, end, max(1, end // 12)), end]:
        victim.write_bytes(whole[:length])
        with pytest.raises(BadRecording) as caught:
            read_all(tmp_path / "v")
        assert victim.name in str(caught.value)
        assert caught.value.frame == 3


def test_a_frame_without_intrinsics_is_an_error_of_that_frame(tmp_path: Path) -> None:
    write_arkit_scenes(tmp_path / "v", video())
    sorted((tmp_path / "v" / "lowres_wide_intrinsics").iterdir())[2].unlink()
    with pytest.raises(BadRecording, match=r"pincam") as caught:
        read_all(tmp_path / "v")
    assert caught.value.frame == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("32 24 30 31 15.5", "5 numbers"),
        ("32.5 24 30 31 15 10", "whole"),
        ("999999 24 30 31 15 10", "width"),
        ("32 24 nan 31 15 10", "fx"),
        ("32 24 30 31 15 1e400", "cy"),
    ],
)
def test_intrinsics_that_no_camera_has_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "one.pincam"
    path.write_text(text)
    with pytest.raises(BadRecording, match=says):
        read_pincam(path)


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text("0123456789. -+einfa\n\t", max_size=120).map(str.encode)))
def test_any_content_is_read_or_refused_with_the_files_name(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lowres_wide.traj"
        path.write_bytes(content)
        for read in (read_trajectory, read_pincam):
            error = fault(lambda read=read: read(path))
            assert error is None or path.name in str(error)


def test_a_line_that_is_no_pose_is_named_and_a_lost_pose_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lowres_wide.traj"
    good = traj_line(10**9, looking_level(0.3))
    path.write_text(f"{good}\n2.0 nan 0 0 0 0 0\n")
    assert len(read_trajectory(path)) == 1
    path.write_text(f"{good}\n\n3.0 1 2 3 4 5\n")
    with pytest.raises(BadRecording, match="line 3"):
        read_trajectory(path)
