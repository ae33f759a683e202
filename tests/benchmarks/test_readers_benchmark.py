"""The readers benchmark: its floor reads the same bytes, memory is watched, and its keys are all there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from benchmarks import readers
from benchmarks.readers import TARGETS, memory_growth, plain_reads, read_records, written_scan
from benchmarks.report import NOT_MEASURED
from benchmarks.sens_writer import write_sens
from tests.runtime.recorded_frames import make_frames

from scene_r1.sources import open_source
from scene_r1.sources.scannet.sens_file import SensFile


def test_a_quick_run_ends_with_every_promised_key_and_they_hold_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    folders = ["--cache", os.fspath(tmp_path / "cache"), "--out", os.fspath(tmp_path / "out")]
    assert readers.main(["--quick", "--rounds", "2", *folders]) == 0
    out = capsys.readouterr().out
    results = json.loads(out.splitlines()[-1])["results"]
    for key in TARGETS:
        assert f"| {key} " in out
        assert key in results
    assert results["real_recording"]["status"] == NOT_MEASURED
    assert results["input"]["color"] == "1296x968 jpeg"
    assert results["input"]["depth"] == "640x480 zlib_ushort"
    assert results["frames_per_cpu_s"] > results["frames_per_s_decoded"] > 0.0
    assert results["times_plain_reads"] > results["times_plain_reads_and_inflate"] > 0.5
    assert results["memory_growth_bytes"] < 640 * 480 * 2
    assert results["timing"]["rounds"] == 2


def test_a_real_scan_is_measured_where_one_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sens(tmp_path / "scan.sens", make_frames(9))
    folders = ["--cache", os.fspath(tmp_path / "cache"), "--out", os.fspath(tmp_path / "out")]
    assert readers.main(["--quick", "--rounds", "1", "--data", os.fspath(path), *folders]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert (results["input"]["name"], results["input"]["frames"]) == ("scan.sens", 9)
    assert "real_recording" not in results


def test_the_floor_reads_exactly_the_bytes_of_the_images(tmp_path: Path) -> None:
    path = write_sens(tmp_path / "a.sens", make_frames(4), packing=("png", "raw_ushort"))
    with SensFile(path) as file:
        assert plain_reads(path, file, 4) == read_records(file, 4)
        assert plain_reads(path, file, 2) < plain_reads(path, file, 4)


def test_the_written_scan_is_the_room_again_and_again(tmp_path: Path) -> None:
    path = written_scan(tmp_path / "room.sens", tmp_path, seed=0, views=1, frames=3)
    with open_source(path) as source:
        frames = list(source.frames())
        assert source.info.timestamps == "recorded"
    assert [frame.color.shape for frame in frames] == [(968, 1296, 3)] * 3
    assert np.array_equal(frames[0].depth_raw, frames[2].depth_raw)
    assert (frames[0].depth_raw > 0).mean() > 0.5


def test_memory_that_is_kept_shows_as_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sens(tmp_path / "a.sens", make_frames(20))
    with SensFile(path) as file:
        flat = memory_growth(file, 20)["growth_bytes"]
        kept: list[object] = []
        record = file.record

        def keeping(index: int) -> object:
            kept.append(record(index))
            return kept[-1]

        monkeypatch.setattr(file, "record", keeping)
        leaking = memory_growth(file, 20)["growth_bytes"]
    depth_bytes = 16 * 12 * 2
    assert flat < 12 * depth_bytes  # what Python itself comes to hold at first
    assert leaking > flat + 16 * depth_bytes
