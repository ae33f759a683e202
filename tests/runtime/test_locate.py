"""`scene-r1 locate` from a recording on disk to its last line, on a scene of known truth and on a real recording."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.block_walk import BLOCK, FRAMES, frames, record

from scene_r1.box import Box3D, iou
from scene_r1.cli import main
from scene_r1.config import load_config
from scene_r1.lift import Lifter
from scene_r1.locate import locate
from scene_r1_engines.errors import BadFrame, BadPrompt
from scene_r1_engines.segmenter import open_segmenter


def real_recording() -> Path:
    named = os.environ.get("SCENE_R1_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data" / "redkitchen"


needs_real = pytest.mark.skipif(not real_recording().is_dir(), reason="the real recording is not here (SCENE_R1_DATA)")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[float, ...]]]:
    path = tmp_path_factory.mktemp("locate") / "walk"
    return path, record(path)


def asked(recording: Path, frame: int, xyxy, *more: str) -> list[str]:
    return ["locate", str(recording), "--frame", str(frame), "--xyxy", *(f"{v:g}" for v in xyxy), *more]


def answer_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    """The last line of stdout of a run that found something."""
    capsys.readouterr()
    code = main([*arguments, "--json"])
    said = capsys.readouterr()
    answer = json.loads(said.out.splitlines()[-1])
    assert (code, answer["status"]) == (0, "ok"), said
    return answer


def box_of(answer: dict) -> Box3D:
    return Box3D(tuple(answer["box_3d"]["center"]), tuple(answer["box_3d"]["size"]), 0.0, 1)


def apart_m(a: dict, b: dict) -> float:
    return float(np.linalg.norm(np.subtract(a["box_3d"]["center"], b["box_3d"]["center"])))


@pytest.mark.parametrize("frame", [2, 6, 9])
def test_a_block_on_a_table_is_found_where_it_is(walk, frame: int, capsys: pytest.CaptureFixture[str]) -> None:
    recording, boxes = walk
    answer = answer_of(asked(recording, frame, boxes[frame]), capsys)
    assert set(answer) >= {"status", "box_3d", "engine", "timings_ms", "views", "degraded", "reason", "points"}
    box = answer["box_3d"]
    assert set(box) == {"center", "size", "rotation", "frame_id", "spread_m", "supporting_views"}
    assert box["rotation"] == np.eye(3).tolist()
    assert box["supporting_views"] >= 2
    assert box["supporting_views"] == sum(view["supports"] for view in answer["views"])
    assert 0.0 < box["spread_m"] < 0.05
    assert iou(box_of(answer), BLOCK.box) > 0.7
    assert answer["views"][0]["frame"] == frame
    assert answer["views"][0]["xyxy"] == list(boxes[frame])
    assert {view["frame"] for view in answer["views"]} <= set(range(FRAMES))
    assert [view["found_by"] for view in answer["views"]] == ["prompt"] + ["hint"] * (len(answer["views"]) - 1)
    assert answer["engine"] == {"segmenter": "depth_cut"}
    assert answer["degraded"] == ["segmenter"]
    assert answer["timings_ms"]["total"] >= answer["timings_ms"]["segment"] > 0.0


def test_a_recording_of_one_frame_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = record(tmp_path / "one", count=1)
    answer = answer_of(asked(tmp_path / "one", 0, boxes[0]), capsys)
    assert answer["box_3d"]["supporting_views"] == 1
    assert iou(box_of(answer), BLOCK.box) > 0.3


def test_what_people_read_says_size_views_and_that_a_stand_in_was_at_work(walk, capsys) -> None:
    recording, boxes = walk
    assert main(asked(recording, 6, boxes[6])) == 0
    first, views, engine, time = capsys.readouterr().out.splitlines()
    assert first.startswith("ok ")
    assert "m in frame 'world'" in first
    assert "agree: frames 6" in views
    assert "depth_cut (weight-free stand-in for a learned one)" in engine
    assert time.startswith("time")


def test_out_holds_the_answer_the_points_the_picture_and_the_settings_in_effect(walk, tmp_path, capsys) -> None:
    recording, boxes = walk
    out = tmp_path / "deep" / "out"
    answer = answer_of(asked(recording, 6, boxes[6], "-k", "5", "--out", str(out)), capsys)
    assert sorted(p.name for p in out.iterdir()) == ["answer.json", "config.toml", "evidence.png", "object.ply"]
    assert json.loads((out / "answer.json").read_text(encoding="utf-8")) == answer
    assert load_config(out / "config.toml").keyframes.k == 5
    assert (out / "evidence.png").read_bytes().startswith(b"\x89PNG")
    header = (out / "object.ply").read_bytes().split(b"end_header")[0].decode("ascii")
    assert int(header.split("element vertex ")[1].split()[0]) > answer["points"]
    assert len(answer["views"]) <= 6
    again = answer_of(asked(recording, 6, boxes[6], "-k", "5", "--out", str(out)), capsys)  # in place of the first
    assert again["box_3d"] == answer["box_3d"]


def test_no_depth_at_all_is_not_found_and_never_a_box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = record(tmp_path / "blind", count=2, depth=False)
    code = main(asked(tmp_path / "blind", 1, boxes[1], "--json", "--out", str(tmp_path / "out")))
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, answer["status"], answer["box_3d"], answer["points"]) == (3, "not_found", None, 0)
    assert answer["reason"]
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--frame", "-1"], "has no frame -1: its frames are 0..11"),
        (["--frame", "99999"], "has no frame 99999: its frames are 0..11"),
        (["--xyxy", "300", "10", "330", "40"], "0 <= x0 < x1 <= 320"),
        (["--xyxy", "-5", "10", "30", "40"], "got -5 10 30 40"),
        (["--xyxy", "nan", "10", "30", "40"], "got nan 10 30 40"),
        (["--xyxy", "30", "40", "10", "20"], "got 30 40 10 20"),
        (["--xyxy", "30", "40", "30", "40"], "got 30 40 30 40"),
        (["-k", "0"], "k must be in 1..1024"),
        (["-k", "5000"], "k must be in 1..1024"),
        (["--segmenter", "sam9"], "there is no segmenter 'sam9'"),
        (["--segmenter", ""], "there is no segmenter ''"),
        (["--config", "BROKEN"], "is not TOML"),
        (["--config", "UNKNOWN"], "did you mean k?"),
        (["--config", "ABSENT"], "cannot be read"),
        (["--out", "TAKEN"], "is not a folder"),
        (["--out", "TAKEN/below"], "is not a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_is_one_line_and_leaves_nothing(walk, options, reason, tmp_path, capsys) -> None:
    recording, boxes = walk
    (tmp_path / "BROKEN").write_text("[keyframes", encoding="utf-8")
    (tmp_path / "UNKNOWN").write_text("[keyframes]\nkk = 3\n", encoding="utf-8")
    (tmp_path / "TAKEN").write_text("", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    if options[0] in ("--config", "--out"):
        options = [options[0], str(tmp_path / options[1])]
    out = [] if options[0] == "--out" else ["--out", str(tmp_path / "out")]
    assert main(asked(recording, 3, boxes[3], *out, *options)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("scene-r1 locate: ")
    assert reason in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_recording_without_poses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = record(tmp_path / "lost", count=3, posed=False)
    assert main(asked(tmp_path / "lost", 1, boxes[1])) == 2
    assert "frame 1 has no camera pose" in capsys.readouterr().err


def test_a_box_or_a_frame_that_cannot_be_is_refused_before_the_segmenter_runs() -> None:
    (frame, xyxy), *_ = frames(1)
    with open_segmenter("depth_cut") as segmenter:
        with pytest.raises(BadPrompt, match="320"):
            locate(frame, (0.0, 0.0, 321.0, 10.0), [], segmenter, Lifter())
        lost = next(iter(frames(1)))[0]
        object.__setattr__(lost, "T_world_camera", None)
        with pytest.raises(BadFrame, match="no camera pose"):
            locate(lost, xyxy, [], segmenter, Lifter())


FIRST, STEP, LAST = 192, 8, 416
"""Of the real recording: every eighth frame around the queries', under new numbers."""


def renumbered(frame: int) -> int:
    assert (frame - FIRST) % STEP == 0
    return (frame - FIRST) // STEP


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "kitchen"
    folder.mkdir()
    real = real_recording()
    (folder / "camera-intrinsics.txt").symlink_to(real / "camera-intrinsics.txt")
    for frame in range(FIRST, LAST + 1, STEP):
        for ending in ("color.jpg", "depth.png", "pose.txt"):
            new = folder / f"frame-{renumbered(frame):06d}.{ending}"
            new.symlink_to(real / f"frame-{frame:06d}.{ending}")
    return folder


@needs_real
def test_every_query_about_a_real_kitchen_finds_something_of_its_size(kitchen: Path, capsys) -> None:
    queries = json.loads((real_recording() / "queries.json").read_text(encoding="utf-8"))
    sizes = {}
    for query in queries:
        answer = answer_of(asked(kitchen, renumbered(query["frame"]), query["xyxy"]), capsys)
        sizes[query["query"]] = sorted(answer["box_3d"]["size"])
    mugs = [size for query, size in sizes.items() if "mug" in query]
    assert len(mugs) == 2
    assert all(0.05 <= side <= 0.20 for size in mugs for side in size), sizes
    assert all(size[0] >= 0.02 and size[-1] <= 0.6 for size in sizes.values()), sizes


@needs_real
def test_a_mug_asked_for_in_two_pictures_is_in_one_place(kitchen: Path, capsys) -> None:
    """Both 2D boxes are drawn by hand. The data set's own error is 2 to 4 cm."""
    a = answer_of(asked(kitchen, renumbered(240), (209, 316, 265, 371)), capsys)
    b = answer_of(asked(kitchen, renumbered(200), (340, 397, 400, 466)), capsys)
    assert apart_m(a, b) < 0.05


@needs_real
def test_a_real_recording_converted_to_a_realsense_file_gives_the_same_box(kitchen: Path, tmp_path, capsys) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("pyrealsense2")
        pytest.importorskip("rosbags")
    assert main(["convert", str(kitchen), str(tmp_path / "kitchen.db3")]) == 0
    query = (renumbered(240), (209, 316, 265, 371))
    folder, file = (answer_of(asked(path, *query), capsys) for path in (kitchen, tmp_path / "kitchen.db3"))
    assert apart_m(folder, file) < 0.03
    assert np.allclose(folder["box_3d"]["size"], file["box_3d"]["size"], atol=0.03)
