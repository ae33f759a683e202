"""Replica as NICE-SLAM renders it: what is written comes back, and what is broken is named."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.runtime.exported_folders import replica
from tests.runtime.recorded_frames import CAMERA, make_frames

from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.sources.camera_file import CameraFile, write_camera
from scene_r1.sources.replica import PUBLISHED, ReplicaSource
from scene_r1_engines.errors import BadRecording

SCALE = 1.0 / 6553.5


def read_all(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    """The good prefix, and the fault that ended it."""
    frames: list[RgbdFrame] = []
    try:
        with ReplicaSource(path) as source:
            for frame in source.frames():
                frames.append(frame)
    except BadRecording as error:
        return frames, error
    return frames, None


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return replica(tmp_path / "room0", make_frames(4, depth_scale=SCALE))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_what_is_written_is_read_back(seed: int, count: int) -> None:
    frames = make_frames(count, seed, depth_scale=SCALE, lost=(count,))
    with tempfile.TemporaryDirectory() as folder, open_source(replica(Path(folder) / "room0", frames)) as source:
        assert isinstance(source, ReplicaSource)
        assert (source.info.frames, source.info.timestamps, source.info.intrinsics_from) == (
            count,
            "assumed",
            "cam_params.json",
        )
        back = list(source.frames())
    for index, (a, b) in enumerate(zip(frames, back, strict=True)):
        assert (b.index, b.timestamp_ns) == (index, round(index * 1e9 / 30))
        assert np.array_equal(a.color, b.color)
        assert np.array_equal(a.depth_raw, b.depth_raw)
        assert a.color_intrinsics == b.color_intrinsics
        assert b.one_camera
        assert b.depth_scale == pytest.approx(a.depth_scale, rel=1e-12)
        assert a.T_world_camera is not None
        assert b.T_world_camera is not None
        np.testing.assert_allclose(a.T_world_camera, b.T_world_camera, atol=1e-9, rtol=0)


def test_the_published_camera_is_taken_for_its_own_size_alone(tmp_path: Path) -> None:
    small = replica(tmp_path / "small", make_frames(1), parameters=False)
    with pytest.raises(BadRecording, match="16x12"):
        ReplicaSource(small)
    full = replica(
        tmp_path / "full", make_frames(1, color=PUBLISHED, depth=PUBLISHED), parameters=False, color="jpg"
    )  # fmt: skip
    with ReplicaSource(full) as source:
        frame = next(source.frames())
        assert "published" in source.info.intrinsics_from
    assert (frame.color_intrinsics, frame.depth_scale) == (PUBLISHED, SCALE)
    # 1 m is 6553.5 counts: the farthest that fits is 10 m.
    assert frame.depth_m.max() == pytest.approx(65534 / 6553.5, abs=1e-4)


def test_parameters_in_the_folder_come_before_those_above_it_and_camera_toml_before_both(room: Path) -> None:
    camera = {"fx": 30, "fy": 31, "cx": 8, "cy": 6, "w": 16, "h": 12, "scale": 1000}
    (room / "cam_params.json").write_text(json.dumps({"camera": camera}))
    with ReplicaSource(room) as source:
        assert (source.info.color_intrinsics.fx, source.info.depth_scale) == (30.0, 0.001)
    write_camera(room / "camera.toml", CameraFile(CAMERA, CAMERA, np.eye(4), 0.002, 15.0))
    with ReplicaSource(room) as source:
        assert (source.info.color_intrinsics, source.info.depth_scale, source.info.rate_hz) == (CAMERA, 0.002, 15.0)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"camera": 3}',
        '{"camera": {"w": 16, "h": 12, "fx": 1}}',
        '{"camera": {"w": 16, "h": 12, "fx": "a", "fy": 1, "cx": 1, "cy": 1, "scale": 1000}}',
        '{"camera": {"w": 16, "h": 12, "fx": NaN, "fy": 1, "cx": 1, "cy": 1, "scale": 1000}}',
        '{"camera": {"w": 16.5, "h": 12, "fx": 1, "fy": 1, "cx": 1, "cy": 1, "scale": 1000}}',
        '{"camera": {"w": 16, "h": 12, "fx": 1, "fy": 1, "cx": 1, "cy": 1, "scale": 0}}',
        '{"camera": {"w": 16, "h": 12, "fx": 1e999, "fy": 1, "cx": 1, "cy": 1, "scale": 1000}}',
        '{"camera": {"w": 16, "h": 12, "fx": 1' + "0" * 400 + ', "fy": 1, "cx": 1, "cy": 1, "scale": 1000}}',
        "[" * 20_000,
    ],
)
def test_hostile_parameters_are_refused(room: Path, text: str) -> None:
    (room / "cam_params.json").write_text(text)
    with pytest.raises(BadRecording) as caught:
        ReplicaSource(room)
    assert caught.value.path.endswith("cam_params.json")


def test_a_pose_belongs_to_a_frame_by_rank_or_by_number(room: Path) -> None:
    with ReplicaSource(room) as source:
        poses = [frame.T_world_camera for frame in source.frames()]
    for number in (0, 2):  # thinned out: two of four frames remain, and all four poses
        for name in (f"frame{number:06d}.png", f"depth{number:06d}.png"):
            (room / "results" / name).unlink()
    with ReplicaSource(room) as source:
        assert "from 1 to 3 for 2 frames" in source.info.notes[0]
        thinned = [frame.T_world_camera for frame in source.frames()]
    assert [np.array_equal(a, b) for a, b in zip(thinned, (poses[1], poses[3]), strict=True)] == [True, True]
    lines = (room / "traj.txt").read_text().splitlines()
    (room / "traj.txt").write_text("\n".join([lines[3], lines[1]]) + "\n")
    with ReplicaSource(room) as source:
        ranked = [frame.T_world_camera for frame in source.frames()]
    assert [np.array_equal(a, b) for a, b in zip(ranked, (poses[3], poses[1]), strict=True)] == [True, True]
    (room / "traj.txt").write_text(lines[0] + "\n")
    with pytest.raises(BadRecording, match="1 poses for 2 frames"):
        ReplicaSource(room)


def test_without_a_trajectory_there_are_no_poses(room: Path) -> None:
    (room / "traj.txt").unlink()
    with ReplicaSource(room) as source:
        assert not source.info.has_poses
        assert [frame.T_world_camera for frame in source.frames()] == [None] * 4
        assert source.info.counters["without_pose"] == 4


@pytest.mark.parametrize(
    ("line", "words"),
    [("1 0 0 0", "line 2 holds 4 numbers"), ("a " * 16, "'a'"), ("2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "not rigid")],
)
def test_a_corrupt_pose_ends_the_reading_at_its_frame(room: Path, line: str, words: str) -> None:
    lines = (room / "traj.txt").read_text().splitlines()
    lines[1] = line
    (room / "traj.txt").write_text("\n".join(lines) + "\n")
    frames, fault = read_all(room)
    assert len(frames) == 1
    assert fault is not None
    assert (fault.frame, words in fault.reason) == (1, True), fault


@pytest.mark.parametrize("line", ["nan " * 16, "-inf " * 16, "0 " * 16])
def test_a_lost_pose_is_a_frame_without_one(room: Path, line: str) -> None:
    lines = (room / "traj.txt").read_text().splitlines()
    lines[2] = line
    (room / "traj.txt").write_text("\n".join(lines) + "\n")
    with ReplicaSource(room) as source:
        assert [frame.T_world_camera is None for frame in source.frames()] == [False, False, True, False]


@pytest.mark.parametrize("name", ["frame000001.png", "depth000001.png"])
def test_a_missing_image_is_named(room: Path, name: str) -> None:
    (room / "results" / name).unlink()
    frames, fault = read_all(room)
    assert len(frames) == 1
    assert fault is not None
    assert fault.frame == 1
    assert Path(fault.path).stem == name.split(".")[0]


def test_a_second_image_of_a_frame_is_refused(room: Path) -> None:
    shutil.copy(room / "results/frame000001.png", room / "results/frame1.png")
    with pytest.raises(BadRecording, match="second image of frame 1"):
        ReplicaSource(room)


def test_a_folder_of_results_alone_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "frame.jpg").touch()
    with pytest.raises(BadRecording, match="no recording known"):
        open_source(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    victim=st.sampled_from(["traj.txt", "results/frame000001.png", "results/depth000001.png"]),
    content=st.binary(max_size=80),
)
def test_arbitrary_bytes_in_one_file_give_frames_or_bad_recording(room: Path, victim: str, content: bytes) -> None:
    original = (room / victim).read_bytes()
    try:
        (room / victim).write_bytes(content)
        frames, fault = read_all(room)
    finally:
        (room / victim).write_bytes(original)
    if fault is not None:
        assert fault.path.endswith(victim)
    else:
        assert len(frames) == 4
