"""SceneFun3D: which laser points an answer marks, and average precision worked out by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.grounding.datasets import Case, Outcome, open_dataset
from benchmarks.grounding.datasets.average_precision import (
    OVERLAPS,
    Segmented,
    average_precision,
    mean_average_precision,
)
from benchmarks.grounding.datasets.laser_scan import LaserScan, laser_from_recording
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.benchmarks.dataset_files import QUARTER_TURN, write_visit

from scene_r1 import pose
from scene_r1_engines.errors import BadInput, BadRecording

VISIT = "420683"
SCAN = np.stack([np.arange(40) * 0.1, np.zeros(40), np.ones(40)], axis=1)
"""40 points, 10 cm apart along x: far enough that each is marked alone."""
HUGE_NPY = b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}".ljust(
    70
)
KNOB, HANDLE, PLUG, GLASS = range(4), range(10, 18), range(20, 22), range(16, 20)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_visit(
        tmp_path,
        VISIT,
        SCAN,
        [
            ("a-knob", "rotate", KNOB),
            ("a-handle", "hook_pull", HANDLE),
            ("a-plug", "unplug", PLUG),
            ("g", "exclude", GLASS),
        ],
        [
            ("d-1", ["a-knob"], "turn it on"),
            ("d-2", ["a-handle", "a-plug"], "open and unplug"),
            ("d-3", ["a-plug"], "off"),
        ],
        T_arkit_laser=QUARTER_TURN,
    )
    return tmp_path


def at(*indices: int) -> NDArray[np.float32]:
    """An answer's points in ARKit's world: on these laser points, 1 cm beside them."""
    return pose.apply(QUARTER_TURN, SCAN[list(indices)] + (0.0, 0.01, 0.0)).astype(np.float32)


def found_cases(data: Path) -> list[Case]:
    return list(open_dataset("scenefun3d", data).cases())


def test_cases_have_their_elements_their_video_and_a_row_for_how_many(data: Path) -> None:
    first, second, _ = found_cases(data)
    assert (first.id, first.scene, first.question, first.task) == (f"{VISIT}_d-1", VISIT, "turn it on", "find")
    assert first.recording == data / VISIT / "42445021"
    assert (first.tags, second.tags) == (("one_element",), ("several_elements",))
    assert [list(one) for one in second.truth.elements] == [list(HANDLE), list(PLUG)]


def test_points_are_marked_through_the_video_s_transform_and_compared_without_excluded_ones(data: Path) -> None:
    dataset = open_dataset("scenefun3d", data)
    scorer = dataset.scorer()
    first, second, third = dataset.cases()
    scorer.add(first, Outcome(points=at(0, 1, 2, 3, 5, 6), confidence=0.9))  # knob: 4 of 6 marked
    # handle: 10-17, of which 16 and 17 were excluded but are the element's own; 18 and 19 do not count
    scorer.add(second, Outcome(points=at(10, 11, 12, 13, 18, 19), confidence=0.8))  # 4 / 8, plug 0 / 2
    scorer.add(third, Outcome(failed="out of memory", points=at(20, 21)))
    rows = scorer.result()["rows"]
    assert rows["one_element"]["mean_iou"] == pytest.approx((4 / 6 + 0) / 2)
    assert rows["several_elements"]["mean_iou"] == pytest.approx(4 / 10)
    assert (rows["overall"]["n"], rows["overall"]["instances"]) == (3, 4)
    # at 0.25 both predictions are right, 2 of 4 elements: recalls 2/4 (all), 1/4 (the surer one), 0; precision 1
    assert rows["overall"]["ap_25"] == pytest.approx((0.5 - 0.25) / 2 + (0.5 - 0) / 2 + 0.25 / 2)
    # at 0.5 the second, exactly 0.5, is wrong: precision 1/2 at recall 1/4, then 1/1 at recall 1/4
    assert rows["overall"]["ap_50"] == pytest.approx(0.5 * 0.0 + 1.0 * 0.125 + 1.0 * 0.125)


def test_a_point_marks_its_nearest_laser_point_within_reach_and_inside_the_crop(tmp_path: Path) -> None:
    kept = np.ones(40, bool)
    kept[3] = False
    scan = LaserScan(write_visit(tmp_path, VISIT, SCAN, [], [("d", ["a"], "x")], kept=kept))
    near = np.array([[0.019, 0.0, 1.0], [0.1, 0.021, 1.0], [0.2, 0.0, 1.0], [0.2, 0.005, 1.0], [0.3, 0.0, 1.0]])
    assert scan.nearest(near).tolist() == [0, 2]
    assert scan.nearest(np.array([[50.0, 0.0, 0.0]])).tolist() == []
    assert scan.nearest(np.empty((0, 3))).tolist() == []


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(1, 30))
def test_marking_is_what_comparing_with_every_laser_point_gives(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scan = LaserScan.__new__(LaserScan)
    scan.xyz = rng.uniform(0.0, 0.1, (300, 3)).astype(np.float32)
    scan.kept = rng.random(300) < 0.7
    points = rng.uniform(-0.02, 0.12, (count, 3))
    distances = np.linalg.norm(points[:, None] - scan.xyz[None], axis=2)
    distances[:, ~scan.kept] = np.inf
    expected = {int(row.argmin()) for row in distances if row.min() < 0.02}
    assert scan.nearest(points).tolist() == sorted(expected)


def test_a_recording_in_the_laser_s_frame_needs_no_transform(data: Path) -> None:
    video = data / VISIT / "42445021"
    assert np.array_equal(laser_from_recording(video), pose.inverse(QUARTER_TURN))
    for name, file in (("hires_wide", "42445021_1.0.jpg"), ("hires_depth", "42445021_1.0.png")):
        (video / name).mkdir()
        (video / name / file).touch()
    assert np.array_equal(
        laser_from_recording(video), pose.inverse(QUARTER_TURN)
    )  # no intrinsics: still low resolution
    (video / "hires_wide_intrinsics").mkdir()
    (video / "hires_wide_intrinsics" / "42445021_1.0.pincam").touch()
    assert np.array_equal(laser_from_recording(video), pose.inverse(QUARTER_TURN))  # hires with ARKit's poses
    (video / "hires_poses.traj").touch()
    assert np.array_equal(laser_from_recording(video), np.eye(4))


@pytest.mark.parametrize(
    ("queries", "overlap", "expected"),
    [
        ([], 0.5, None),
        ([Segmented((), 1.0)], 0.5, None),  # nothing is true anywhere
        ([Segmented((0.0,), None)], 0.5, 0.0),
        ([Segmented((0.8,), 1.0)], 0.5, 1.0),  # precision 1 at recall 1: 1/2, and the artificial point: 1/2
        ([Segmented((0.5,), 1.0)], 0.5, 0.0),  # the threshold itself does not count
        ([Segmented((0.8,), 1.0), Segmented((0.1,), 1.0)], 0.5, 0.5 * 0.25 + 1.0 * 0.25),
        ([Segmented((0.8,), 0.9), Segmented((0.1,), 0.1)], 0.5, 0.5 * 0.0 + 1.0 * 0.25 + 1.0 * 0.25),
        ([Segmented((0.8,), 0.1), Segmented((0.1,), 0.9)], 0.5, 0.5 * 0.25 + 0.0 * 0.25 + 1.0 * 0.0),
        ([Segmented((0.8,), 1.0), Segmented((0.9,), None)], 0.5, 0.5),  # missed: recall 1/2
        ([Segmented((0.3, 0.3), 1.0)], 0.25, 0.5),  # one prediction stands for one element only
        ([Segmented((), 1.0), Segmented((0.9,), 1.0)], 0.5, 0.5 * 0.5 + 1.0 * 0.5),  # a false alarm where nothing is
    ],
)
def test_average_precision(queries: list[Segmented], overlap: float, expected: float | None) -> None:
    assert average_precision(queries, overlap) == (None if expected is None else pytest.approx(expected))


def test_the_mean_is_over_nine_overlaps_from_a_half() -> None:
    assert OVERLAPS[0] == 0.5
    assert OVERLAPS[-1] == 0.9
    # above 0.50, 0.55, 0.60, 0.65, not above 0.70
    assert mean_average_precision([Segmented((0.7,), 1.0)]) == pytest.approx(4 / 9)
    assert mean_average_precision([]) is None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.1, 0.5, 0.9])), min_size=1, max_size=12))
def test_average_precision_is_a_share_and_falls_with_the_overlap(pairs: list[tuple[float, float]]) -> None:
    queries = [Segmented((iou,), confidence) for iou, confidence in pairs]
    found = [average_precision(queries, overlap) for overlap in (0.25, *OVERLAPS)]
    values = [one for one in found if one is not None]
    assert len(values) == 10
    assert all(0.0 <= one <= 1.0 + 1e-12 for one in values)
    assert all(a >= b - 1e-12 for a, b in pairwise(values))


def test_a_visit_without_a_video_is_a_case_that_cannot_be_scored(data: Path) -> None:
    (data / VISIT / "42445021").rename(data / "elsewhere")
    case = found_cases(data)[0]
    assert case.recording is None
    with pytest.raises(BadInput, match="no video of its visit is on this disk"):
        open_dataset("scenefun3d", data).scorer().add(case, Outcome())


def test_an_outcome_counts_once(data: Path) -> None:
    dataset = open_dataset("scenefun3d", data)
    scorer, case = dataset.scorer(), next(iter(dataset.cases()))
    scorer.add(case, Outcome())
    with pytest.raises(BadInput, match="was added before"):
        scorer.add(case, Outcome())
    assert scorer.result()["rows"]["overall"] == {
        "n": 1, "mean_iou": 0.0, "instances": 1, "ap": 0.0, "ap_50": 0.0, "ap_25": 0.0,
    }  # fmt: skip


def change(path: Path, key: str, **values: Any) -> None:
    content = json.loads(path.read_text())
    content[key][1] |= values
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("tail", "values", "words"),
    [
        ("descriptions", {"annot_id": ["a-door"]}, rf"entry 1: annot_id 'a-door' is not in {VISIT}_annotations.json"),
        ("descriptions", {"annot_id": []}, "entry 1: it names no annotation"),
        ("descriptions", {"desc_id": "d-1"}, f"entry 1: {VISIT}_d-1 is there twice"),
        ("descriptions", {"description": 3}, "entry 1: 'description' must be text"),
        ("annotations", {"indices": [1.5]}, "entry 1: 'indices' must be a list of whole numbers"),
        ("annotations", {"label": None}, "entry 1: 'label' must be text"),
    ],
)
def test_broken_annotations_name_file_and_entry(data: Path, tail: str, values: dict[str, Any], words: str) -> None:
    change(data / VISIT / f"{VISIT}_{tail}.json", tail, **values)
    with pytest.raises(BadRecording, match=rf"{VISIT}_{tail}\.json: {words}"):
        found_cases(data)


def test_an_index_outside_the_scan_names_the_annotations(data: Path) -> None:
    change(data / VISIT / f"{VISIT}_annotations.json", "annotations", indices=[40])
    dataset = open_dataset("scenefun3d", data)
    second = list(dataset.cases())[1]
    with pytest.raises(BadRecording, match=r"annotations\.json: has index 40, but the laser scan has 40 points"):
        dataset.scorer().add(second, Outcome())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        (b"", r"is no \.npy array"),
        (b"PK\x03\x04", r"is no \.npy array"),
        (HUGE_NPY, r"is no \.npy array"),
        (np.ones(39), "must hold 40 numbers"),
        (np.full(40, "a"), "must hold 40 numbers"),
        (np.array([{}] * 40), r"is no \.npy array"),
    ],
)
def test_a_broken_crop_mask_is_refused_by_name(data: Path, content: Any, words: str) -> None:
    path = data / VISIT / f"{VISIT}_crop_mask.npy"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(BadRecording, match=rf"crop_mask\.npy: .*{words}"):
        LaserScan(data / VISIT)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_transform_is_rigid_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    folder = write_visit(tmp_path_factory.mktemp("visit"), VISIT, SCAN, [], [("d", ["a"], "x")])
    path = folder / "42445021" / "42445021_transform.npy"
    content = bytearray(path.read_bytes())
    content[place] = byte
    path.write_bytes(content)
    try:
        T = laser_from_recording(folder / "42445021")
    except BadRecording:
        return
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
