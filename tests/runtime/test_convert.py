"""One format into another and back; broken recordings leave nothing behind unless asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.recorded_frames import DISTORTED, SMALL_DEPTH, make_frames, random_pose, same

from scene_r1.cli import main
from scene_r1.convert import convert
from scene_r1.sources import create_sink, open_source
from scene_r1_engines.errors import BadRecording


def recording(path: Path, **options: object) -> Path:
    with create_sink(path) as sink:
        for frame in make_frames(4, **options):
            sink.write(frame)
    return path


def test_there_and_back_again_is_the_same_recording(tmp_path: Path) -> None:
    T = random_pose(np.random.default_rng(3))
    cameras = {"color": DISTORTED, "depth": SMALL_DEPTH, "T_color_depth": T}
    frames = make_frames(4, lost=(1,), **cameras)
    # Below 13.1 m both units hold every depth, and 1 mm is 5 counts of TUM's.
    near = [
        type(f)(
            f.index,
            f.timestamp_ns,
            f.color,
            f.color_intrinsics,
            f.depth_raw % 13000,
            0.001,
            f.depth_intrinsics,
            f.T_color_depth,
            f.T_world_camera,
        )
        for f in frames
    ]
    with create_sink(tmp_path / "a") as sink:
        for frame in near:
            sink.write(frame)
    for source, target, format in (("a", "b", "tum"), ("b", "c", "seven_scenes")):
        with open_source(tmp_path / source) as opened:
            report = convert(opened, create_sink(tmp_path / target, format, like=opened.info))
        assert (report.frames, report.without_pose, report.depth_overflow_px, report.fault) == (4, 1, 0, None)
        assert report.max_depth_rounding_m == 0.0
    with open_source(tmp_path / "c") as source:
        for a, b in zip(near, source.frames(), strict=True):
            same(a, b)


def test_the_command_converts_and_says_what_it_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording(tmp_path / "a", lost=(2,))
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--format", "tum", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["frames"], found["without_pose"], found["fault"]) == (4, 1, None)
    assert found["depth_overflow_px"] > 0  # random depths reach 65 m, the target's unit 13 m
    assert main(["convert", str(tmp_path / "b"), str(tmp_path / "c"), "--jpeg-quality", "80"]) == 0
    said = capsys.readouterr().out
    assert "4 frames, 1 without a pose" in said
    assert len(list((tmp_path / "c").glob("*.color.jpg"))) == 4


def test_the_command_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for taken in ("a", "b"):
        assert main(["convert", str(tmp_path / "a"), str(tmp_path / taken)]) == 2
        assert "already there" in capsys.readouterr().err
    assert list((tmp_path / "b").iterdir()) == []


def test_a_source_that_breaks_half_way_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = recording(tmp_path / "a") / "frame-000002.depth.png"
    victim.write_bytes(victim.read_bytes()[:-20])
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    captured = capsys.readouterr()
    assert "frame-000002.depth.png" in captured.err
    assert captured.out == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_the_good_prefix_is_kept_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = recording(tmp_path / "a") / "frame-000002.depth.png"
    victim.write_bytes(victim.read_bytes()[:-20])
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--keep-good-prefix", "--json"]) == 0
    captured = capsys.readouterr()
    assert "kept the first 2 frames" in captured.err
    found = json.loads(captured.out)
    assert found["frames"] == 2
    assert "frame-000002.depth.png" in found["fault"]
    with open_source(tmp_path / "b") as source:
        for a, b in zip(make_frames(2), source.frames(), strict=True):
            same(a, b)


def test_there_is_no_good_prefix_of_nothing(tmp_path: Path) -> None:
    (recording(tmp_path / "a") / "frame-000000.color.png").write_bytes(b"not a picture")
    with open_source(tmp_path / "a") as source, pytest.raises(BadRecording):
        convert(source, create_sink(tmp_path / "b"), keep_good_prefix=True)
    assert not (tmp_path / "b").exists()
