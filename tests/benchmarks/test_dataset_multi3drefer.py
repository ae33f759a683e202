"""Multi3DRefer's F1, worked out by hand: none, one and several objects, right, wrong and too many boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.grounding.datasets import Case, Outcome, open_dataset
from benchmarks.grounding.datasets.multi3drefer import f1
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.benchmarks.dataset_files import CUBE, SECOND_CUBE, write_json, write_scan

from scene_r1.box import Box3D
from scene_r1_engines.errors import BadInput, BadRecording

SCENE = "scene0011_00"
FILE = "multi3drefer_val.json"
ONE, TWO = Box3D.from_corners(*CUBE), Box3D.from_corners(*SECOND_CUBE)
FAR = Box3D.from_corners((90.0, 0.0, 0.0), (91.0, 1.0, 1.0))


def slab(x: float, height: float) -> Box3D:
    """A box with an IoU of `height` with the cube at x."""
    return Box3D.from_corners((x, 0.0, 0.0), (x + 1.0, 1.0, height))


def row(ann: int, kind: str, *targets: int, scene: str = SCENE) -> dict[str, Any]:
    return {
        "scene_id": scene,
        "object_ids": list(targets),
        "object_name": "chair",
        "ann_id": ann,
        "eval_type": kind,
        "description": f"query {ann}",
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [row(0, "zt_w_d"), row(1, "zt_wo_d"), row(2, "st_w_d", 0), row(3, "st_wo_d", 1), row(4, "mt", 0, 1)]
    write_json(tmp_path / FILE, [*rows, row(0, "mt", 3, 4, scene="scene0099_00")])
    write_scan(tmp_path, SCENE, {0: CUBE, 1: SECOND_CUBE})
    return tmp_path


@pytest.mark.parametrize(
    ("predicted", "true", "at_25", "at_50"),
    [
        ((), (), 1.0, 1.0),  # nothing is meant, nothing is said
        ((FAR,), (), 0.0, 0.0),
        ((), (ONE,), 0.0, 0.0),
        ((ONE,), (ONE,), 1.0, 1.0),
        ((slab(0.0, 0.25),), (ONE,), 1.0, 0.0),  # the threshold itself counts
        ((slab(0.0, 0.5),), (ONE,), 1.0, 1.0),
        ((slab(0.0, 0.249),), (ONE,), 0.0, 0.0),
        ((ONE, ONE), (ONE,), 2 / 3, 2 / 3),  # two predictions for one thing: one is a false positive
        ((ONE,), (ONE, TWO), 2 / 3, 2 / 3),
        ((TWO, ONE), (ONE, TWO), 1.0, 1.0),  # in any order
        ((ONE, FAR), (ONE, TWO), 2 / 4, 2 / 4),
        ((slab(0.0, 0.25), TWO, FAR), (ONE, TWO), 4 / 5, 2 / 5),
    ],
)
def test_f1_of_one_query(predicted: tuple[Box3D, ...], true: tuple[Box3D, ...], at_25: float, at_50: float) -> None:
    assert f1(predicted, true, 0.25) == pytest.approx(at_25, abs=1e-12)
    assert f1(predicted, true, 0.5) == pytest.approx(at_50, abs=1e-12)


def test_the_assignment_maximises_the_sum_of_overlaps_and_not_the_number_of_hits() -> None:
    def rod(low: float, high: float) -> Box3D:
        return Box3D.from_corners((low, 0.0, 0.0), (high, 1.0, 1.0))

    # a-x 0.95 and b-y 0 add up to more than a-y 0.32 and b-x 0.30, which would be two hits
    x, y, a, b = rod(0.0, 10.0), rod(7.0, 10.0), rod(0.5, 10.0), rod(0.0, 3.0)
    assert f1((a, b), (x, y), 0.25) == pytest.approx(2 * 1 / 4)
    assert f1((a, b), (y, x), 0.25) == pytest.approx(2 * 1 / 4)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from((ONE, TWO, FAR)), max_size=4), st.lists(st.sampled_from((ONE, TWO)), max_size=4))
def test_f1_of_equal_boxes_is_that_of_two_bags(predicted: list[Box3D], true: list[Box3D]) -> None:
    common = sum(min(predicted.count(one), true.count(one)) for one in (ONE, TWO))
    expected = 2 * common / (len(predicted) + len(true)) if predicted or true else 1.0
    assert f1(predicted, true, 0.5) == pytest.approx(expected)


def test_rows_are_means_of_their_queries_and_overall_is_over_all(data: Path) -> None:
    dataset = open_dataset("multi3drefer", data)
    scorer = dataset.scorer()
    outcomes = [
        Outcome(),  # zt_w_d: 1
        Outcome((FAR,)),  # zt_wo_d: 0
        Outcome((slab(0.0, 0.25),)),  # st_w_d: 1, 0
        Outcome((TWO, FAR)),  # st_wo_d: 2/3
        Outcome((ONE,)),  # mt: 2/3
    ]
    found = list(dataset.cases())
    for case, outcome in zip(found, outcomes, strict=False):
        scorer.add(case, outcome)
    result = scorer.result()
    third = pytest.approx(2 / 3)
    assert result["rows"]["zt_w_d"] == {"n": 1, "f1_25": 1.0, "f1_50": 1.0}
    assert result["rows"]["zt_wo_d"] == {"n": 1, "f1_25": 0.0, "f1_50": 0.0}
    assert result["rows"]["st_w_d"] == {"n": 1, "f1_25": 1.0, "f1_50": 0.0}
    assert result["rows"]["st_wo_d"] == {"n": 1, "f1_25": third, "f1_50": third}
    assert result["rows"]["mt"] == {"n": 1, "f1_25": third, "f1_50": third}
    assert result["rows"]["overall"] == {
        "n": 5,
        "f1_25": pytest.approx((1 + 0 + 1 + 2 / 3 + 2 / 3) / 5),
        "f1_50": pytest.approx((1 + 0 + 0 + 2 / 3 + 2 / 3) / 5),
    }
    assert (result["queries"], result["complete"]) == (f"all: 6 of 6 in {FILE}", False)
    assert [case.tags for case in found[:2]] == [("zt_w_d",), ("zt_wo_d",)]


def test_a_question_that_failed_is_no_abstention(data: Path) -> None:
    dataset = open_dataset("multi3drefer", data)
    scorer, nothing_meant = dataset.scorer(), next(iter(dataset.cases()))
    scorer.add(nothing_meant, Outcome(failed="the model broke"))
    assert scorer.result()["rows"]["zt_w_d"] == {"n": 1, "f1_25": 0.0, "f1_50": 0.0}


def test_a_scan_that_is_not_here_is_a_case_without_a_recording(data: Path) -> None:
    dataset = open_dataset("multi3drefer", data)
    last: Case = list(dataset.cases())[-1]
    assert (last.id, last.recording) == ("scene0099_00_0", None)
    with pytest.raises(BadInput, match="scene0099_00_0: its scan is not on this disk"):
        dataset.scorer().add(last, Outcome())


def test_a_subset_is_named_by_scene_and_description(data: Path) -> None:
    queries = data / "few.json"
    write_json(queries, [{"scene_id": SCENE, "ann_id": 4}, [SCENE, 0]])
    assert [case.id for case in open_dataset("multi3drefer", data, queries).cases()] == [f"{SCENE}_0", f"{SCENE}_4"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"eval_type": "zt"}, "eval_type must be one of zt_w_d, .*, got 'zt'"),
        ({"eval_type": "zt_w_d"}, "eval_type zt_w_d does not go with 1 object_ids"),
        ({"object_ids": []}, "eval_type st_w_d does not go with 0 object_ids"),
        ({"object_ids": [7]}, f"the scan {SCENE} has no object 7"),
        ({"object_ids": None}, "'object_ids' must be a list"),
        ({"ann_id": 0}, f"{SCENE}_0 is there twice"),
        ({"description": ""}, "'description' must be text"),
    ],
)
def test_a_broken_row_names_file_and_entry(data: Path, values: dict[str, Any], words: str) -> None:
    write_json(data / FILE, [row(0, "zt_w_d"), row(1, "st_w_d", 0) | values])
    with pytest.raises(BadRecording, match=rf"{FILE}: entry 1: .*{words}"):
        list(open_dataset("multi3drefer", data).cases())
