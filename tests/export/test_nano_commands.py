"""`python -m scene_r1_export.nano`: every command from data to export, and one clear line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.checkpoint_parts import CONVERTER
from tests.export.nano_parts import put_room

from scene_r1.rooms.model.splits import room_seeds
from scene_r1_engines.vouch import vouch
from scene_r1_export.nano import run as run_module
from scene_r1_export.nano.__main__ import COMMANDS, main
from scene_r1_export.nano.commands import train as train_command
from scene_r1_export.nano.commands.data import BLOCK
from scene_r1_export.nano.commands.plot import kept, table
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.run import Run
from scene_r1_export.nano.train.evaluate import evaluate


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def put_rooms(run: Path) -> None:
    """The small room for every split, where `train --smoke` looks for its own."""
    for split in ("train", "val"):
        put_room(run / "data" / split, room_seeds(split, BLOCK, 1)[0])


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says which cannot be."""
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    line = said.err.splitlines()[-1]
    assert line.startswith("nano: ")
    assert "Traceback" not in said.err
    return line


def test_every_command_runs_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    put_room(run / "data" / "train")
    assert main(["data", str(run), "--smoke", "--rooms", "1", "--split", "val"]) == 0
    (val,) = (run / "data" / "val").iterdir()
    assert str(val) in capsys.readouterr().err
    before = val.stat().st_mtime_ns

    assert main(["train", str(run), "--smoke"]) == 0
    assert val.stat().st_mtime_ns == before  # what is there is not made again
    assert [line["step"] for line in lines(run / "log-language.jsonl")] == [2, 4]
    assert lines(run / "log-vision.jsonl")[-1]["step"] == 2

    assert main(["grpo", str(run), "--smoke"]) == 0
    assert [line["step"] for line in lines(run / "log-grpo.jsonl")] == [1, 2]

    capsys.readouterr()
    assert main(["eval", str(run), "--smoke", "--walks", "1", "--views", "1", "--no-think"]) == 0
    said = capsys.readouterr().out
    assert "language without thinking" in said
    assert "grpo without thinking" in said
    after = [(line["after"], line.get("think")) for line in lines(run / "log-evaluations.jsonl")]
    assert after == [("one", None), ("language", False), ("grpo", False), ("grpo - language", False)]

    assert main(["export", str(run), "--smoke", "--out", str(out), *CONVERTER]) == 0
    found = vouch(out, verify_hashes=True).manifest
    assert found.name in capsys.readouterr().out
    assert (found.name, found.text.quantization) == ("Scene-R1 nano", "Q8_0")
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "2 steps of GRPO" in card
    assert "| format |" in card

    assert main(["plot", str(run), "--smoke", "--out", str(tmp_path / "plots")]) == 0
    assert "| format |" in capsys.readouterr().out
    drawn = sorted((tmp_path / "plots").iterdir())
    assert [path.name for path in drawn] == ["nano-grpo.png", "nano-language.png", "nano-vision.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)

    again = tmp_path / "again"
    assert main(["adopt", str(again), "--smoke", "--model", str(out)]) == 0
    assert (again / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
    put_room(again / "data" / "train")
    assert main(["grpo", str(again), "--smoke"]) == 0
    assert main(["export", str(again), "--smoke", "--out", str(tmp_path / "after"), *CONVERTER]) == 0
    card = (tmp_path / "after" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "it went on with 0 steps of language" in card
    assert card.index("2 steps of GRPO") < card.index("it went on") < card.rindex("2 steps of GRPO")
    assert refused(["adopt", str(again), "--smoke"], capsys).endswith("name a folder for a new run")

    states = {name: (run / name).read_bytes() for name in ("vision.pt", "language.pt", "grpo.pt")}
    for command in ("train", "grpo"):  # all steps are made: nothing is left to do
        assert main([command, str(run), "--smoke"]) == 0
    assert {name: (run / name).read_bytes() for name in states} == states


def test_steps_that_were_made_again_are_drawn_once() -> None:
    lines = [{"step": step, "try": number} for number, steps in enumerate(((1, 2, 3, 4), (3, 4, 5))) for step in steps]
    assert kept(lines) == [{"step": step, "try": int(step > 2)} for step in range(1, 6)]


def test_the_table_has_what_any_evaluation_has() -> None:
    said = table([{"after": "one", "box IoU": [0.5, 0.4, 0.6]}, {"after": "grpo", "temporal IoU": [0.3, 0.2, 0.4]}])
    assert said.splitlines()[2:] == [
        "| box IoU | 0.500 (0.400–0.600) |  |",
        "| temporal IoU |  | 0.300 (0.200–0.400) |",
    ]


@pytest.mark.parametrize("command", ["train", "grpo", "eval"])
def test_without_data_one_is_told_to_make_it(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([command, str(tmp_path / "run")], capsys).endswith("holds no rooms: run `data` first")


def test_without_training_one_is_told_to_train_and_no_words_are_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    put_rooms(run)
    for command in (
        ["grpo"],
        ["eval"],
        ["export", "--out", str(out)],
        ["export", "--out", str(out), "--stage", "grpo"],
    ):
        line = refused([command[0], str(run), *command[1:], "--smoke"], capsys)
        assert line.endswith("run `train` first")
    assert not (run / "tokenizer.json").exists()  # words of no room would go into the training that follows
    assert not out.exists()


def test_a_run_of_another_size_is_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Run.begin(tmp_path / "small", smoke=True).sizes == TINY
    assert "--smoke sizes: name another folder" in refused(["train", str(tmp_path / "small")], capsys)
    Run.begin(tmp_path / "real", smoke=False)
    assert "the real sizes: name another folder" in refused(["train", str(tmp_path / "real"), "--smoke"], capsys)


@pytest.mark.parametrize("content", ["", "{", '"huge"', "3"])
def test_a_run_whose_sizes_cannot_be_read_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sizes.json").write_text(content, encoding="utf-8")
    assert "sizes.json: damaged" in refused(["train", str(tmp_path)], capsys)
    assert (tmp_path / "sizes.json").read_text(encoding="utf-8") == content


def test_a_run_in_the_place_of_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("notes", encoding="utf-8")
    assert "is not a folder" in refused(["train", str(tmp_path / "run")], capsys)


def test_damaged_words_and_weights_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_rooms(tmp_path)
    begun = Run.begin(tmp_path, smoke=True)
    begun.language(begins=True)
    (tmp_path / "language.pt").write_bytes(b"cut off")
    export = ["export", str(tmp_path), "--smoke", "--out", str(tmp_path / "out")]
    assert "language.pt: damaged" in refused(export, capsys)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    assert "tokenizer.json: damaged" in refused(export, capsys)
    assert not (tmp_path / "out").exists()


def test_walks_wait_behind_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fewer(model: Any, sizes: Any, language: Any, rooms: Any, walks: int, views: int) -> Any:
        assert (walks, views) == (0, 40)
        return evaluate(model, sizes, language, rooms, 0, 1)

    monkeypatch.setattr(run_module, "NANO", TINY)
    monkeypatch.setattr(train_command, "evaluate", fewer)
    put_rooms(tmp_path)
    arguments = ["train", str(tmp_path), "--vision", "1", "--one", "0", "--walks", "1"]
    line = refused(arguments, capsys)
    assert "the gate is closed: box IoU >= 0.5 of single pictures is 0." in line
    assert line.endswith("train longer with --one, or go on anyway with --past-gate")
    assert not (tmp_path / "language.pt").exists()
    assert main([*arguments, "--past-gate"]) == 0
    assert torch.load(tmp_path / "language.pt", weights_only=True)["step"] == 1


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
