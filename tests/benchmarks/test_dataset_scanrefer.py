"""ScanNet's true boxes, and ScanRefer's accuracy: worked out by hand on small made scans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.grounding.datasets import Case, Dataset, Outcome, Scorer, open_dataset
from benchmarks.grounding.datasets.nyu_classes import LABELS_FILE, read_classes
from benchmarks.grounding.datasets.scannet import ScanNet
from benchmarks.grounding.datasets.scanrefer import Referred
from tests.benchmarks.dataset_files import CUBE, described, write_json, write_labels, write_scan

from scene_r1.box import Box3D
from scene_r1_engines.errors import BadInput, BadRecording

SCENE, OTHER = "scene0011_00", "scene0015_00"
OBJECTS = {
    0: CUBE,
    1: ((2.0, 0.0, 0.0), (3.0, 1.0, 1.0)),
    2: ((0.0, 2.0, 0.0), (1.0, 3.0, 2.0)),
    3: ((2.0, 2.0, 0.0), (2.5, 2.5, 0.5)),
    4: ((3.0, 3.0, 0.0), (3.5, 3.5, 0.5)),
    5: ((5.0, 5.0, 0.0), (5.5, 5.5, 0.5)),
}
LABELS = {"chair": "chair", "office chair": "chair", "mini fridge": "refrigerator", "lamp": "lamp", "cup": "otherprop"}
ROWS = [
    described(SCENE, 0, "chair", 0),
    described(SCENE, 0, "chair", 1),
    described(OTHER, 9, "table"),
    described(SCENE, 1, "office_chair"),
    described(SCENE, 2, "mini_fridge"),
    described(SCENE, 3, "lamp"),
    described(SCENE, 4, "cup"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One scan on this disk, one only described; object 5 was described by nobody."""
    write_json(tmp_path / "ScanRefer_filtered_val.json", ROWS)
    write_labels(tmp_path / LABELS_FILE, LABELS)
    write_scan(tmp_path, SCENE, OBJECTS)
    return tmp_path


def cases(dataset: Dataset) -> dict[str, Case]:
    return {case.id: case for case in dataset.cases()}


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Box3D:
    return Box3D.from_corners(low, high)


def test_true_boxes_are_of_the_aligned_frame(data: Path) -> None:
    boxes = ScanNet(data).boxes(SCENE)
    assert boxes.keys() == OBJECTS.keys()
    for target, (low, high) in OBJECTS.items():
        assert np.array_equal(boxes[target].low, low)
        assert np.array_equal(boxes[target].high, high)


def test_a_scan_without_an_alignment_keeps_its_own_frame(data: Path) -> None:
    (data / "scans" / SCENE / f"{SCENE}.txt").write_text("appVersionId = 7\n")
    # the quarter turn's inverse takes (x, y, z) to (y + 1, 2 - x, z - 0.5)
    assert np.array_equal(ScanNet(data).boxes(SCENE)[2].low, (3.0, 1.0, -0.5))
    assert np.array_equal(ScanNet(data).boxes(SCENE)[2].high, (4.0, 2.0, 1.5))


def test_objects_that_share_segments_both_keep_them(data: Path) -> None:
    path = data / "scans" / SCENE / f"{SCENE}.aggregation.json"
    content = json.loads(path.read_text())
    content["segGroups"].append({"objectId": 77, "segments": [100, 102], "label": "twice"})
    write_json(path, content)
    boxes = ScanNet(data).boxes(SCENE)
    assert np.array_equal(boxes[0].high, CUBE[1])
    # segments with even ids hold the corners with the low x of objects 0 and 1
    assert np.array_equal(boxes[77].high, (2.0, 1.0, 1.0))


def test_a_recording_is_the_sens_file_or_an_export(tmp_path: Path) -> None:
    scans = ScanNet(tmp_path)
    assert scans.recording(SCENE) is None
    folder = write_scan(tmp_path, SCENE, OBJECTS, recorded=False)
    assert scans.recording(SCENE) is None
    posed = tmp_path / "posed_images" / SCENE
    posed.mkdir(parents=True)
    (posed / "intrinsic.txt").touch()
    (posed / "00000.jpg").touch()
    assert scans.recording(SCENE) == posed
    for part in ("color", "depth", "pose"):
        (folder / "exported" / part).mkdir(parents=True)
    assert scans.recording(SCENE) == folder / "exported"
    (folder / f"{SCENE}.sens").touch()
    assert scans.recording(SCENE) == folder / f"{SCENE}.sens"


def test_cases_of_a_scene_come_together_and_say_what_is_not_on_this_disk(data: Path) -> None:
    dataset = open_dataset("scanrefer", data)
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset.scorer(), Scorer)
    found = list(dataset.cases())
    assert [case.scene for case in found] == [SCENE] * 6 + [OTHER]
    assert [case.id for case in found[:2]] == [f"{SCENE}_0_0", f"{SCENE}_0_1"]
    assert found[0].question == "the chair number 0, 0"
    assert found[0].recording == data / "scans" / SCENE / f"{SCENE}.sens"
    assert found[-1].recording is None
    with pytest.raises(BadInput, match=f"case {OTHER}_9_0: its scan is not on this disk"):
        open_dataset("scanrefer", data).scorer().add(found[-1], Outcome())


def test_an_object_is_unique_when_no_other_described_one_is_of_its_class(data: Path) -> None:
    dataset = open_dataset("scanrefer", data)
    # two chairs by NYU40; one refrigerator; lamp and cup are both "others"; the table's scene has no other object
    assert {name: case.tags[0] for name, case in cases(dataset).items()} == {
        f"{SCENE}_0_0": "multiple",
        f"{SCENE}_0_1": "multiple",
        f"{SCENE}_1_0": "multiple",
        f"{SCENE}_2_0": "unique",
        f"{SCENE}_3_0": "multiple",
        f"{SCENE}_4_0": "multiple",
        f"{OTHER}_9_0": "unique",
    }
    assert dataset.scorer().result()["unique_by"] == "nyu40"


def test_without_the_table_of_labels_names_decide_and_the_result_says_so(data: Path) -> None:
    (data / LABELS_FILE).unlink()
    dataset = open_dataset("scanrefer", data)
    assert {case.tags[0] for case in dataset.cases()} == {"unique"}
    assert dataset.scorer().result()["unique_by"] == "object_name"


def test_a_subset_makes_no_object_unique_and_the_result_says_how_much_it_is_of(data: Path) -> None:
    queries = data / "few.txt"
    queries.write_text(f"{SCENE} 0 1\n{SCENE} 2 0\n")
    dataset = open_dataset("scanrefer", data, queries)
    assert {name: case.tags[0] for name, case in cases(dataset).items()} == {
        f"{SCENE}_0_1": "multiple",
        f"{SCENE}_2_0": "unique",
    }
    assert dataset.scorer().result()["queries"] == "subset: 2 of 7 in ScanRefer_filtered_val.json"
    assert open_dataset("scanrefer", data).scorer().result()["queries"].startswith("all: 7 of 7")


def test_accuracy_counts_the_thresholds_themselves_and_every_failure(data: Path) -> None:
    dataset = open_dataset("scanrefer", data)
    scorer, found = dataset.scorer(), cases(dataset)
    quarter, half = box((0.0, 0.0, 0.0), (1.0, 1.0, 0.25)), box((0.0, 2.0, 0.0), (1.0, 3.0, 1.0))
    outcomes = {
        f"{SCENE}_0_0": Outcome((quarter,)),  # IoU 1/4 of the cube: right at 0.25, wrong at 0.5
        f"{SCENE}_0_1": Outcome((box((0.0, 0.0, 0.0), (1.0, 1.0, 0.249)),)),  # just below 1/4
        f"{SCENE}_1_0": Outcome((box((2.0, 0.0, 0.0), (3.0, 1.0, 1.0)),), failed="lost"),  # right, but it failed
        f"{SCENE}_2_0": Outcome((half,)),  # IoU 1/2 of the refrigerator: right at both
        f"{SCENE}_3_0": Outcome(),  # abstained
        f"{SCENE}_4_0": Outcome((quarter, box((3.0, 3.0, 0.0), (3.5, 3.5, 0.5)))),  # only the first box counts
    }
    for name, outcome in outcomes.items():
        scorer.add(found[name], outcome)
    result = scorer.result()
    assert result["rows"] == {
        "unique": {"n": 1, "acc_25": 1.0, "acc_50": 1.0},
        "multiple": {"n": 5, "acc_25": 1 / 5, "acc_50": 0.0},
        "overall": {"n": 6, "acc_25": 2 / 6, "acc_50": 1 / 6},
    }
    assert (result["n"], result["of"], result["complete"], result["failed"]) == (6, 7, False, 1)


def test_a_flat_object_is_no_error_and_is_never_found(tmp_path: Path) -> None:
    write_json(tmp_path / "ScanRefer_filtered_val.json", [described(SCENE, 0, "picture")])
    write_scan(tmp_path, SCENE, {0: ((0.0, 1.0, 0.0), (1.0, 1.0, 1.0))})
    dataset = open_dataset("scanrefer", tmp_path)
    scorer, case = dataset.scorer(), next(iter(dataset.cases()))
    assert isinstance(case.truth, Referred)
    scorer.add(case, Outcome((box((0.0, 0.99, 0.0), (1.0, 1.01, 1.0)),)))
    assert scorer.result()["rows"]["overall"] == {"n": 1, "acc_25": 0.0, "acc_50": 0.0}


def test_the_training_split_is_taken_where_it_is_the_only_one_or_named(data: Path) -> None:
    train = write_json(data / "ScanRefer_filtered_train.json", ROWS[:2])
    assert (open_dataset("scanrefer", data).total, open_dataset("scanrefer", train).total) == (7, 2)
    (data / "ScanRefer_filtered_val.json").unlink()
    assert open_dataset("scanrefer", data).total == 2


def without(key: str) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        del content[key]
        return content

    return change


def first_group(**values: Any) -> Callable[[Any], Any]:
    return lambda content: {"segGroups": [content["segGroups"][0] | values, *content["segGroups"][1:]]}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (f"{SCENE}.aggregation.json", without("segGroups"), "'segGroups' is missing"),
        (f"{SCENE}.aggregation.json", first_group(segments=[100, 4_000_000]), "entry 0: segment 4000000 has no vertex"),
        (f"{SCENE}.aggregation.json", first_group(segments=[]), "entry 0: the object has no segments"),
        (f"{SCENE}.aggregation.json", first_group(objectId="x"), "entry 0: 'objectId' must be"),
        (f"{SCENE}_vh_clean_2.0.010000.segs.json", without("segIndices"), "'segIndices' is missing"),
        (f"{SCENE}_vh_clean_2.0.010000.segs.json", lambda content: [1], "'segIndices' is missing"),
        (f"{SCENE}_vh_clean_2.0.010000.segs.json", lambda content: {"segIndices": [1, 2]}, "has 2 vertices, but"),
    ],
)
def test_broken_truth_of_a_scan_names_its_file(data: Path, name: str, change: Any, words: str) -> None:
    path = data / "scans" / SCENE / name
    write_json(path, change(json.loads(path.read_text())))
    with pytest.raises(BadRecording, match=rf"{path.name}.*{words}"):
        list(open_dataset("scanrefer", data).cases())


@pytest.mark.parametrize("name", [f"{SCENE}.txt", f"{SCENE}_vh_clean_2.ply", f"{SCENE}.aggregation.json"])
def test_a_scan_without_part_of_its_truth_names_the_missing_file(data: Path, name: str) -> None:
    (data / "scans" / SCENE / name).unlink()
    with pytest.raises(BadRecording, match=f"{name}: is missing"):
        list(open_dataset("scanrefer", data).cases())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"scene_id": "../../etc"}, "'scene_id' must be a name"),
        ({"object_id": "forty"}, "'object_id' must be a whole number"),
        ({"object_id": "40"}, f"the scan {SCENE} has no object 40"),
        ({"ann_id": "1"}, f"{SCENE}_0_1 is there twice"),
        ({"description": None}, "'description' must be text"),
        ({"object_name": 3}, "'object_name' must be text"),
    ],
)
def test_a_broken_row_names_file_and_entry(data: Path, row: dict[str, Any], words: str) -> None:
    write_json(data / "ScanRefer_filtered_val.json", [ROWS[1], ROWS[0] | row])
    with pytest.raises(BadRecording, match=rf"ScanRefer_filtered_val\.json: entry 1: .*{words}"):
        list(open_dataset("scanrefer", data).cases())


def test_a_broken_table_of_labels_names_column_or_line(tmp_path: Path) -> None:
    path = write_labels(tmp_path / LABELS_FILE, LABELS)
    assert read_classes(path) == {
        "chair": "chair",
        "office chair": "chair",
        "mini fridge": "refrigerator",
        "lamp": "others",
        "cup": "others",
    }
    path.write_text(path.read_text() + "5\tsofa\n")
    with pytest.raises(BadRecording, match=rf"{LABELS_FILE}: line 7 has 2 columns of 9"):
        read_classes(path)
    path.write_text("id,raw_category\n")
    with pytest.raises(BadRecording, match=rf"{LABELS_FILE}: its first line names no column 'raw_category'"):
        read_classes(path)
