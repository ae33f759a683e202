"""ScanNet scans exported to images: both layouts are read, in the right frame, and what is broken is named."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.runtime.exported_folders import as_4x4, embodied_scan, matrix_text, sens_reader_export, write_text
from tests.runtime.recorded_frames import CAMERA, make_frames, random_pose

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.sources.camera_file import CameraFile, write_camera
from scene_r1.sources.scannet_export import ScanNetExport, registered_depth
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import Intrinsics

SMALL = Intrinsics(11.0, 11.5, 4.0, 3.0, 10, 8)
TURN = "0 -1 0 1.5 1 0 0 -2 0 0 1 0.25 0 0 0 1"


def read_all(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    """The good prefix, and the fault that ended it."""
    frames: list[RgbdFrame] = []
    try:
        with ScanNetExport(path) as source:
            for frame in source.frames():
                frames.append(frame)
    except BadRecording as error:
        return frames, error
    return frames, None


def near(a: RgbdFrame, b: RgbdFrame, color: bool = True) -> None:
    """b is a, but for its time and for matrices with six decimals."""
    assert a.index == b.index
    assert np.array_equal(a.depth_raw, b.depth_raw)
    assert not color or np.array_equal(a.color, b.color)
    assert (a.color_intrinsics, a.depth_intrinsics) == (b.color_intrinsics, b.depth_intrinsics)
    np.testing.assert_allclose(a.T_color_depth, b.T_color_depth, atol=1e-5, rtol=0)
    assert (a.T_world_camera is None) == (b.T_world_camera is None)
    if a.T_world_camera is not None and b.T_world_camera is not None:
        np.testing.assert_allclose(a.T_world_camera, b.T_world_camera, atol=1e-5, rtol=0)


@pytest.mark.parametrize("T_base_color", [np.eye(4), pose.from_quaternion((0.1, 0.2, 0.3), (0.0, 0.6, 0.0, 0.8))])
def test_an_export_of_sens_reader_is_read_back(tmp_path: Path, T_base_color: np.ndarray) -> None:
    T = random_pose(np.random.default_rng(2))
    frames = make_frames(12, depth=SMALL, T_color_depth=T, lost=(3,))  # 10 and 11 come after 9, not after 1
    folder = sens_reader_export(tmp_path / "scene0000_00", frames, color="png", T_base_color=T_base_color)
    with open_source(folder) as source:
        assert isinstance(source, ScanNetExport)
        info = source.info
        assert (info.frames, info.timestamps, info.depth_scale, info.has_poses) == (12, "assumed", 0.001, True)
        back = list(source.frames())
        assert info.counters["without_pose"] == 1
    for a, b in zip(frames, back, strict=True):
        near(a, b)
    assert [frame.timestamp_ns for frame in back[:3]] == [0, 33_333_333, 66_666_667]


def test_a_folder_of_embodied_scan_is_read_back_at_its_own_rate(tmp_path: Path) -> None:
    frames = make_frames(4, depth=SMALL, lost=(1,))
    with open_source(embodied_scan(tmp_path / "scene0000_00", frames)) as source:
        assert isinstance(source, ScanNetExport)
        assert source.info.rate_hz == pytest.approx(3.0)
        assert any("from 0 to 30 for 4 frames" in note for note in source.info.notes)
        back = list(source.frames())
    for a, b in zip(frames, back, strict=True):
        near(a, b, color=False)
        assert not b.one_camera
    assert [frame.timestamp_ns for frame in back] == [0, 333_333_333, 666_666_667, 1_000_000_000]


def test_depth_without_intrinsics_is_registered_to_colour(tmp_path: Path) -> None:
    # The calibration of scene0000_00, as its export has it.
    depth = registered_depth(Intrinsics(1169.621094, 1167.105103, 646.295044, 489.927032, 1296, 968), 640, 480)
    published = (577.590698, 578.729797, 318.905426, 242.683609)
    assert (depth.fx, depth.fy, depth.cx, depth.cy) == pytest.approx(published, abs=1e-4)
    frames = make_frames(1, depth=registered_depth(CAMERA, 8, 6))
    folder = embodied_scan(tmp_path / "a", frames, depth_file=False)
    with ScanNetExport(folder) as source:
        assert "scaled" in source.info.intrinsics_from
        near(frames[0], next(source.frames()), color=False)


@pytest.mark.parametrize(
    "place",
    ["{0}/{0}.txt", "{0}.txt", "../scans/{0}/{0}.txt"],
)
def test_poses_are_in_the_aligned_frame_where_the_scan_has_one(tmp_path: Path, place: str) -> None:
    frames = make_frames(2)
    folder = embodied_scan(tmp_path / "posed_images" / "scene0011_00", frames)
    write_text(folder.parent / place.format("scene0011_00"), f"axisAlignment = {TURN}\n")
    with open_source(folder) as source:
        assert any("aligned frame" in note for note in source.info.notes)
        back = list(source.frames())
    T = np.array([float(word) for word in TURN.split()]).reshape(4, 4)
    for a, b in zip(frames, back, strict=True):
        assert a.T_world_camera is not None
        assert b.T_world_camera is not None
        np.testing.assert_allclose(b.T_world_camera, T @ a.T_world_camera, atol=1e-5)


def test_camera_toml_comes_before_the_exported_matrices(tmp_path: Path) -> None:
    folder = sens_reader_export(tmp_path / "a", make_frames(1))
    other = Intrinsics(33.0, 34.0, 8.0, 6.0, CAMERA.width, CAMERA.height)
    write_camera(folder / "camera.toml", CameraFile(other, other, np.eye(4), 0.002, 15.0))
    with open_source(folder) as source:
        assert (source.info.color_intrinsics, source.info.depth_scale, source.info.rate_hz) == (other, 0.002, 15.0)


def test_images_made_smaller_than_their_intrinsics_are_refused(tmp_path: Path) -> None:
    folder = sens_reader_export(tmp_path / "a", make_frames(1))
    large = Intrinsics(40.0, 42.0, 20.0, 11.0, 32, 24)
    write_text(folder / "intrinsic/intrinsic_color.txt", matrix_text(as_4x4(large)))
    with pytest.raises(BadRecording, match="made smaller"):
        ScanNetExport(folder)


@pytest.mark.parametrize(
    ("missing", "at"),
    [("color/1.jpg", 1), ("depth/1.png", 1), ("color/0.jpg", 0), ("intrinsic/intrinsic_color.txt", None)],
)
def test_a_missing_file_is_named(tmp_path: Path, missing: str, at: int | None) -> None:
    folder = sens_reader_export(tmp_path / "a", make_frames(3))
    (folder / missing).unlink()
    frames, fault = read_all(folder)
    assert fault is not None
    assert (fault.path, fault.frame) == (str(folder / missing), at)
    assert len(frames) == (1 if at == 1 else 0)


def test_a_missing_pose_is_a_lost_one_and_a_pose_alone_is_no_frame(tmp_path: Path) -> None:
    folder = sens_reader_export(tmp_path / "a", make_frames(3))
    (folder / "pose/1.txt").unlink()
    write_text(folder / "pose/7.txt", matrix_text(np.eye(4)))
    with ScanNetExport(folder) as source:
        assert [frame.T_world_camera is None for frame in source.frames()] == [False, True, False]
        assert source.info.counters["without_pose"] == 1


def test_two_images_of_one_frame_are_refused(tmp_path: Path) -> None:
    folder = sens_reader_export(tmp_path / "a", make_frames(2))
    shutil.copy(folder / "color/1.jpg", folder / "color/001.jpg")
    with pytest.raises(BadRecording, match="second color of frame number 1"):
        ScanNetExport(folder)


def test_a_folder_that_only_resembles_one_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "color").mkdir()
    (tmp_path / "depth").mkdir()
    write_text(tmp_path / "intrinsic.txt", "1")
    with pytest.raises(BadRecording, match="no recording known"):
        open_source(tmp_path)
    (tmp_path / "pose").mkdir()
    with pytest.raises(BadRecording, match="no numbered frames"):
        open_source(tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sens_reader_export(tmp_path_factory.mktemp("good") / "scene0000_00", make_frames(3))


VICTIMS = ("color/1.jpg", "depth/1.png", "pose/1.txt", "intrinsic/intrinsic_color.txt", "intrinsic/extrinsic_depth.txt")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(victim=st.sampled_from(VICTIMS), data=st.data())
def test_arbitrary_bytes_in_one_file_give_frames_or_bad_recording(good: Path, victim: str, data: st.DataObject) -> None:
    original = (good / victim).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    content = data.draw(st.one_of(st.binary(max_size=60), st.just(original[:at])))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(good, copy)
        (copy / victim).write_bytes(content)
        frames, fault = read_all(copy)
    if fault is not None:
        assert fault.path.endswith(victim)
        assert len(frames) == (fault.frame or 0)
    else:
        assert len(frames) == 3
