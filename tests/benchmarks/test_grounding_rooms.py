"""The harness on rooms: what the lift alone loses, what guessing reaches, and what is written down."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from benchmarks.grounding import __main__ as harness
from benchmarks.grounding.run import Bench
from filelock import FileLock

from scene_r1_engines.errors import EngineFailed

pytest.importorskip("embreex", reason="rooms are rendered")
ROOMS = ("--rooms", "3", "--seed", "5", "--questions", "12", "--frames", "40")


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with three rooms in it, rendered once for all tests and all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "grounding_rooms"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            judge = ["--oracle", "window,box,mask", "--pictures", "0"]
            assert harness.main([*ROOMS, *judge, "--cache", os.fspath(folder), "--out", f"{folder}.out"]) == 0
    return folder


def judged(rooms: Path, out: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert harness.main([*ROOMS, "--cache", os.fspath(rooms), "--out", os.fspath(out), *arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])["results"]


def test_with_every_stage_told_only_the_lifts_own_loss_is_left(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = judged(rooms, tmp_path, capsys, "--oracle", "window,box,mask")
    assert results["rooms"] == {"judged": 3, "failed": {}}
    assert results["large"]["n"] >= 8
    assert results["large"]["acc50"] >= 0.8
    assert results["found"]["box_iou50"] >= 0.9
    assert results["found"]["temporal_iou"] > 0.9
    assert results["abstention_recall"] == 1.0
    assert list(results["oracle_rows"]) == ["window,box,mask"]


def test_guessing_reaches_chance_and_no_more(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = judged(rooms, tmp_path, capsys, "--rooms", "2", "--pictures", "0")
    assert results["reasoner"] == "guess"
    chance = results["find_chance"]
    assert results["found"]["acc25"] <= chance["acc25"] + 0.1
    assert results["found"]["acc50"] <= 0.1
    assert results["found"]["box_iou50"] <= 0.15
    assert results["found"]["temporal_iou"] <= chance["temporal_iou"] + 0.1
    assert abs(results["vqa_acc"] - results["vqa_chance"]) <= 0.35
    assert results["vqa_chance"] < results["vqa_majority"] <= 1.0
    # each rung is told one stage more; the last is told all
    rows = results["oracle_rows"]
    assert list(rows) == ["none", "window", "window,box", "window,box,mask"]
    assert rows["window"]["found"]["temporal_iou"] > 0.9
    assert rows["window,box"]["found"]["box_iou50"] >= 0.9
    assert rows["window,box,mask"]["found"]["acc50"] > rows["window"]["found"]["acc50"]


def test_every_promised_key_and_a_line_and_a_picture_for_each_question(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = judged(rooms, tmp_path, capsys, "--oracle", "window,box", "--no-ladder")
    for family in ("attribute", "relation"):
        assert {"n", "box_iou50", "acc25", "acc50", "temporal_iou"} <= results["families"][family].keys()
        assert results["families"][family]["n"] > 0
    find = sum(results["families"][family]["n"] for family in ("attribute", "relation", "absent"))
    assert results["families"]["absent"]["n"] == find / 4
    for key in ("abstention_f1", "vqa_acc", "vqa_majority", "p50_s", "p90_s", "peak_rss_bytes"):
        assert results[key] is not None
    (folder,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    assert len(lines) == results["n"] == 36
    assert len({line["id"] for line in lines}) == 36
    page = (folder / "pictures" / "index.html").read_text()
    assert page.count("<figure") == len(list((folder / "pictures").glob("*.jpg"))) > 10
    assert (folder / "pictures" / "sheet.png").stat().st_size > 10_000


def test_a_random_model_is_no_better_than_chance(
    rooms: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llama_cpp")
    config = tmp_path / "config.toml"
    config.write_text("[keyframes]\nk = 6\n[reasoner]\nimage_pixels = 12544\nencode_after_s = 0.0\n")
    model = ["--model", os.fspath(tiny_model), "--think", "0", "--threads", "1", "--no-ladder"]
    results = judged(rooms, tmp_path / "out", capsys, *model, "--config", os.fspath(config), "--rooms", "1")
    assert results["reasoner"] == "llama_cpp"
    assert results["rooms"] == {"judged": 1, "failed": {}}
    assert results["n"] == 12
    assert results["found"]["acc50"] <= 0.2
    assert results["found"]["box_iou50"] <= 0.2
    assert results["vqa_acc"] <= results["vqa_majority"]


def test_nano_speaks_in_its_format_and_finds_things_far_better_than_chance(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llama_cpp")
    model = ["--model", "nano", "--threads", "1", "--no-ladder", "--pictures", "0"]
    results = judged(rooms, tmp_path, capsys, *model)
    assert results["rooms"] == {"judged": 3, "failed": {}}
    lines = [json.loads(line) for line in next(tmp_path.glob("*/questions.jsonl")).read_text().splitlines()]
    assert len(lines) == 36
    assert {line["status"] for line in lines} == {"ok", "not_found"}  # nothing was cut off or unreadable
    assert all(line["rationale"] for line in lines)
    chance, attribute = results["find_chance"], results["families"]["attribute"]
    assert attribute["n"] == 9
    assert attribute["acc25"] >= chance["acc25"] + 0.2
    assert attribute["box_iou50"] >= chance["box_iou50"] + 0.2
    assert results["found"]["temporal_iou"] > chance["temporal_iou"]
    assert results["abstention_f1"] > 0.4  # of always abstaining


def test_a_room_that_breaks_is_counted_and_ends_nothing(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = Bench.watching
    streamed = []

    def breaks_once(self, frames, watched):
        streamed.append(1)
        if len(streamed) == 2:
            raise EngineFailed("the model is gone")
        return watching(self, frames, watched)

    monkeypatch.setattr(Bench, "watching", breaks_once)
    results = judged(rooms, tmp_path, capsys, "--oracle", "window,box,mask")
    assert results["rooms"]["judged"] == 2
    assert list(results["rooms"]["failed"].values()) == ["EngineFailed: the model is gone"]
    assert results["n"] == 24


def test_rooms_that_somebody_made_are_judged_by_their_own_questions(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made,) = rooms.glob("rooms-*")
    arguments = ["--data", os.fspath(made), "--rooms", "1", "--oracle", "window,box,mask", "--out", os.fspath(tmp_path)]
    assert harness.main(arguments) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert results["n"] == 12


def test_questions_that_do_not_fit_their_rooms_are_refused_with_the_line(
    tmp_path: Path, rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made,) = rooms.glob("rooms-*")
    other = tmp_path / "rooms"
    other.mkdir()
    for room in made.glob("room-*"):
        (other / room.name).symlink_to(room)
    (other / "rooms.json").write_bytes((made / "rooms.json").read_bytes())
    lines = (made / "questions.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace('"scene": "room-', '"scene": "hall-')
    (other / "questions.jsonl").write_text("\n".join(lines) + "\n")
    assert harness.main(["--data", os.fspath(other), "--out", os.fspath(tmp_path / "out")]) == 2
    assert "line 3" in capsys.readouterr().err
