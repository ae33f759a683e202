"""The file of questions: what is written reads back to the last bit, and what cannot be is named with its line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.rooms import Box
from scene_r1.rooms.dataset import read_questions, write_questions
from scene_r1.rooms.dataset.fields import Fields, parse_json
from scene_r1.rooms.dataset.questions_file import question_line, question_of
from scene_r1.rooms.questions.question import Question
from scene_r1_engines.errors import BadRecording

FOUND = Question(
    "room-000003/0", "room-000003", "train", "Where is the mug?", "find", "attribute", "shape", "It is there.", 0,
    "red mug", ((0.5, 2.0), (4.0, 4.5)), {1: (3.0, 4.0, 9.5, 12.0)}, Box((0.0, 0.0, 0.0), (0.1, 0.1, 0.1)),
)  # fmt: skip
ABSENT = Question("b", "room-000003", "train", "Where is the cat?", "find", "absent", "shape", "There is none.")
COUNTED = Question(
    "c", "room-000003", "train", "How many?", "vqa", "count", "shape", "", answer="2", answer_kind="number"
)


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(lambda text: bool(text.strip()))


def triples() -> st.SearchStrategy[tuple[float, float, float]]:
    return st.tuples(*[st.floats(-9.0, 9.0)] * 3)


@given(
    texts(), texts(), st.integers(0, 99), st.lists(st.floats(0.0, 50.0), min_size=1, max_size=4),
    st.dictionaries(st.integers(0, 10**6), st.floats(0.0, 600.0), min_size=1, max_size=9), triples(), st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_question_reads_back_to_the_last_bit(
    id: str, text: str, target: int, starts: list[float], boxes: dict[int, float], low: tuple[float, float, float],
    held_out: bool,
) -> None:  # fmt: skip
    question = dataclasses.replace(
        FOUND,
        id=id,
        text=text,
        target=target,
        windows_s=tuple((start, start + 0.1) for start in starts),
        boxes_2d={frame: (v, v, v + 1.0, v + 2.0) for frame, v in boxes.items()},
        box_3d=Box(low, (low[0] + 0.1, low[1] + 0.1, low[2] + 0.1)),
        held_out=held_out,
    )
    line = question_line(question)
    assert "\n" not in line
    assert question_of(Fields(parse_json(line, Path("q")), Path("q"))) == question


def test_every_field_of_a_question_is_written(tmp_path: Path) -> None:
    assert set(json.loads(question_line(FOUND))) == {field.name for field in dataclasses.fields(Question)}
    path = tmp_path / "q.jsonl"
    write_questions(path, [FOUND, ABSENT, COUNTED])
    assert list(read_questions(path)) == [(1, FOUND), (2, ABSENT), (3, COUNTED)]
    write_questions(path, [])
    assert list(read_questions(path)) == []


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_questions_cut_short_anywhere_are_refused_by_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "q.jsonl"
    lines = [f"{question_line(question)}\n".encode() for question in (FOUND, ABSENT, COUNTED)]
    cut = data.draw(st.integers(1, sum(map(len, lines)) - 1))
    path.write_bytes(b"".join(lines)[:cut])
    ends = [sum(map(len, lines[: n + 1])) for n in range(3)]
    if cut in ends:
        assert len(list(read_questions(path))) == ends.index(cut) + 1
        return
    with pytest.raises(BadRecording, match=f"line {1 + sum(end < cut for end in ends)}: "):
        list(read_questions(path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "vqa"}, "family must be one of count"),
        ({"family": "color"}, "family must be one of attribute"),
        ({"split": "dev"}, "split must be one of"),
        ({"text": " "}, "text must be"),
        ({"text": 3}, "text must be"),
        ({"target": True}, "target must be"),
        ({"target": None}, "needs target"),
        ({"windows_s": []}, "needs windows_s"),
        ({"windows_s": [[2.0, 1.0]]}, "ends before it starts"),
        ({"windows_s": [[0.0, float("nan")]]}, "NaN is no number"),
        ({"windows_s": [[0.0, 10**400]]}, "windows_s"),
        ({"windows_s": [[0.0]]}, r"windows_s\[0\] must be 2 numbers"),
        ({"boxes_2d": {"1": [5, 5, 5, 9]}}, "is empty"),
        ({"boxes_2d": {"-1": [1, 1, 5, 9]}}, "is no frame"),
        ({"boxes_2d": {"1": [-1, 1, 5, 9]}}, "1 must be 4 numbers"),
        ({"boxes_2d": [1]}, "must be an object"),
        ({"box_3d": {"low": [0, 0, 0], "high": [1, 1, 0]}}, "low must be below high"),
        ({"box_3d": {"low": [0, 0, 0], "high": [1, 1, 1], "yaw": 0}}, "'yaw' is no key"),
        ({"answer_kind": "text"}, "answer_kind must be one of"),
        ({"choices": ["blue"], "answer": "red"}, "none of its choices"),
        ({"txt": "?"}, "'txt' is no key here: did you mean text"),
        ({"family": "absent"}, "has no target"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_is_refused_with_file_line_and_key(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = tmp_path / "q.jsonl"
    wrong = json.dumps({**json.loads(question_line(FOUND)), **changes})
    path.write_text(f"{question_line(ABSENT)}\n{wrong}\n")
    with pytest.raises(BadRecording, match=rf"q\.jsonl: line 2: .*{said}"):
        list(read_questions(path))


@pytest.mark.parametrize(
    "content", [b"\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b"3\n", b'{"id": 1, "id": 2}\n', b"{}\n"]
)
def test_a_line_that_is_no_question_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadRecording, match="line 1: "):
        list(read_questions(path))


def test_two_questions_with_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    write_questions(path, [FOUND, ABSENT, FOUND])
    with pytest.raises(BadRecording, match=r"line 3: .* line 1"):
        list(read_questions(path))
