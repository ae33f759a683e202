from __future__ import annotations

import pytest
from benchmarks.grounding.chance import find_chance, vqa_levels
from benchmarks.grounding.scored import Scored
from benchmarks.grounding.scores import box_iou, mean_relative_accuracy, temporal_iou, vqa_score
from benchmarks.grounding.summary import abstention, latency, summary
from benchmarks.grounding.told import ladder, oracles, said
from hypothesis import given
from hypothesis import strategies as st

from scene_r1.box import Box3D
from scene_r1.rooms.model.room import Box
from scene_r1.rooms.questions.question import Question
from scene_r1_engines.errors import BadInput


def question(**changes) -> Question:
    fields = {
        "id": "r/0",
        "scene": "r",
        "split": "test",
        "text": "where is the red mug?",
        "task": "find",
        "family": "attribute",
        "form": "color_shape",
        "rationale": "It is on the table.",
    }
    return Question(**{**fields, **changes})


def vqa(answer: str, kind: str = "word", choices: tuple[str, ...] = (), family: str = "color") -> Question:
    return question(task="vqa", family=family, answer=answer, answer_kind=kind, choices=choices)


def row(**changes) -> Scored:
    fields = {
        "id": "r/0",
        "scene": "r",
        "family": "attribute",
        "form": "color_shape",
        "text": "?",
        "status": "ok",
        "reason": "",
        "total_s": 1.0,
        "stages_ms": {},
    }
    return Scored(**{**fields, **changes})


def test_temporal_iou_is_that_with_the_window_that_fits_best():
    windows = ((0.0, 2.0), (10.0, 14.0))
    assert temporal_iou((11.0, 15.0), windows) == pytest.approx(3 / 5)
    assert temporal_iou((0.0, 2.0), windows) == 1.0
    assert temporal_iou((4.0, 6.0), windows) == 0.0
    assert temporal_iou(None, windows) == 0.0


boxes = st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 50)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(boxes, boxes)
def test_the_overlap_of_two_boxes_is_symmetric_and_bounded(a, b):
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    assert 0.0 <= box_iou(a, b) <= 1.0 + 1e-9
    assert box_iou(a, a) == pytest.approx(1.0)


def test_the_overlap_of_two_boxes_by_hand():
    assert box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert box_iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0


@pytest.mark.parametrize(
    ("said_m", "truth_m", "score"),
    [
        (2.0, 2.0, 1.0),
        (2.21, 2.0, 0.8),
        (1.0, 2.0, 0.1),
        (0.9, 2.0, 0.0),
        (1.02, 2.0, 0.1),
        (0.0, 2.0, 0.0),
        (float("nan"), 2.0, 0.0),
    ],
)
def test_mean_relative_accuracy_counts_the_thresholds_that_are_met(said_m, truth_m, score):
    # 2.21 of 2.0 is 10.5 % off: theta of 0.50 to 0.85 allow more than that, which are 8 of 10.
    assert mean_relative_accuracy(said_m, truth_m) == pytest.approx(score)


@pytest.mark.parametrize(
    ("said_words", "score"),
    [("red", 1.0), ("It is red.", 1.0), ("RED", 1.0), ("blue", 0.0), ("red or blue", 0.0), ("reddish", 0.0), ("", 0.0)],
)
def test_a_word_is_right_when_it_is_the_only_choice_that_was_named(said_words, score):
    assert vqa_score(vqa("red", choices=("red", "blue")), said_words) == score


def test_the_longer_of_two_choices_is_meant_where_one_holds_the_other():
    choices = ("the ball", "the beach ball")
    assert vqa_score(vqa("the beach ball", choices=choices), "The beach ball") == 1.0
    assert vqa_score(vqa("the ball", choices=choices), "the beach ball") == 0.0
    assert vqa_score(vqa("the ball", choices=choices), "ball") == 1.0


@pytest.mark.parametrize(("words", "score"), [("3", 1.0), ("three", 1.0), ("There are 3.", 1.0), ("2", 0.0), ("", 0.0)])
def test_a_count_is_right_or_wrong(words, score):
    assert vqa_score(vqa("3", "number", family="count"), words) == score


def test_metres_are_scored_by_how_far_off_they_are():
    asked = vqa("2.0", "metres", family="distance")
    assert vqa_score(asked, "about 2.0 m") == 1.0
    assert vqa_score(asked, "2,21") == pytest.approx(0.8)
    assert vqa_score(asked, "far") == 0.0


def test_abstention_is_scored_over_all_find_questions():
    there = {"temporal_iou": 0.5, "box_iou": 0.6, "iou_3d": 0.3}
    rows = [
        row(**there),
        row(status="not_found", **there),
        row(status="not_found", family="absent"),
        row(family="absent"),
    ]
    assert abstention(rows) == {"abstention_precision": 0.5, "abstention_recall": 0.5, "abstention_f1": 0.5}


def test_always_abstaining_scores_two_fifths_where_a_quarter_is_absent():
    there = {"status": "not_found", "temporal_iou": 0.0, "box_iou": 0.0, "iou_3d": 0.0}
    rows = [row(**there)] * 3 + [row(status="not_found", family="absent")]
    assert abstention(rows)["abstention_f1"] == pytest.approx(0.4)


def test_a_summary_has_a_row_for_each_family_and_a_macro_mean():
    rows = [
        row(temporal_iou=0.5, box_iou=0.6, iou_3d=0.3, large=True),
        row(temporal_iou=1.0, box_iou=0.4, iou_3d=0.6),
        row(family="relation", temporal_iou=0.0, box_iou=0.0, iou_3d=0.0, status="not_found"),
        row(family="absent", status="not_found"),
        row(family="count", vqa=1.0),
        row(family="count", vqa=0.0),
        row(family="distance", vqa=0.2),
    ]
    found = summary(rows)
    assert found["families"]["attribute"] == {
        "n": 2, "box_iou50": 0.5, "acc25": 1.0, "acc50": 0.5, "mean_iou": pytest.approx(0.45), "temporal_iou": 0.75
    }  # fmt: skip
    assert found["families"]["relation"]["acc25"] == 0.0
    assert found["families"]["absent"] == {"n": 1, "not_found": 1}
    assert found["large"]["n"] == 1
    assert found["vqa_acc"] == pytest.approx((0.5 + 0.2) / 2)
    assert found["held_out"] == dict.fromkeys(found["held_out"], None) | {"n": 0}


def test_percentiles_are_times_that_were_seen_and_say_when_too_few_stand_behind_them():
    few = latency([float(i) for i in range(1, 11)])
    assert (few["p50_s"], few["p90_s"], few["supported_percentiles"]) == (5.0, 9.0, [])
    assert latency([1.0] * 64)["supported_percentiles"] == [50, 90]


def test_majority_is_the_best_constant_answer_and_chance_a_random_one():
    choices = ("red", "blue", "green", "white")
    asked = [vqa(color, choices=choices) for color in ("red", "red", "blue", "green")]
    chance, majority = vqa_levels(asked)
    assert chance == {"color": 0.25}
    assert majority == {"color": 0.5}


def test_chance_of_a_number_is_another_questions_answer():
    asked = [vqa(number, "number", family="count") for number in ("1", "1", "2")]
    chance, majority = vqa_levels(asked)
    assert chance["count"] == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    assert majority["count"] == pytest.approx(2 / 3)


def test_chance_of_a_box_is_the_share_of_the_rooms_objects_that_would_do():
    cubes = [Box((i, 0.0, 0.0), (i + 0.5, 0.5, 0.5)) for i in range(4)]
    asked = question(target=1, windows_s=((0.0, 10.0),), boxes_2d={3: (10.0, 10.0, 20.0, 20.0)}, box_3d=cubes[1])
    boxes_3d = {"r": [Box3D.from_corners(cube.low, cube.high) for cube in cubes]}
    chance = find_chance([asked], {"r": 10.0}, {"r": (320, 240)}, boxes_3d, seed=0)
    assert chance["acc25"] == chance["acc50"] == 0.25
    # of a window over the whole recording a random span covers its own length, a third and a little more
    assert 0.3 < chance["temporal_iou"] < 0.45
    assert chance["box_iou50"] < 0.05


def test_oracles_are_named_and_each_rung_adds_one():
    assert said(oracles("box, window")) == "window,box"
    assert [said(one) for one in ladder(oracles("window"))] == ["window", "window,box", "window,box,mask"]
    with pytest.raises(BadInput, match=r"no oracle 'boxes'.*window, box, mask"):
        oracles("window,boxes")
