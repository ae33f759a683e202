"""The kernels benchmark: what it says, what it compares with, and what it refuses."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from benchmarks import kernels
from benchmarks.kernels import COPY, MASK_SHARE, MASKS, TARGETS, Input, blob, max_error_m
from benchmarks.numpy_backproject import Vectorised, naive
from benchmarks.recordings import cache_folder, spread
from benchmarks.report import NOT_MEASURED

from scene_r1.backproject import BackProjector, backproject_reference
from scene_r1.frame import DepthRange
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.sources import create_sink
from scene_r1_engines.errors import BadInput, SceneR1Error

VOXEL_M = 0.05


@pytest.fixture(scope="module")
def views() -> Input:
    with SyntheticRecording(3, 3, (160, 120), one_camera=True, rate_hz=1.0) as room:
        return Input.of("room", list(room.frames()))


def test_a_quick_run_ends_with_every_promised_key_and_they_hold_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    folders = ["--cache", os.fspath(tmp_path / "cache"), "--out", os.fspath(tmp_path / "out")]
    assert kernels.main(["--quick", *folders]) == 0
    out = capsys.readouterr().out
    document = json.loads(out.splitlines()[-1])
    results = document["results"]
    assert document["benchmark"] == "kernels"
    for key in TARGETS:
        assert math.isfinite(results[key])
        assert results[key] > 0.0
        assert f"| {key} " in out
    assert results["max_error_m"] < 1e-5
    assert results["real_recording"]["status"] == NOT_MEASURED
    timing = results["timing"]
    assert timing["rounds"] == kernels.QUICK_ROUNDS
    assert results["ratios_to_copy"].keys() == timing["candidates"].keys()
    assert results["ratios_to_copy"][COPY]["median"] == 1.0
    assert sum(name.startswith("keyframes: ") for name in timing["candidates"]) == 5
    assert results["input"]["width_px"] * results["input"]["height_px"] == 640 * 480
    for camera in ("one_camera", "two_cameras"):
        points = results["points_per_frame"][camera]
        for mask in MASKS:
            valid, smooth, voxels = (points[f"{n}, {mask}"] for n in ("valid", "after_edge_filter", "after_voxels"))
            assert valid > smooth > voxels > 0.0
        assert points["valid, full"] > points["valid, 13 %"]
        assert points["mask_share"] == pytest.approx(MASK_SHARE, rel=0.01)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("buffers", [False, True])
def test_every_numpy_opponent_does_the_same_work_as_the_kernel(views: Input, mask: str, buffers: bool) -> None:
    numpy = Vectorised(views.frames[0].depth_intrinsics, buffers)
    for frame, chosen in views.pairs(mask):
        whole = np.ones(frame.depth_raw.shape, np.bool_) if chosen is None else chosen
        points, colors = backproject_reference(frame, chosen, edge_ratio=0.0)
        for opponent in (naive, numpy.dense, numpy.gather):
            xyz, rgb = opponent(frame, whole)
            assert np.array_equal(rgb, colors)
            assert np.abs(xyz - points).max() < 1e-5


def test_numpy_with_voxels_keeps_the_points_that_the_fused_kernel_keeps(views: Input) -> None:
    numpy, fused = Vectorised(views.frames[0].depth_intrinsics), BackProjector(voxel_m=VOXEL_M)
    for frame, chosen in views.pairs("13 %"):
        assert chosen is not None
        xyz, _ = numpy.voxels(frame, chosen, VOXEL_M)
        ours = {tuple(p) for p in np.rint(fused(frame, chosen).xyz * 1e4).astype(int)}
        theirs = {tuple(p) for p in np.rint(xyz * 1e4).astype(int)}
        # A point on a voxel's face may round into either voxel.
        assert len(ours & theirs) > 0.98 * max(len(ours), len(theirs))


@pytest.mark.parametrize("turn", [0.0, 1.0, 4.0])
def test_the_small_mask_covers_thirteen_percent_wherever_it_is(turn: float) -> None:
    mask = blob((480, 640), turn)
    assert mask.mean() == pytest.approx(MASK_SHARE, rel=0.01)
    assert not mask[0].any()
    assert not mask[:, 0].any()


def test_a_kernel_that_keeps_other_pixels_is_not_given_a_time(views: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.0 < max_error_m(views) < 1e-5
    monkeypatch.setattr(kernels, "BackProjector", partial(BackProjector, DepthRange(0.2, 2.0)))
    with pytest.raises(SceneR1Error, match="run the tests"):
        max_error_m(views)


def test_depth_of_a_camera_of_its_own_is_refused_where_numpy_is_the_opponent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        SyntheticRecording(3, 1, (64, 48)) as room,
        create_sink(tmp_path / "two", "seven_scenes", like=room.info) as sink,
    ):
        (frame,) = room.frames()
        for index in range(kernels.QUICK_FRAMES * kernels.APART):
            sink.write(replace(frame, index=index, timestamp_ns=index))
    words = ["--quick", "--data", os.fspath(tmp_path / "two"), "--cache", os.fspath(tmp_path)]
    assert kernels.main([*words, "--out", os.fspath(tmp_path / "out")]) == 2
    assert "two cameras" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_frames_are_spread_and_frames_without_a_pose_are_passed_over(views: Input) -> None:
    frame = views.frames[0]
    many = [replace(frame, index=i, T_world_camera=None if i == 1 else frame.T_world_camera) for i in range(8)]
    assert [f.index for f in spread(iter(many), 3, every=2)] == [0, 3, 5]
    with pytest.raises(BadInput, match="has 7 with a pose"):
        spread(many, 5, every=2)


def test_a_cache_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    args = kernels.argparse.Namespace(cache=tmp_path / "file" / "rooms")
    with pytest.raises(BadInput, match="another --cache"):
        cache_folder(args)
