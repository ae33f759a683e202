"""The pose benchmark: its scores are those of known trajectories, and its keys are all there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.pose.__main__ import main
from benchmarks.pose.trajectory import aligned_errors, score
from benchmarks.report import NOT_MEASURED
from scipy.spatial.transform import Rotation

KEYS = {"ate_cm", "rpe_mm", "rpe_deg", "cpu_ms_per_frame", "lost_frames"}


def path(count: int = 30, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        T = np.eye(4)
        T[:3, :3] = Rotation.from_rotvec([0.0, 0.02 * i, 0.01]).as_matrix()
        T[:3, 3] = (0.02 * i, 0.3 * np.sin(0.2 * i), 0.01 * rng.random())
        out.append(T)
    return out


def test_a_trajectory_in_another_world_has_no_error() -> None:
    true, elsewhere = path(), np.eye(4)
    elsewhere[:3, :3] = Rotation.from_rotvec([0.4, -2.0, 1.0]).as_matrix()
    elsewhere[:3, 3] = (3.0, -1.0, 7.0)
    one = score([elsewhere @ T for T in true], true, np.full(30, 2.0))
    assert one is not None
    assert one.ate_cm < 1e-9
    assert one.rpe_mm < 1e-9
    assert one.rpe_deg < 1e-9
    assert (one.cpu_ms_per_frame, one.lost_frames, one.frames) == (2.0, 0, 30)


def test_errors_are_those_that_were_put_in_and_frames_without_a_pose_are_counted() -> None:
    true = path(41)
    estimated = [T.copy() for T in true]
    for i in range(0, 41, 2):
        estimated[i][1, 3] += 0.02  # a zigzag of 2 cm: 1 cm off its middle
    given: list[np.ndarray | None] = list(estimated)
    given[7] = given[20] = None
    one = score(given, true, np.zeros(41))
    assert one is not None
    assert one.ate_cm == pytest.approx(1.0, rel=0.05)
    assert one.rpe_mm == pytest.approx(20.0, rel=1e-6)
    assert one.lost_frames == 2


def test_a_mirrored_trajectory_is_not_aligned_by_mirroring() -> None:
    positions = np.random.default_rng(0).normal(size=(20, 3))
    assert aligned_errors(positions * [1.0, 1.0, -1.0], positions).max() > 0.1


def test_with_fewer_than_three_poses_there_is_no_score() -> None:
    true = path(5)
    assert score([true[0], None, None, None, true[4]], true, np.zeros(5)) is None


def test_a_quick_run_ends_with_every_promised_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    threads = cv2.getNumThreads()
    try:
        arguments = ["--quick", "--rooms", "1", "--cache", os.fspath(tmp_path), "--out", os.fspath(tmp_path / "out")]
        assert main(arguments) == 0
    finally:
        cv2.setNumThreads(threads)
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    ours = results["visual"]["room 0"]
    assert set(ours) >= KEYS
    assert ours["lost_frames"] == 0
    assert ours["ate_percent"] < 2.0
    assert set(results["orb_to_keyframe"]["room 0"]) >= KEYS
    assert results["orb_slam3"]["status"] == NOT_MEASURED
    if hasattr(cv2, "Odometry"):
        assert set(results["opencv_odometry"]["room 0"]) >= KEYS
    else:
        assert results["opencv_odometry"]["status"] == NOT_MEASURED


def test_nothing_to_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    assert main(["--rooms", "0", "--cache", os.fspath(tmp_path), "--out", os.fspath(tmp_path)]) == 2
    assert main(["--frames", "2", "--cache", os.fspath(tmp_path), "--out", os.fspath(tmp_path)]) == 2
