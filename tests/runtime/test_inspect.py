"""Inspection tells a sound recording from one whose poses or depth scale were taken the wrong way."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.walked_room import CAMERA, depth_of_a_room, random_walk, walk

from scene_r1 import pose
from scene_r1.cli import main
from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.inspection import inspect
from scene_r1.reprojection import NAMED_SCALES, OPENGL_AXES, Reading, ReprojectionTest, readings
from scene_r1.sources import create_sink, open_source

STEP_NS = 33_333_333


def record(
    path: Path, inverse: bool = False, factor: float = 1.0, lost: tuple[int, ...] = (), opengl: bool = False
) -> Path:
    """A walk through the room, its poses written another way, or its depth times a factor."""
    with create_sink(path) as sink:
        for i, T in enumerate(walk()):
            sink.write(
                RgbdFrame(
                    index=i,
                    timestamp_ns=i * STEP_NS + (100_000_000 if i >= 30 else 0),
                    color=np.full((CAMERA.height, CAMERA.width, 3), i, np.uint8),
                    color_intrinsics=CAMERA,
                    depth_raw=depth_counts(depth_of_a_room(T) * factor, 0.001),
                    depth_scale=0.001,
                    depth_intrinsics=CAMERA,
                    T_world_camera=None if i in lost else misread(T, inverse, opengl),
                )
            )
    return path


def misread(T: np.ndarray, inverse: bool = False, opengl: bool = False) -> np.ndarray:
    """A pose as a recorder of other conventions writes it."""
    T = T @ OPENGL_AXES if opengl else T
    return pose.inverse(T) if inverse else T


def found_in(poses: list[np.ndarray], depths_raw: list[np.ndarray], depth_scale: float) -> Reading | None:
    test = ReprojectionTest(depth_scale)
    color = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    for i, (T, depth_raw) in enumerate(zip(poses, depths_raw, strict=True)):
        test.add(RgbdFrame(i, i, color, CAMERA, depth_raw, depth_scale, CAMERA, T_world_camera=T))
    return test.better_reading()


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([0.0, 0.01]))
def test_each_wrong_convention_of_poses_is_named_and_the_right_one_is_not(seed: int, noise: float) -> None:
    walked, depths_m = noisy_walk(seed, noise)
    depths_raw = [depth_counts(depth_m, 0.001) for depth_m in depths_m]
    for inverse, opengl in ((False, False), (True, False), (False, True), (True, True)):
        wanted = Reading(inverse, opengl)
        poses = [misread(T, inverse, opengl) for T in walked]
        assert found_in(poses, depths_raw, 0.001) == (None if wanted == Reading() else wanted)


@settings(max_examples=3, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    noise=st.sampled_from([0.0, 0.01]),
    scales=st.permutations(list(NAMED_SCALES)).map(lambda names: names[:3]),
)
def test_each_wrong_depth_scale_is_named(seed: int, noise: float, scales: list[str]) -> None:
    walked, depths_m = noisy_walk(seed, noise)
    true, *wrong = scales
    depths_raw = [depth_counts(depth_m, NAMED_SCALES[true]) for depth_m in depths_m]
    for said in wrong:
        better = found_in(walked, depths_raw, NAMED_SCALES[said])
        assert better is not None
        assert not better.changes_poses
        assert better.depth_factor * NAMED_SCALES[said] == pytest.approx(NAMED_SCALES[true], rel=0.01)


def noisy_walk(seed: int, noise: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Poses, and depth in metres with relative noise in every pixel."""
    rng = np.random.default_rng(seed)
    walked = random_walk(seed)
    depths_m = [depth_of_a_room(T) for T in walked]
    return walked, [depth_m * (1.0 + noise * rng.normal(size=depth_m.shape)) for depth_m in depths_m]


@given(st.floats(1e-6, 0.1))
def test_no_two_readings_of_a_scale_are_one(depth_scale: float) -> None:
    tried = readings(depth_scale)
    assert tried[0] == Reading()
    assert len({str(one) for one in tried}) == len(tried)
    factors = sorted(one.depth_factor for one in tried if not one.changes_poses)
    assert all(b / a > 1.009 for a, b in pairwise(factors))


@pytest.mark.parametrize(
    ("inverse", "factor", "words"),
    [
        (False, 1.0, "agree best as recorded"),
        (True, 1.0, "world-to-camera"),
        (False, 5.0, "looks like 1/5000 (0.0002 m per count), not 1/1000"),
        (False, 0.2, "0.005 m per count"),
        (False, 10.0, "0.0001 m per count"),
        (False, 0.1, "0.01 m per count"),
    ],
)
def test_the_verdict_is_what_was_done_to_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inverse: bool, factor: float, words: str
) -> None:
    record(tmp_path / "room", inverse, factor)
    assert main(["inspect", str(tmp_path / "room")]) == 0
    verdict = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict"))
    assert words in verdict


@pytest.mark.parametrize(
    ("inverse", "words"),
    [(False, "the camera axes of these poses look like OpenGL's"), (True, "invert them, then multiply each")],
)
def test_the_verdict_on_axes_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inverse: bool, words: str
) -> None:
    record(tmp_path / "room", inverse, opengl=True)
    assert main(["inspect", str(tmp_path / "room"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "OpenGL axes" in found["better_reading"]
    assert main(["inspect", str(tmp_path / "room")]) == 0
    verdict = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict"))
    assert words in verdict
    assert "diag(1, -1, -1, 1)" in verdict


def test_inspection_counts_what_is_there(tmp_path: Path) -> None:
    record(tmp_path / "room", lost=(10, 11))
    with open_source(tmp_path / "room") as source:
        found = inspect(source)
    assert (found.frames, found.fault, found.better_reading) == (60, None, None)
    assert found.times is not None
    assert (found.times.gaps, found.times.backward) == (1, 0)
    assert found.times.median_step_s == pytest.approx(STEP_NS / 1e9)
    assert found.times.longest_step_s == pytest.approx(STEP_NS / 1e9 + 0.1)
    assert found.depths is not None
    assert found.depths.valid_share == 1.0
    depths = np.concatenate([np.rint(depth_of_a_room(T) * 1000).ravel() for T in walk()]) / 1000
    for percent, depth_m in found.depths.percentiles_m.items():
        assert depth_m == pytest.approx(np.percentile(depths, percent, method="inverted_cdf"), abs=1e-9)
    assert found.poses is not None
    assert found.poses.share == pytest.approx(58 / 60)
    steps = np.linalg.norm(np.diff([T[:3, 3] for T in walk()], axis=0), axis=1)
    assert found.poses.path_m == pytest.approx(steps.sum() - steps[9:12].sum(), rel=1e-6)
    assert found.reprojection[0].error is not None
    assert found.reprojection[0].error < 0.005


def test_a_recording_without_poses_has_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "room", lost=tuple(range(60)))
    assert main(["inspect", str(tmp_path / "room"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["poses"] is None
    assert found["better_reading"] is None
    assert all(one["error"] is None for one in found["reprojection"])


def test_depth_without_a_single_return_is_said_and_not_divided_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "room", factor=0.0)
    assert main(["inspect", str(tmp_path / "room")]) == 0
    said = capsys.readouterr().out
    assert "no return at all; 60 frames without any" in said
    assert "not known" in said


def test_a_corrupt_frame_ends_with_the_good_prefix_and_the_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = record(tmp_path / "room") / "frame-000020.color.png"
    victim.write_bytes(victim.read_bytes()[:-4])
    assert main(["inspect", str(tmp_path / "room")]) == 2
    captured = capsys.readouterr()
    assert "20 of 60" in captured.out
    assert "frame-000020.color.png" in captured.out
    assert "frame-000020.color.png" in captured.err
    assert main(["inspect", str(tmp_path / "room"), "--json"]) == 2
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["frames"] == 20
    assert "frame-000020.color.png" in found["fault"]


def test_what_is_not_there_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "absent")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Known are" in captured.err


def real_recording() -> Path:
    named = os.environ.get("SCENE_R1_DATA")
    repository = Path(__file__).resolve().parents[2]
    return Path(named) if named else repository.parent / "shared" / "data" / "redkitchen"


@pytest.mark.skipif(not real_recording().is_dir(), reason="the real recording is not here (SCENE_R1_DATA)")
def test_a_real_kinect_recording_agrees_with_itself() -> None:
    with open_source(real_recording()) as source:
        found = inspect(source)
    assert found.fault is None
    assert found.frames == source.info.frames
    assert found.better_reading is None
    own, inverted = found.reprojection[:2]
    assert own.error is not None
    assert own.error < 0.01
    assert inverted.error is None or inverted.error > 5 * own.error
