"""Rewards: what an answer is worth, and that no text can break them or be worth more than it says."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from benchmarks.grounding import scores
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.rooms.questions import question as rooms_question
from scene_r1_engines.errors import BadInput
from scene_r1_export.rewards import (
    AnswerKind,
    AnswerTruth,
    Rewards,
    Truth,
    WhenTruth,
    WhereTruth,
    answer_match,
    box_iou,
    format_reward,
    in_form,
    mean_relative_accuracy,
    reward,
    reward_answer,
    reward_when,
    reward_where,
    task_reward,
    temporal_iou,
    total_reward,
    truth_of,
)

WHEN = WhenTruth(((4.0, 9.0), (20.0, 22.0)), 0.0, 30.0)
NEVER = WhenTruth((), 0.0, 30.0)
WHERE = WhereTruth((10.0, 20.0, 50.0, 60.0), 112, 84)
NOWHERE = WhereTruth(None, 112, 84)
RED = AnswerTruth("the red mug")
TRUTHS: tuple[Truth, ...] = (WHEN, NEVER, WHERE, NOWHERE, RED, AnswerTruth("3", "number"), AnswerTruth("2.4", "metres"))


def said(answer: str, thought: str = "I see it.") -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def box(*xyxy: float) -> str:
    return said(f'{{"bbox_2d": [{", ".join(map(str, xyxy))}], "label": "mug"}}')


def test_a_perfect_answer_to_each_task_is_worth_two() -> None:
    assert reward(said("4s to 9s"), WHEN).total == 2.0
    assert reward(box(10, 20, 50, 60), WHERE).total == 2.0
    assert reward(said("red mug"), RED).total == 2.0
    assert reward(said("not found"), NEVER).total == reward(said("not found"), NOWHERE).total == 2.0


def test_the_true_window_that_fits_best_counts() -> None:
    assert reward_when(said("20s to 22s"), WHEN) == Rewards(1.0, 1.0)
    assert reward_when(said("5s to 10s"), WHEN).task == pytest.approx(4 / 6)
    assert reward_when(said("4s to 22s"), WHEN).task == pytest.approx(5 / 18)  # not the sum of both
    assert reward_when(said("12s to 15s"), WHEN) == Rewards(1.0, 0.0)


@pytest.mark.parametrize(
    "answer", ["5s to 3s", "5s to 5s", "25s to 40s", "5s", "1:05 to 1:10", "soon", "", "nan to 5s"]
)
def test_a_span_that_is_none_earns_nothing_and_has_no_form(answer: str) -> None:
    assert reward_when(said(answer), WHEN) == Rewards(0.0, 0.0)
    assert reward_when(said(answer), NEVER) == Rewards(0.0, 0.0)


def test_abstaining_is_right_only_where_nothing_is_there() -> None:
    for there, absent in ((WHEN, NEVER), (WHERE, NOWHERE)):
        assert reward(said("not found"), there) == Rewards(1.0, 0.0)
        assert reward(said("not found"), absent) == Rewards(1.0, 1.0)
    assert reward_when(said("4s to 9s"), NEVER) == Rewards(1.0, 0.0)
    assert reward_where(box(10, 20, 50, 60), NOWHERE) == Rewards(1.0, 0.0)


def test_naming_more_boxes_never_pays() -> None:
    right, wrong = "[10, 20, 50, 60]", "[60, 20, 90, 60]"
    assert reward_where(said(f"[{right}, {wrong}]"), WHERE) == Rewards(1.0, 0.5)
    assert reward_where(said(right), WHERE).task == 1.0


def test_a_box_outside_of_its_picture_earns_nothing() -> None:
    assert reward_where(box(10, 20, 500, 60), WHERE) == Rewards(0.0, 0.0)
    assert reward_where(box(50, 60, 10, 20), WHERE) == Rewards(0.0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>4s to 9s</answer>",
        "<think>a</think>4s to 9s",
        "well <think>a</think><answer>4s to 9s</answer>",
        "<think>a</think><answer>4s to 9s</answer> good?",
        "<think>a</think> so <answer>4s to 9s</answer>",
        "<think>a</think><answer>4s to 9s</answer><answer>4s to 9s</answer>",
        "<think><think>a</think></think><answer>4s to 9s</answer>",
        "<THINK>a</THINK><ANSWER>4s to 9s</ANSWER>",
    ],
)
def test_an_answer_out_of_form_earns_its_task_alone(text: str) -> None:
    assert reward_when(text, WHEN).format == 0.0


def test_space_around_and_between_is_in_form() -> None:
    assert in_form("\n<think>a\nb</think>\n<answer>\nred\n</answer> ")
    assert in_form("<think></think><answer>red</answer>")  # thinking may be switched off
    assert not in_form("<think>a</think><answer> </answer>")


@pytest.mark.parametrize(
    ("answer", "truth", "kind", "worth"),
    [
        ("The red mug.", "red mug", "word", 1.0),
        ("It is the red mug", "red mug", "word", 0.0),
        ("Yes!", "yes", "word", 1.0),
        ("3", "3", "number", 1.0),
        ("Three.", "3", "number", 1.0),
        ("3.5", "3", "number", 0.0),
        ("about 3", "3", "number", 0.0),
        ("-3", "3", "number", 0.0),
        ("2.4 m", "2.4", "metres", 1.0),
        ("2.4 square metres", "2.4", "metres", 0.0),
        ("12 m²", "12.0", "square_metres", 1.0),
        ("2.8", "2.4", "metres", 0.7),
        ("nan", "2.4", "metres", 0.0),
        ("9" * 150, "2.4", "metres", 0.0),
    ],
)
def test_words_are_matched_by_their_kind(answer: str, truth: str, kind: AnswerKind, worth: float) -> None:
    assert reward_answer(said(answer), AnswerTruth(truth, kind)).task == pytest.approx(worth)


def test_the_kinds_of_answers_are_those_of_the_questions() -> None:
    assert get_args(AnswerKind) == get_args(rooms_question.AnswerKind)


NUMBERS = st.floats(0.0, 100.0)
SPANS = st.tuples(NUMBERS, st.floats(0.01, 50.0)).map(lambda one: (one[0], one[0] + one[1]))
BOXES = st.tuples(SPANS, SPANS).map(lambda one: (one[0][0], one[1][0], one[0][1], one[1][1]))


@given(SPANS, st.lists(SPANS, max_size=4), BOXES, BOXES, st.floats(0.1, 50.0), NUMBERS)
def test_the_rewards_are_the_measures_of_the_benchmark(
    span: Any, spans: Any, a: Any, b: Any, true: float, guess: float
) -> None:
    assert temporal_iou(span, spans) == scores.temporal_iou(span, spans)
    assert box_iou(a, b) == box_iou(b, a) == scores.box_iou(a, b)
    assert 0.0 <= box_iou(a, b) <= 1.0 + 1e-9
    assert mean_relative_accuracy(guess, true) == scores.mean_relative_accuracy(guess, true)


PIECES = st.sampled_from(
    (
        *("<think>", "</think>", "<answer>", "</answer>", "4s", " to ", "9s", "not found", "red mug", "null", "```"),
        *(
            "[",
            "]",
            "{",
            "}",
            '"bbox_2d"',
            ":",
            ",",
            "10",
            "NaN",
            "1e999",
            "-",
            "\0",
            "\ud800",
            "９",
            "\\",
            '"',
            "9" * 400,
        ),
    )
)


@settings(max_examples=300)
@given(st.lists(PIECES | st.text(max_size=5), max_size=24).map("".join))
def test_no_text_raises_or_leaves_the_bounds(text: str) -> None:
    for truth in TRUTHS:
        for each in (reward(text, truth), reward(said(text), truth)):
            assert each.format in (0.0, 1.0)
            assert 0.0 <= each.task <= 1.0
            assert each.total <= 2.0


@pytest.mark.parametrize("times", [60_000, 3_000_000])
@pytest.mark.parametrize(
    "unit",
    [
        "<think>",
        "<answer>",
        "</think></answer>",
        "<",
        "9",
        "9 ",
        "1s to ",
        "[",
        "[]",
        '{"bbox_2d":[',
        "NaN,",
        "not found ",
    ],
)
def test_a_huge_text_of_one_thing_earns_nothing(unit: str, times: int) -> None:
    text = unit * (times // len(unit))
    for truth in (WHEN, WHERE, RED):
        for each in (reward(text, truth), reward(said(text), truth)):
            assert each.task == 0.0
            assert each.format == 0.0 or len(text) < 1 << 16  # a long answer in words may be in form


@pytest.mark.parametrize(
    "make",
    [
        lambda: WhenTruth(((5.0, 3.0),), 0.0, 30.0),
        lambda: WhenTruth(((0.0, float("nan")),), 0.0, 30.0),
        lambda: WhenTruth((), 30.0, 0.0),
        lambda: WhereTruth((0.0, 0.0, 200.0, 10.0), 112, 84),
        lambda: WhereTruth(None, 0, 84),
        lambda: AnswerTruth("the"),
        lambda: AnswerTruth("a few", "number"),
        lambda: AnswerTruth("0", "metres"),
        lambda: AnswerTruth("red", "colour"),  # type: ignore[arg-type]
    ],
)
def test_a_truth_that_cannot_be_is_refused(make: Any) -> None:
    with pytest.raises(BadInput):
        make()


COLUMNS: dict[str, list[Any]] = {
    "task": ["when", "where", "answer"],
    "windows_s": [[[4.0, 9.0]], None, None],
    "start_s": [0.0, None, None],
    "end_s": [30.0, None, None],
    "box": [None, [10, 20, 50, 60], None],
    "width": [None, 112, None],
    "height": [None, 84, None],
    "answer": [None, None, "red"],
    "answer_kind": [None, None, "word"],
    "scene": ["a", "b", "c"],
}
TEXTS = [said("4s to 9s"), box(10, 20, 30, 60), "<answer>red</answer>"]


def test_a_batch_takes_plain_and_conversational_completions_alike() -> None:
    parts = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in TEXTS]
    talks = [[{"role": "assistant", "content": text}] for text in TEXTS]
    for completions in (TEXTS, talks, parts):
        asked: dict[str, Any] = {
            "prompts": [""] * 3,
            "completions": completions,
            "completion_ids": [[1]] * 3,
            **COLUMNS,
        }
        assert format_reward(**asked) == [1.0, 1.0, 0.0]
        assert task_reward(**asked) == [1.0, 0.5, 1.0]
        assert total_reward(**asked) == [2.0, 1.5, 1.0]


def test_a_completion_that_is_no_text_earns_nothing() -> None:
    odd: list[Any] = [None, [{"role": "user", "content": TEXTS[1]}], [7]]
    assert total_reward([""] * 3, odd, **COLUMNS) == [0.0, 0.0, 0.0]


def test_a_fault_of_the_data_is_told_and_not_rewarded() -> None:
    with pytest.raises(BadInput, match="row 1 of the batch: a row of task where needs the column width"):
        total_reward([""] * 3, TEXTS, **{**COLUMNS, "width": [None] * 3})
    with pytest.raises(BadInput, match="2 values for 3 completions"):
        total_reward([""] * 3, TEXTS, **{**COLUMNS, "task": ["when", "when"]})
    with pytest.raises(BadInput, match="task must be one of when, where, answer"):
        truth_of({"task": "who"})
    with pytest.raises(BadInput, match="cannot be read"):
        truth_of({"task": "where", "box": [1, 2, 3], "width": 10, "height": 10})


def test_a_box_that_the_picture_does_not_show_is_said_by_null() -> None:
    row = {"task": "where", "box": None, "width": 112, "height": 84}
    assert truth_of(row) == NOWHERE
    with pytest.raises(BadInput, match="needs the column box"):
        truth_of({"task": "where", "width": 112, "height": 84})


def test_an_answer_of_many_letters_is_none() -> None:
    assert answer_match("red" + " " * 300, "red", "word") == 0.0
