"""Folders in the TUM RGB-D layout: pairing by time, poses between times, and lists that lie."""

from __future__ import annotations

import shutil
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, DISTORTED, SMALL_DEPTH, make_frames, random_pose, same

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.sources.association import CrowdedTimes, associate
from scene_r1.sources.trajectory import Trajectory
from scene_r1.sources.tum import TumSource, parse_time_ns
from scene_r1.sources.tum_sink import TumSink
from scene_r1_engines.errors import BadFrame, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

VGA = Intrinsics(500.0, 500.0, 300.0, 200.0, 640, 480)


def write(path: Path, frames: list[RgbdFrame], **options: object) -> Path:
    with TumSink(path, **options) as sink:
        for frame in frames:
            sink.write(frame)
    return path


def read_all(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    frames: list[RgbdFrame] = []
    try:
        with TumSource(path) as source:
            for frame in source.frames():
                frames.append(frame)
    except BadRecording as error:
        return frames, error
    return frames, None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4), two=st.booleans(), lost=st.booleans())
def test_what_is_written_is_read_back_bit_by_bit(seed: int, count: int, two: bool, lost: bool) -> None:
    T = random_pose(np.random.default_rng(seed))
    cameras = {"color": DISTORTED, "depth": SMALL_DEPTH, "T_color_depth": T} if two else {}
    frames = make_frames(count, seed, depth_scale=1 / 5000, lost=(count // 2,) if lost else (), **cameras)
    with tempfile.TemporaryDirectory() as folder, TumSource(write(Path(folder) / "out", frames)) as source:
        back = list(source.frames())
        assert source.info.counters["without_pose"] == int(lost)
    assert len(back) == count
    for a, b in zip(frames, back, strict=True):
        same(a, b)
        assert b.one_camera == (not two)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("good") / "recording", make_frames(3, depth_scale=1 / 5000))


@settings(max_examples=60, deadline=None)
@given(
    victim=st.sampled_from(["rgb.txt", "depth.txt", "groundtruth.txt", "camera.toml", "rgb", "depth"]), data=st.data()
)
def test_arbitrary_bytes_in_one_file_give_frames_or_bad_recording(good: Path, victim: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(good, copy)
        path = sorted((copy / victim).iterdir())[1] if (copy / victim).is_dir() else copy / victim
        original = path.read_bytes()
        at = data.draw(st.integers(0, len(original) - 1))
        noise = data.draw(st.binary(max_size=30))
        kept = data.draw(st.sampled_from([b"", original[at:], original[at + len(noise) :]]))
        path.write_bytes(original[:at] + noise + kept)
        frames, fault = read_all(copy)
    assert frames or fault is not None
    if fault is not None and path.suffix == ".png":
        assert fault.path.endswith(path.name)
        assert [frame.index for frame in frames] == [0]


@pytest.mark.parametrize("name", ["../out.png", "/etc/hostname", "rgb/../../x.png", "a\\..\\b.png", "rgb/\0.png"])
def test_a_name_that_leads_out_of_the_recording_is_refused(good: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    with open(copy / "rgb.txt", "a") as file:
        file.write(f"1800000000.0 {name}\n")
    with pytest.raises(BadRecording, match="only files inside"):
        TumSource(copy)


def test_a_symlink_loop_is_a_fault_of_its_frame(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    victim = sorted((copy / "depth").iterdir())[2]
    victim.unlink()
    victim.symlink_to(victim.name)
    frames, fault = read_all(copy)
    assert len(frames) == 2
    assert fault is not None
    assert (fault.frame, Path(fault.path).name) == (2, victim.name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rgb.txt", "", "empty"),
        ("rgb.txt", "# nothing\n", "no images"),
        ("rgb.txt", "1.0\n", "line 1"),
        ("rgb.txt", "yesterday a.png\n", "yesterday"),
        ("rgb.txt", "nan a.png\n", "not a time"),
        ("rgb.txt", "1e999999999 a.png\n", "not a time"),
        ("rgb.txt", "-1.0 a.png\n", "not a time"),
        ("rgb.txt", "1.0 a.png\n1.0 b.png\n", "repeats"),
        ("rgb.txt", "1.0 a.png\n", "within 0.02 s"),
        ("groundtruth.txt", "1.0 0 0 0 0 0 0\n", "7 fields"),
        ("groundtruth.txt", "1.0 0 0 0 0 0 0 x\n", "'x'"),
        ("groundtruth.txt", "1.0 0 0 0 0 0 0 2\n", "length 1"),
        ("groundtruth.txt", "1.0 0 0 0 0 0 1e300 1e300\n", "length 1"),
    ],
)
def test_a_list_that_makes_no_sense_is_named_with_its_line(
    good: Path, tmp_path: Path, name: str, text: str, words: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (copy / name).write_text(text)
    with pytest.raises(BadRecording, match=words):
        TumSource(copy)


@pytest.mark.parametrize("name", ["rgb.txt", "depth.txt"])
def test_a_missing_list_is_named(good: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (copy / name).unlink()
    with pytest.raises(BadRecording, match=f"{name}.*is missing"):
        TumSource(copy)


def test_a_recording_without_poses_has_frames_without_poses(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (copy / "groundtruth.txt").unlink()
    with TumSource(copy) as source:
        assert not source.info.has_poses
        assert [frame.T_world_camera for frame in source.frames()] == [None] * 3
        assert source.info.counters["without_pose"] == 3


@given(st.lists(st.integers(0, 300), unique=True, max_size=8), st.lists(st.integers(0, 300), unique=True, max_size=8))
def test_association_is_that_of_the_benchmark(a: list[int], b: list[int]) -> None:
    a, b = sorted(a), sorted(b)
    potential = sorted((abs(x - y), x, y) for x in a for y in b if abs(x - y) < 20)  # associate.py, word for word
    first, second, matches = list(a), list(b), []
    for _, x, y in potential:
        if x in first and y in second:
            first.remove(x)
            second.remove(y)
            matches.append((x, y))
    assert [(a[i], b[j]) for i, j in associate(a, b, 20)] == sorted(matches)


def test_a_million_images_in_one_instant_are_refused_and_not_compared() -> None:
    times = list(range(200_000))
    with pytest.raises(CrowdedTimes):
        associate(times, times, 20_000_000)


def test_images_without_a_partner_are_left_out_and_noted(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", make_frames(4, depth_scale=1 / 5000))
    lines = (folder / "depth.txt").read_text().splitlines()
    del lines[2]
    (folder / "depth.txt").write_text("\n".join(lines))
    with TumSource(folder) as source:
        assert source.info.frames == 3
        assert "3 pairs of 4 colour and 3 depth" in source.info.notes[0]
        assert [frame.index for frame in source.frames()] == [0, 1, 2]


def test_a_pose_between_two_is_interpolated_on_the_shortest_turn() -> None:
    def row(angle_deg: float, x: float, sign: float = 1.0) -> tuple[float, ...]:
        half = np.radians(angle_deg) / 2
        return (x, 0.0, 0.0, 0.0, 0.0, sign * np.sin(half), sign * np.cos(half))

    track = Trajectory([(0, row(10, 0.0)), (80_000_000, row(50, 0.8, -1.0))])
    T = track.at(20_000_000)
    assert T is not None
    angle = np.radians(20)
    np.testing.assert_allclose(T[:2, :2], [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], [0.2, 0.0, 0.0], atol=1e-12)


def test_a_pose_is_taken_from_near_by_or_not_at_all() -> None:
    rows = [(t, (t / 1e9, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)) for t in (0, 500_000_000, 510_000_000)]
    track = Trajectory([*rows, (250_000_000, (float("nan"),) * 7)])
    found = {t: track.at(t) for t in (-20_000_000, 15_000_000, 25_000_000, 485_000_000, 530_000_001)}
    assert [T if T is None else T[0, 3] for T in found.values()] == [0.0, 0.0, None, 0.5, None]
    assert len(track) == 3
    between = track.at(505_000_000)
    assert between is not None
    assert between[0, 3] == pytest.approx(0.505)


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.999))
def test_an_interpolated_pose_lies_on_the_way(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    ends = [random_pose(rng), random_pose(rng)]
    rows = [(i * 100_000_000, (*T[:3, 3], *pose.to_quaternion(T))) for i, T in enumerate(ends)]
    T = Trajectory(rows).at(round(share * 1e8))
    assert T is not None
    whole = pose.angle_deg(ends[0], ends[1])
    assert pose.angle_deg(ends[0], T) == pytest.approx(share * whole, abs=1e-4)
    assert pose.angle_deg(ends[0], T) + pose.angle_deg(T, ends[1]) == pytest.approx(whole, abs=1e-6)


@given(st.integers(0, (1 << 32) * 10**9))
def test_times_keep_every_nanosecond(time_ns: int) -> None:
    assert parse_time_ns(str(Decimal(time_ns) / 10**9)) == time_ns


@pytest.mark.parametrize(
    ("name", "fx", "model"),
    [
        ("rgbd_dataset_freiburg1_desk", 517.3, "brown_conrady"),
        ("rgbd_dataset_freiburg2_xyz", 520.9, "brown_conrady"),
        ("rgbd_dataset_freiburg3_long_office", 535.4, "none"),
        ("my_room", 525.0, "none"),
    ],
)
def test_known_calibrations_go_by_the_folders_name(tmp_path: Path, name: str, fx: float, model: str) -> None:
    folder = write(tmp_path / name, make_frames(1, color=VGA, depth=VGA))
    (folder / "camera.toml").unlink()
    info = TumSource(folder).info
    assert (info.color_intrinsics.fx, info.color_intrinsics.model) == (fx, model)
    assert info.depth_scale == 1 / 5000


def test_images_of_another_size_need_a_camera_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "small", make_frames(1, color=CAMERA, depth=CAMERA))
    (folder / "camera.toml").unlink()
    with pytest.raises(BadRecording, match="16x12"):
        TumSource(folder)


def test_times_that_do_not_grow_cannot_be_written(tmp_path: Path) -> None:
    first = make_frames(1)[0]
    again = RgbdFrame(1, first.timestamp_ns, first.color, CAMERA, first.depth_raw, 0.001, CAMERA)
    with pytest.raises(BadFrame, match="not later"):
        write(tmp_path / "out", [first, again])
    assert list(tmp_path.iterdir()) == []
