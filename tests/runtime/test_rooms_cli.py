"""`scene-r1-rooms`: rooms are made, kept and shown from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scene_r1.program import BAD_INPUT, FAULT, OK
from scene_r1.rooms.cli import main
from scene_r1.rooms.dataset import open_rooms
from scene_r1.rooms.model.splits import room_seeds

SMALL = ["--rooms", "1", "--seed", "2", "--size", "160x120", "--frames", "20", "--questions", "3", "--workers", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("embreex")
    out = tmp_path_factory.mktemp("cli") / "rooms"
    assert main(["make", str(out), *SMALL, "--split", "val", "--preview"]) == OK
    return out


def test_make_writes_rooms_of_the_split_and_the_seed_and_a_sheet(made: Path) -> None:
    rooms = open_rooms(made)
    assert [scene.seed for scene in rooms.scenes] == list(room_seeds("val", 2, 1))
    assert rooms.scenes[0].split == "val"
    assert (rooms.made.size, rooms.made.frames, rooms.made.questions) == ((160, 120), 20, 3)
    assert (made / "contact_sheet.jpg").exists()


def test_make_again_keeps_what_is_there_and_ends_with_json(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", str(made), *SMALL, "--split", "val", "--json"]) == OK
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["made"], result["kept"], result["failed"]) == ([], ["room-020008"], {})
    assert result["questions"] == len(open_rooms(made).scenes[0].questions)


def test_show_prints_objects_and_questions_with_answers(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "deep" / "sheet.jpg"
    assert main(["show", str(made), "--room", "room-020008", "--sheet", str(sheet)]) == OK
    out = capsys.readouterr().out
    (scene,) = open_rooms(made).scenes
    for thing in scene.graph.objects:
        assert thing.name in out
    for question in scene.questions:
        assert question.text in out
        assert question.answer in out
    assert sheet.read_bytes().startswith(b"\xff\xd8\xff")
    assert main(["show", str(made), "--json"]) == OK
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["name"] for one in shown["rooms"]] == ["room-020008"]
    assert len(shown["rooms"][0]["questions"]) == len(scene.questions)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["make", "{out}", "--rooms", "0"], "--rooms must be 1 or more"),
        (["make", "{out}", "--rooms", "2000", "--split", "test"], "test has 1..1000 rooms"),
        (["make", "{out}", "--seed", "-1"], "a seed must be"),
        (["make", "{out}", "--size", "4x4"], "size must be"),
        (["make", "{out}", "--frames", "0"], "frames must be"),
        (["make", "{out}", "--questions", "-2"], "questions must be"),
        (["make", "{out}", "--workers", "0"], "workers must be"),
        (["show", "{out}"], "no folder of rooms"),
    ],
)
def test_what_cannot_be_asked_for_is_bad_input_and_makes_nothing(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([word.format(out=out) for word in arguments]) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not out.exists() or not any(out.iterdir())


def test_other_settings_in_the_same_folder_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = [*SMALL, "--split", "val", "--frames", "21"]
    assert main(["make", str(made), *others]) == BAD_INPUT
    assert "frames 20, not 21" in capsys.readouterr().err


def test_a_size_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["make", str(tmp_path), "--size", "large"])
    assert left.value.code == BAD_INPUT


def test_a_room_that_fails_is_told_of_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "room-020008").write_text("in the way")
    assert main(["make", str(tmp_path), *SMALL, "--split", "val"]) == FAULT
    assert "room-020008 failed: " in capsys.readouterr().err


def test_an_unknown_room_is_bad_input(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(made), "--room", "room-1"]) == BAD_INPUT
    assert "room-020008" in capsys.readouterr().err
