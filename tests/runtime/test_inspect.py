"""Inspection tells a sound recording from one whose poses or depth scale were taken the wrong way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from scene_r1 import pose
from scene_r1.cli import main
from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.inspection import inspect
from scene_r1.sources import create_sink, open_source
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(80.0, 80.0, 79.5, 59.5, 160, 120)
HALF_ROOM_M = np.array([2.5, 1.4, 3.0])
STEP_NS = 33_333_333


def depth_of_a_room(T_world_camera: np.ndarray) -> np.ndarray:
    """(H, W) metres: exact depth inside a box-shaped room with a box-shaped pillar, by slab intersection."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.column_stack([CAMERA.rays(np.stack([u.ravel(), v.ravel()], axis=1)), np.ones(u.size)])
    directions = rays @ T_world_camera[:3, :3].T
    origin = T_world_camera[:3, 3]
    walls = np.where(directions > 0, HALF_ROOM_M - origin, -HALF_ROOM_M - origin) / directions
    depth = walls.min(axis=1)
    low, high = np.array([-0.6, -1.4, 1.2]), np.array([0.1, 0.6, 1.8])
    a, b = (low - origin) / directions, (high - origin) / directions
    near, far = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    depth = np.where((near > 0) & (near < far), np.minimum(depth, near), depth)
    return depth.reshape(CAMERA.height, CAMERA.width)


def walk(count: int = 60) -> list[np.ndarray]:
    """Poses along an arc, turning and nodding, away from the world's origin."""
    poses = []
    for share in np.linspace(0.0, 1.0, count):
        yaw, nod = np.radians(-25 + 60 * share), np.radians(8 * np.sin(5 * share))
        half = [np.sin(nod / 2) * np.cos(yaw / 2), np.cos(nod / 2) * np.sin(yaw / 2)]
        q = np.array([half[0], half[1], -np.sin(nod / 2) * np.sin(yaw / 2), np.cos(nod / 2) * np.cos(yaw / 2)])
        poses.append(pose.from_quaternion([1.3 - 2.4 * share, 0.2 * share, -1.5 + 0.6 * share], q))
    return poses


def record(path: Path, inverse: bool = False, factor: float = 1.0, lost: tuple[int, ...] = ()) -> Path:
    """A walk through the room, its poses written inverted, or its depth times a factor."""
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
                    T_world_camera=None if i in lost else (pose.inverse(T) if inverse else T),
                )
            )
    return path


@pytest.mark.parametrize(
    ("inverse", "factor", "words"),
    [
        (False, 1.0, "agree best as recorded"),
        (True, 1.0, "world-to-camera"),
        (False, 5.0, "0.0002 m per count"),
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
