"""VSI-Bench: prompts and answers as published, mean relative accuracy by hand, and its file in both forms."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.grounding.datasets import Case, Outcome, open_dataset
from benchmarks.grounding.datasets.vsi_bench import CHOICE, NUMBER, Answered, mean_relative_accuracy, score
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1_engines.errors import BadRecording, MissingExtra

SCENE, VIDEO = "scene0568_00", "41069025"
PARQUET, LINES = "test-00000-of-00001.parquet", "test.jsonl"
OPTIONS = ["A. left", "B. right", "C. back"]


def row(number: int, kind: str, answer: str, dataset: str = "scannet", scene: str = SCENE) -> dict[str, Any]:
    return {
        "id": number,
        "dataset": dataset,
        "scene_name": scene,
        "question_type": kind,
        "question": f"question {number}?",
        "ground_truth": answer,
        "options": OPTIONS if kind in CHOICE else None,
    }


ROWS = [
    row(0, "object_counting", "4"),
    row(1, "object_rel_direction_easy", "A", "arkitscenes", VIDEO),
    row(2, "object_rel_direction_hard", "B"),
    row(3, "object_rel_direction_hard", "C"),
    row(4, "room_size_estimation", "20.0", "scannetpp", "09c1414f1b"),
    row(5, "object_counting", "2"),
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]], **columns: Any) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows, **columns), path)
    return path


@pytest.fixture(params=[PARQUET, LINES])
def data(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write = write_parquet if request.param == PARQUET else write_lines
    write(tmp_path / request.param, ROWS)
    (tmp_path / "scans" / SCENE).mkdir(parents=True)
    (tmp_path / "scans" / SCENE / f"{SCENE}.sens").touch()
    (tmp_path / "ARKitScenes" / "raw" / "Validation" / VIDEO).mkdir(parents=True)
    return tmp_path


def test_both_forms_of_the_file_give_the_same_cases(data: Path) -> None:
    found = list(open_dataset("vsi-bench", data).cases())
    assert [case.id for case in found] == ["0", "2", "3", "5", "1", "4"]
    assert {case.task for case in found} == {"vqa"}
    by_id = {case.id: case for case in found}
    assert by_id["0"].recording == data / "scans" / SCENE / f"{SCENE}.sens"
    assert by_id["1"].recording == data / "ARKitScenes" / "raw" / "Validation" / VIDEO
    assert by_id["4"].recording is None
    assert by_id["2"].tags == ("object_rel_direction_hard",)


def test_prompts_are_the_published_ones(data: Path) -> None:
    by_id = {case.id: case.question for case in open_dataset("vsi-bench", data).cases()}
    assert by_id["0"].splitlines() == [
        "These are frames of a video.",
        "question 0?",
        "Please answer the question using a single word or phrase.",
    ]
    assert by_id["2"].splitlines() == [
        "These are frames of a video.",
        "question 2?",
        "Options:",
        *OPTIONS,
        "Answer with the option's letter from the given choices directly.",
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("A", 1), ("a", 1), ("A.", 1), ("A. the chair", 1), ("A...", 1), ("B", 0), ("", 0), (" A", 0),
     ("The answer is A", 0), ("A,", 0), ("AB", 0), ("(A)", 0)],
)  # fmt: skip
def test_a_choice_is_read_as_the_published_evaluation_reads_it(said: str, expected: float) -> None:
    assert score(Answered("route_planning", "A"), said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("4", 1), ("4.", 1), ("4.0 metres", 1), ("+4", 1), ("4e0", 1), ("two", 0), ("4m", 0), ("about 4", 0), ("", 0),
     ("nan", 0), ("inf", 0), ("-inf", 0), ("-4", 0)],
)  # fmt: skip
def test_a_number_is_read_as_the_published_evaluation_reads_it(said: str, expected: float) -> None:
    assert score(Answered("object_counting", "4"), said) == expected


@pytest.mark.parametrize(
    ("said", "true", "expected"),
    [
        (4.0, 4.0, 1.0),
        (6.0, 4.0, 0.1),  # off by 0.5: right at 0.50 only, where it equals 1 - 0.50
        (2.0, 4.0, 0.1),
        (6.01, 4.0, 0.0),
        (5.0, 4.0, 0.6),  # off by 0.25: at 0.50, 0.55 … 0.75
        (5.01, 4.0, 0.5),
        (4.5, 4.0, 0.8),  # off by 0.125: at 0.50 … 0.85
        (4.1, 4.0, 1.0),  # off by 0.025
        (0.0, 4.0, 0.0),
        (math.nan, 4.0, 0.0),
        (1e308, 1e-300, 0.0),
    ],
)
def test_mean_relative_accuracy(said: float, true: float, expected: float) -> None:
    assert mean_relative_accuracy(said, true) == pytest.approx(expected)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.floats(0.01, 100), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_nearer_number_never_scores_less(true: float, a: float, b: float) -> None:
    near, far = sorted((a, b))
    assert mean_relative_accuracy(true * (1 + near), true) >= mean_relative_accuracy(true * (1 + far), true)


def test_the_average_is_over_the_paper_s_tasks_with_directions_averaged_first(data: Path) -> None:
    dataset = open_dataset("vsi-bench", data)
    scorer = dataset.scorer()
    said = {"0": "5", "1": "A", "2": "B", "3": "A", "4": "25", "5": "2"}
    for case in dataset.cases():
        scorer.add(case, Outcome(answer=said[case.id], failed="late" if case.id == "5" else ""))
    result = scorer.result()
    rows, tasks = result["rows"], result["tasks"]
    assert rows["object_counting"] == {"n": 2, "score": pytest.approx((0.6 + 0) / 2)}  # right, but it failed
    assert rows["object_rel_direction_easy"] == {"n": 1, "score": 1.0}
    assert rows["object_rel_direction_hard"] == {"n": 2, "score": 0.5}
    assert rows["object_rel_direction_medium"] == {"n": 0, "score": None}
    assert tasks["object_rel_direction"] == {"n": 3, "score": 0.75}  # of two kinds that have questions, not of three
    assert tasks["route_planning"] == {"n": 0, "score": None}
    assert len(tasks) == 8
    assert (result["average_of"], result["average"]) == (3, pytest.approx((0.3 + 0.75 + 0.6) / 3))
    assert rows["overall"] == {"n": 6, "score": pytest.approx((0.6 + 0 + 1 + 1 + 0 + 0.6) / 6)}
    assert (result["complete"], result["failed"]) == (True, 1)


def test_a_subset_is_named_by_ids(data: Path) -> None:
    (data / "few.txt").write_text("5\n1\n")
    dataset = open_dataset("vsi-bench", data, data / "few.txt")
    assert [case.id for case in dataset.cases()] == ["5", "1"]
    assert dataset.scorer().result()["queries"].startswith("subset: 2 of 6 in test")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"question_type": "colour"}, "question_type 'colour' is none of object_rel_direction_easy"),
        ({"ground_truth": "five"}, "ground_truth of object_counting must be a number above 0, got 'five'"),
        ({"ground_truth": "0"}, "must be a number above 0"),
        ({"ground_truth": "nan"}, "must be a number above 0"),
        ({"ground_truth": "inf"}, "must be a number above 0"),
        (
            {"question_type": "route_planning", "options": OPTIONS, "ground_truth": "left"},
            "must be a letter, got 'left'",
        ),
        ({"question_type": "route_planning", "ground_truth": "A"}, "'options' must be a list, got None"),
        ({"question": ""}, "'question' must be text"),
        ({"scene_name": "a/b"}, "'scene_name' must be a name"),
        ({"id": 1}, "1 is there twice"),
    ],
)
def test_a_broken_row_names_file_and_line(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    write_lines(tmp_path / LINES, [ROWS[1], ROWS[0] | values])
    with pytest.raises(BadRecording, match=rf"{LINES}: line 2: .*{words}"):
        list(open_dataset("vsi-bench", tmp_path).cases())


def test_a_parquet_file_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / PARQUET, [{key: one[key] for key in one if key != "options"} for one in ROWS])
    with pytest.raises(BadRecording, match=rf"{PARQUET}: has no column 'options'"):
        open_dataset("vsi-bench", path)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_a_parquet_file_cut_off_anywhere_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write_parquet(tmp_path_factory.mktemp("vsi") / PARQUET, ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BadRecording, match=rf"{PARQUET}: cannot be read as Parquet"):
        open_dataset("vsi-bench", path)


def test_without_pyarrow_the_error_says_what_to_install_or_to_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / LINES, ROWS)
    assert open_dataset("vsi-bench", tmp_path).total == 6
    (tmp_path / PARQUET).write_bytes(b"PAR1")
    for name in [one for one in sys.modules if one.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"'datasets' .or put it there as test\.jsonl") as caught:
        open_dataset("vsi-bench", tmp_path)
    assert caught.value.extra == "datasets"


def test_every_question_type_has_a_prompt_and_a_score(tmp_path: Path) -> None:
    kinds = (*CHOICE, *NUMBER)
    rows = [row(i, kind, "A" if kind in CHOICE else "3") for i, kind in enumerate(kinds)]
    dataset = open_dataset("vsi-bench", write_lines(tmp_path / LINES, rows))
    scorer = dataset.scorer()
    cases: list[Case] = list(dataset.cases())
    for case in cases:
        scorer.add(case, Outcome(answer=case.truth.answer))
    result = scorer.result()
    assert (result["average"], result["average_of"]) == (1.0, 8)
    assert np.all([case.question.startswith("These are frames of a video.\n") for case in cases])
