"""`scene-r1 ask` and `chat` from a recording on disk to their last line, with a real model that knows nothing.

Its weights are random: what it says is nonsense, the form of it is not.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from pathlib import Path

import pytest
from tests.runtime.block_walk import record

from scene_r1.cli import main
from scene_r1.config import load_config

COUNT = 5
SMALL = ["--threads", "1", "--image-pixels", "12544", "--max-tokens", "96", "--think-seconds", "0.3"]
QUESTION = "where is the red block?"
EXIT = {"ok": 0, "not_found": 3, "truncated": 4, "timed_out": 4, "not_ready": 4}
KEYS = {
    *("status", "answer", "rationale", "window_s", "boxes_2d", "box_3d", "confidence", "engine", "timings_ms"),
    *("late_encodes", "reason", "degraded", "points", "views"),
}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ask") / "walk"
    record(path, COUNT)
    return path


def ask(walk: Path, model: Path, *more: str, isolation: str = "inline") -> list[str]:
    return ["ask", str(walk), QUESTION, "--model", str(model), "--isolation", isolation, *SMALL, *more]


def checked(text: str) -> dict:
    """The last line of what was said, as it must be whatever the model made up."""
    answer = json.loads(text.splitlines()[-1])
    assert set(answer) == KEYS
    assert (answer["status"] == "ok") == (answer["reason"] == "")
    assert 0.0 <= answer["confidence"] <= 1.0
    assert answer["engine"]["reasoner"] == "llama_cpp"
    assert answer["engine"]["model"]
    for box in answer["boxes_2d"]:
        x0, y0, x1, y1 = box["xyxy"]
        assert 0.0 <= x0 < x1 <= 320.0
        assert 0.0 <= y0 < y1 <= 240.0
        assert 0 <= box["frame"] < COUNT
    if answer["window_s"] is not None:
        assert answer["window_s"][0] < answer["window_s"][1]
    timings = answer["timings_ms"]
    assert all(math.isfinite(ms) and ms >= 0.0 for ms in timings.values())
    stages = sum(ms for name, ms in timings.items() if "." not in name and name != "total")
    assert 0.95 * timings["total"] - 2.0 <= stages <= 1.001 * timings["total"]
    return answer


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_question_about_a_recording_is_answered_with_every_picture_encoded_beforehand(
    walk, tiny_model, isolation: str, capfd
) -> None:
    code = main(ask(walk, tiny_model, "--json", isolation=isolation))
    answer = checked(capfd.readouterr().out)
    assert code == EXIT[answer["status"]]
    assert answer["late_encodes"] == 0
    assert answer["timings_ms"]["when.decode"] > 0.0


def test_words_are_answered_without_a_box(walk, tiny_model, capsys) -> None:
    code = main(ask(walk, tiny_model, "--json", "--task", "vqa", "--no-think"))
    answer = checked(capsys.readouterr().out)
    assert code == EXIT[answer["status"]]
    assert (answer["box_3d"], answer["window_s"], answer["boxes_2d"], answer["rationale"]) == (None, None, [], "")
    assert bool(answer["answer"]) == (answer["status"] == "ok")


def test_one_token_is_not_enough_and_that_is_what_is_said(walk, tiny_model, capsys) -> None:
    code = main(ask(walk, tiny_model, "--json", "--max-tokens", "1"))
    answer = checked(capsys.readouterr().out)
    assert (code, answer["status"], answer["box_3d"]) == (4, "truncated", None)
    assert "max_tokens" in answer["reason"]


def test_a_question_that_may_take_no_time_has_run_out_of_it(walk, tiny_model, capsys) -> None:
    code = main(ask(walk, tiny_model, "--json", "--timeout", "0.000001"))
    answer = checked(capsys.readouterr().out)
    assert (code, answer["status"], answer["box_3d"]) == (4, "timed_out", None)


def test_out_holds_the_answer_points_picture_and_settings(walk, tiny_model, tmp_path, capsys) -> None:
    out = tmp_path / "deep" / "out"
    main(ask(walk, tiny_model, "--json", "--out", str(out), "--keyframes", "4", "--think-tokens", "12"))
    answer = checked(capsys.readouterr().out)
    assert sorted(p.name for p in out.iterdir()) == ["answer.json", "config.toml", "object.ply", "picture.png"]
    assert json.loads((out / "answer.json").read_text(encoding="utf-8")) == answer
    config = load_config(out / "config.toml")
    assert (config.keyframes.k, config.reasoner.image_pixels, config.limits.max_tokens) == (4, 12544, 96)
    assert (config.reasoner.isolation, config.limits.think_tokens, config.reasoner.threads) == ("inline", 12, 1)
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_an_answer_without_evidence_shows_the_keyframes(walk, tiny_model, tmp_path, capsys) -> None:
    assert main(ask(walk, tiny_model, "--out", str(tmp_path / "out"), "--task", "vqa")) in EXIT.values()
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_people_read_the_status_what_the_model_thought_and_where_the_time_went(walk, tiny_model, capsys) -> None:
    main(ask(walk, tiny_model))
    said = capsys.readouterr()
    first, *rest = said.out.splitlines()
    assert first.split()[0] in EXIT
    heads = [line.split()[0] for line in rest]
    assert {"confidence", "reasoner", "time"} <= set(heads)
    assert heads[-1] == "time"
    assert "total" in rest[-1]
    assert all(line.isprintable() for line in rest)
    assert f"watched {COUNT} frames" in said.err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (["QUESTION", "  "], "must not be empty"),
        (["QUESTION", "x" * 3000], "shorten it"),
        (["--model", "ABSENT"], "manifest.toml"),
        (["--keyframes", "0"], "k must be in 1..1024"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--think-tokens", "-1"], "think_tokens"),
        (["--think-seconds", "nan"], "think_s"),
        (["--timeout", "-1"], "timeout_s"),
        (["--image-pixels", "1"], "image_pixels"),
        (["--threads", "0"], "threads"),
        (["--segmenter", "sam9"], "there is no segmenter"),
        (["--reasoner", "openai"], "--url"),
        (["--reasoner", "openai", "--url", "http://h/v1"], "--model-name"),
        (["--reasoner", "openai", "--url", "http://h/v1", "--cache", "x"], "--cache does nothing"),
        (["--url", "http://h/v1"], "--url does nothing with the reasoner llama_cpp"),
        (["--config", "ABSENT"], "cannot be read"),
        (["--out", "TAKEN"], "is not a folder"),
        (["RECORDING", "ABSENT"], "ABSENT"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_is_one_line_and_leaves_nothing(
    walk, tiny_model, change, reason, tmp_path, capsys
) -> None:
    (tmp_path / "TAKEN").write_text("", encoding="utf-8")
    change = [str(tmp_path / word) if word in ("ABSENT", "TAKEN") else word for word in change]
    arguments = ask(walk, tiny_model, "--json", "--out", str(tmp_path / "out"))
    if change[0] == "QUESTION":
        arguments[2] = change[1]
    elif change[0] == "RECORDING":
        arguments[1] = change[1]
    elif "openai" in change:
        arguments = [*arguments[:3], *change]  # without what only a model on the device has
    else:
        arguments += change
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert reason in said.err
    assert len(said.err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["TAKEN"]


def chat(monkeypatch: pytest.MonkeyPatch, walk: Path, model: Path, lines: bytes, *more: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))
    return main(["chat", str(walk), "--model", str(model), "--isolation", "inline", *SMALL, *more])


def test_a_chat_answers_line_by_line_and_lives_through_bad_questions(walk, tiny_model, monkeypatch, capsys) -> None:
    long = b"x" * 200_000
    lines = b"where is the block?\n\n/vqa how many?\n/fly\n" + long + b"\nbad \xff byte\n/vqa\nwhere is it?"
    assert chat(monkeypatch, walk, tiny_model, lines, "--json") == 0
    said = capsys.readouterr()
    answers = [json.loads(line) for line in said.out.splitlines()]
    assert [answer.get("error") for answer in answers] == [None, None, *["BadQuestion"] * 4, None]
    for answer in (answers[0], answers[1], answers[6]):
        assert checked(json.dumps(answer))["late_encodes"] == 0
    assert answers[1]["boxes_2d"] == []
    assert said.err.count("watched ") == 1
    assert said.err.count("scene-r1 chat: ") == 4
    assert "? " not in said.err.replace("question", "")


def test_a_chat_gives_the_same_answer_to_the_same_question(walk, tiny_model, monkeypatch, capsys) -> None:
    assert chat(monkeypatch, walk, tiny_model, b"where is it?\n/vqa what is it?\nwhere is it?\n", "--json") == 0
    first, between, again = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert between["boxes_2d"] == []
    for answer in (first, again):
        del answer["timings_ms"]
    assert first == again


def test_a_chat_writes_a_folder_for_each_question(walk, tiny_model, tmp_path, monkeypatch, capsys) -> None:
    assert chat(monkeypatch, walk, tiny_model, b"a?\nb?\n", "--task", "vqa", "--out", str(tmp_path / "out")) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["1", "2"]
    assert all(len(list(folder.iterdir())) == 4 for folder in (tmp_path / "out").iterdir())
    assert capsys.readouterr().out.count("reasoner  llama_cpp") == 2


def test_a_cache_spares_the_second_run_the_pictures(walk, tiny_model, tmp_path, capsys) -> None:
    arguments = ask(walk, tiny_model, "--json", "--cache", str(tmp_path / "cache"))
    main(arguments)
    first = checked(capsys.readouterr().out)
    assert any(os.scandir(tmp_path / "cache"))
    main(arguments)
    second = checked(capsys.readouterr().out)
    for answer in (first, second):
        del answer["timings_ms"]
    assert first == second
