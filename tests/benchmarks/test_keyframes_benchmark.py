"""The keyframes benchmark: its figures are those of the selection, and its keys are all there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import keyframes
from benchmarks.flat_memory import STEP_M, endless, voxel_table_bytes
from benchmarks.keyframes import QUICK_FRAMES, select, stood_still
from benchmarks.recordings import room_walk, standing_still
from benchmarks.report import NOT_MEASURED

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import SelectionSettings, evaluate
from scene_r1_engines.errors import BadInput

KS = (4, 8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rooms")


@pytest.fixture(scope="module")
def frames(cache: Path) -> list[RgbdFrame]:
    with room_walk(0, cache, QUICK_FRAMES) as room:
        return list(room.frames())


def _run(cache: Path, tmp_path: Path, *more: str) -> int:
    return keyframes.main(["--quick", "--cache", os.fspath(cache), "--out", os.fspath(tmp_path / "out"), *more])


def test_a_quick_run_ends_with_every_promised_key_and_they_hold_together(
    frames: list[RgbdFrame],
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    assert _run(cache, tmp_path, "--rooms", "1", "-k", "8", "4", "--flatness", "150") == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert results["real_recording"]["status"] == NOT_MEASURED
    assert list(results["sequences"]) == ["room 0"]
    for k in KS:
        row = results["sequences"]["room 0"][str(k)]
        for policy in ("swap", "greedy", "uniform", "swap_raw", "greedy_raw", "uniform_raw"):
            assert 0.0 < row[policy] <= 1.0
        assert 0.0 < row["min_prefix_ratio"] <= row["mean_prefix_ratio"] < 1.1
        assert 0.0 < row["inserted_per_1000"] <= 1000.0
        assert row["ms_per_frame"] > 0.0
        assert results["rooms"][str(k)]["swap_vs_greedy_min"] == pytest.approx(row["swap"] / row["greedy"])
    times = results["thread_cpu_times"]["room 0"]
    assert [times[part]["n"] for part in ("quality", "voxels")] == [QUICK_FRAMES - 1] * 2
    assert times["all"]["8"]["min_ms"] > times["selection"]["8"]["min_ms"] > 0.0
    assert set(results["standing_still_insertions"]["room 0"]) == {"4", "8"}
    flat = results["flatness"]
    assert results["rss_drift_percent"] == flat["rss_drift_percent"] >= 0.0
    assert flat["frames"] == 150
    assert 0 < flat["keyframe_end_bytes"] <= flat["keyframe_peak_bytes"] <= flat["keyframe_cap_bytes"]
    telemetry = list((tmp_path / "out").glob("*/telemetry.csv"))
    assert len(telemetry) == 1


def test_selecting_for_every_k_at_once_gives_what_one_evaluation_each_gives(frames: list[RgbdFrame]) -> None:
    together = select("room", frames, KS, SelectionSettings())
    for k in KS:
        alone = evaluate(frames, k)
        assert replace(together.evaluations[k], ms_per_frame=0.0) == replace(alone, ms_per_frame=0.0)
        assert len(together.inserted_at[k]) == alone.inserted
    assert together.size == (320, 240)


def test_the_settings_reach_the_selection(frames: list[RgbdFrame]) -> None:
    def inserted(**settings: Any) -> int:
        return len(select("room", frames, (4,), SelectionSettings(**settings)).inserted_at[4])

    assert inserted(c_at_once=0.0, c=0.0) > inserted(c_at_once=10.0, c=10.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rooms", "0"), "at least one room"),
        (("--patience", "0"), "patience"),
        (("--c", "2"), "c must not exceed"),
        (("--rooms", "1", "-k", "0"), "k must be in"),
    ],
)
def test_impossible_settings_are_one_error_and_nothing_is_written(
    words: tuple[str, ...], said: str, frames: list[RgbdFrame], cache: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    assert _run(cache, tmp_path, *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sequence_without_poses_or_surfaces_is_refused(frames: list[RgbdFrame]) -> None:
    lost = [replace(frame, T_world_camera=None) for frame in frames[:3]]
    with pytest.raises(BadInput, match="0 frames with a pose"):
        select("lost", lost, KS, SelectionSettings())
    blind = [replace(frame, depth_raw=np.zeros_like(frame.depth_raw)) for frame in frames[:3]]
    with pytest.raises(BadInput, match="no surface"):
        select("blind", blind, KS, SelectionSettings())


def test_a_camera_that_stands_still_sees_the_same_with_fresh_noise() -> None:
    first, second = standing_still(0, 2)
    assert first.T_world_camera is not None
    assert second.T_world_camera is not None
    assert np.array_equal(first.T_world_camera, second.T_world_camera)
    both = (first.depth_raw > 0) & (second.depth_raw > 0)
    off_m = np.abs(first.depth_m - second.depth_m)[both]
    assert both.mean() > 0.5
    assert 0.0 < np.median(off_m) < 0.05
    assert np.array_equal(next(standing_still(0, 1)).depth_raw, first.depth_raw)


def test_insertions_while_standing_are_counted_by_second() -> None:
    still = stood_still(0, 36, (2,), SelectionSettings())["2"]
    assert still["first_second"] >= 1
    assert still["afterwards"] == 0
    every = stood_still(0, 36, (1,), SelectionSettings(c=0.0, c_at_once=0.0))["1"]
    assert every["first_second"] + every["afterwards"] > still["first_second"]


@dataclass
class Looped:
    """A source that holds its frames; all that `endless` needs of one."""

    held: list[RgbdFrame]

    @property
    def info(self) -> Any:
        raise AssertionError("only the message of an error asks for it")

    def frames(self) -> Iterator[RgbdFrame]:
        return iter(self.held)


def test_an_endless_recording_numbers_its_frames_and_moves_on_at_each_turn(frames: list[RgbdFrame]) -> None:
    held = [frames[0], replace(frames[1], T_world_camera=None), frames[2]]
    source: Any = Looped(held)
    seen = list(endless(source, 5))
    assert [frame.index for frame in seen] == [0, 1, 2, 3, 4]
    poses = [frame.T_world_camera for frame in seen]
    for turn, (now, then) in enumerate([(poses[0], poses[2]), (poses[2], poses[4]), (poses[1], poses[3])]):
        assert now is not None
        assert then is not None
        assert then[:3, 3] - now[:3, 3] == pytest.approx([STEP_M, STEP_M, 0.0], abs=1e-9), turn
        assert np.allclose(then[:3, :3], now[:3, :3])
    assert list(islice(endless(source, 0), 1)) == []


def test_a_recording_without_poses_does_not_loop_for_ever(tmp_path: Path, frames: list[RgbdFrame]) -> None:
    from scene_r1.sources import create_sink, open_source

    with create_sink(tmp_path / "lost", "seven_scenes") as sink:
        for index in range(2):
            sink.write(replace(frames[0], index=index, T_world_camera=None))
    with open_source(tmp_path / "lost") as source, pytest.raises(BadInput, match="no frame has a pose"):
        list(endless(source, 5))


def test_the_voxel_tables_bytes_are_what_its_docstring_says() -> None:
    assert voxel_table_bytes(16, 1 << 16) == pytest.approx((1 << 16) * (2 * 16 + 24), rel=0.01)
