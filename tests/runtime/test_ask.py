"""The asking path after the model has spoken: what becomes of its windows and 2D boxes in the world."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from tests.runtime.scripted_reasoner import ScriptedReasoner
from tests.runtime.three_blocks import BLOCKS, walk

from scene_r1.answer import Answer, Status
from scene_r1.ask import Scene, find, in_words
from scene_r1.box import iou
from scene_r1.lift import Lifter
from scene_r1.locate import locate
from scene_r1.memory import Keyframe, SceneMemory
from scene_r1_engines.depth_cut import DepthCut
from scene_r1_engines.errors import BadAnswer, BadInput, BadQuestion, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish
from scene_r1_engines.segmenter import open_segmenter

QUESTION = "where is the red block?"
NOTHING = (None,) * 4
"""What is seen in the views that are asked after the first four."""


@cache
def keyframes() -> tuple[Keyframe, ...]:
    memory = SceneMemory()
    return tuple(memory.put(frame) for frame in walk().frames)


def asked(reasoner: ScriptedReasoner, limits: Limits | None = None, task="find") -> Answer:
    """What comes of a question about all frames of the walk."""
    reasoner.watched = {keyframe.index: (keyframe.color, 0.0) for keyframe in keyframes()}
    with open_segmenter("depth_cut") as segmenter:
        scene = Scene(keyframes(), walk().frames[0].timestamp_ns, reasoner, segmenter, Lifter())
        return (find if task == "find" else in_words)(QUESTION, limits or Limits(), scene)


def pointing(*blocks: int | None) -> Callable[[int], object]:
    """What `where` says in the keyframes asked about, in their order: at a block, or at nothing."""
    turns = iter(blocks)

    def boxes(index: int):
        block = next(turns)
        return Finish.NOT_FOUND if block is None else (walk().boxes[index][block],)

    return boxes


def test_true_2d_boxes_become_the_box_of_the_thing() -> None:
    reasoner = ScriptedReasoner(pointing(0, None, 0))
    answer = asked(reasoner)
    assert answer.status is Status.OK
    assert answer.box_3d is not None
    assert iou(answer.box_3d, BLOCKS[0].box) > 0.7
    assert answer.box_3d.supporting_views >= 4
    assert (answer.answer, answer.reason, answer.window_s) == ("block", "", (0.0, 1000.0))
    assert answer.rationale.startswith("it is early\nit is red in ")
    assert [box.frame for box in answer.boxes_2d] == [2, 0]
    assert all(box.xyxy == walk().boxes[box.frame][0] for box in answer.boxes_2d)
    assert answer.evidence[0].frame in [2, 0]
    assert answer.engine == {"reasoner": "scripted", "segmenter": "depth_cut"}
    assert answer.degraded == ("segmenter",)
    assert answer.late_encodes == 2  # in the views that gave a box
    assert [keyframe for _, keyframe, _ in reasoner.asked] == [None, 2, 5, 0]
    assert {question for question, _, _ in reasoner.asked} == {QUESTION}


def test_what_json_says_has_every_key_and_no_nan() -> None:
    answer = json.loads(json.dumps(asked(ScriptedReasoner(pointing(0, None, 0, 0))).to_json(), allow_nan=False))
    assert set(answer) == {
        *("status", "reason", "answer", "rationale", "window_s", "boxes_2d", "box_3d", "confidence", "engine"),
        *("degraded", "points", "views", "timings_ms", "late_encodes"),
    }
    assert [set(box) for box in answer["boxes_2d"]] == [{"frame", "xyxy", "label"}] * 2
    assert 0.0 < answer["confidence"] < 1.0


@pytest.mark.parametrize("wrong", range(4))
def test_one_view_that_points_at_another_thing_is_outvoted(wrong: int) -> None:
    blocks = [0, 0, 0, 0]
    blocks[wrong] = 2
    reasoner = ScriptedReasoner(pointing(*blocks))
    reasoner.sure = lambda index: 0.99 if index == [2, 5, 0, 7][wrong] else 0.5  # and is surer of it than the others
    answer = asked(reasoner)
    assert answer.status is Status.OK
    assert answer.box_3d is not None
    assert iou(answer.box_3d, BLOCKS[0].box) > 0.7
    assert len(answer.boxes_2d) == (3 if wrong < 2 else 2)


def test_no_more_views_are_asked_once_two_agree() -> None:
    reasoner = ScriptedReasoner(pointing(0, 0))
    assert asked(reasoner).status is Status.OK
    assert [keyframe for _, keyframe, _ in reasoner.asked] == [None, 2, 5]


def test_the_surest_of_the_views_that_agree_is_followed() -> None:
    reasoner = ScriptedReasoner(pointing(0, 1, 0), sure=lambda index: {0: 0.8, 5: 0.95}.get(index, 0.3))
    answer = asked(reasoner)
    assert answer.evidence[0].frame == 0
    assert answer.rationale.endswith("it is red in 0")


@pytest.mark.parametrize("blocks", [(0, 1, 2, None), (None, 2, 1, None)])
def test_views_that_all_point_at_different_things_give_no_box(blocks) -> None:
    answer = asked(ScriptedReasoner(pointing(*blocks, *NOTHING)))
    assert (answer.status, answer.box_3d, answer.confidence) == (Status.NOT_FOUND, None, 0.0)
    assert answer.reason.startswith("the views disagree")
    assert len(answer.boxes_2d) == len(answer.evidence) == 4 - blocks.count(None)
    assert not any(view.supports for view in answer.evidence)


def test_one_view_alone_is_believed_but_less() -> None:
    alone, both = (
        asked(ScriptedReasoner(pointing(None, 0, None, None, *NOTHING))),
        asked(ScriptedReasoner(pointing(0, 0))),
    )
    assert alone.status is Status.OK
    assert alone.box_3d is not None
    assert iou(alone.box_3d, BLOCKS[0].box) > 0.7
    assert 0.0 < alone.confidence < both.confidence < 1.0


def test_views_next_to_the_window_are_asked_after_those_in_it_showed_nothing_or_disagreed() -> None:
    for inside in ((None, None, None), (2, 1, None)):
        reasoner = ScriptedReasoner(pointing(*inside, 0, None, 0), window_s=(2.0, 4.0))
        answer = asked(reasoner)
        assert answer.status is Status.OK
        assert answer.box_3d is not None
        assert iou(answer.box_3d, BLOCKS[0].box) > 0.7
        assert answer.window_s == (2.0, 4.0)
        first, after = [keyframe for _, keyframe, _ in reasoner.asked][1:4], reasoner.asked[4:]
        assert sorted(first) == [2, 3, 4]
        assert [keyframe for _, keyframe, _ in after] == [1, 5, 0]


def test_what_is_seen_only_outside_the_window_is_not_believed_from_one_view() -> None:
    answer = asked(ScriptedReasoner(pointing(None, None, None, 0, *NOTHING), window_s=(2.0, 4.0)))
    assert (answer.status, answer.box_3d) == (Status.NOT_FOUND, None)
    assert len(answer.boxes_2d) == 1


def test_no_further_views_are_asked_where_the_model_could_not_answer_in_any() -> None:
    reasoner = ScriptedReasoner(lambda index: Finish.TRUNCATED)
    assert asked(reasoner).status is Status.TRUNCATED
    assert len(reasoner.asked) == 5


def test_a_view_of_the_time_that_stands_alone_is_looked_for_elsewhere() -> None:
    reasoner = ScriptedReasoner(pointing(None, 0, None, 1, 0), window_s=(2.0, 4.0))
    answer = asked(reasoner)
    assert iou(answer.box_3d, BLOCKS[0].box) > 0.7
    assert [keyframe for _, keyframe, _ in reasoner.asked] == [None, 3, 2, 4, 1, 5]


def test_without_time_to_search_only_keyframes_of_the_time_are_asked() -> None:
    for inside, status in (((None, 0, None), Status.OK), ((None, None, None), Status.NOT_FOUND)):
        reasoner = ScriptedReasoner(pointing(*inside), window_s=(2.0, 4.0))
        assert asked(reasoner, Limits(search_s=0.0)).status is status
        assert len(reasoner.asked) == 4


def test_a_window_between_keyframes_asks_about_the_nearest_ones() -> None:
    reasoner = ScriptedReasoner(lambda index: (walk().boxes[index][0],), window_s=(5.2, 5.4))
    assert asked(reasoner).status is Status.OK
    assert [keyframe for _, keyframe, _ in reasoner.asked] == [None, 5, 6]
    late = ScriptedReasoner(lambda index: (walk().boxes[index][0],), window_s=(100.0, 110.0))
    assert asked(late).status is Status.OK
    assert [keyframe for _, keyframe, _ in late.asked] == [None, 7, 6]


def test_only_keyframes_inside_the_window_are_asked_about() -> None:
    reasoner = ScriptedReasoner(lambda index: (walk().boxes[index][0],), window_s=(2.0, 4.0))
    asked(reasoner)
    assert [keyframe for _, keyframe, _ in reasoner.asked] == [None, 3, 2]


@pytest.mark.parametrize("pixels", [None, 896 * 896])
def test_the_image_is_given_again_only_to_a_reasoner_that_wants_it(pixels: int | None) -> None:
    reasoner = ScriptedReasoner(pointing(0, 0, 0, 0), grounding_pixels=pixels)
    asked(reasoner)
    assert {again for _, keyframe, again in reasoner.asked if keyframe is not None} == {pixels is not None}


FINISHES = [
    (Finish.NOT_FOUND, Status.NOT_FOUND, "the model"),
    (Finish.TRUNCATED, Status.TRUNCATED, "raise max_tokens"),
    (Finish.TIMED_OUT, Status.TIMED_OUT, "time ran out"),
    (Finish.CANCELLED, Status.TIMED_OUT, "cancelled"),
    (Finish.NOT_READY, Status.NOT_READY, "ask again"),
]


@pytest.mark.parametrize(("finish", "status", "reason"), FINISHES)
@pytest.mark.parametrize("stage", ["when", "where", "answer"])
def test_however_the_model_ends_early_the_answer_has_that_status_and_a_reason(stage, finish, status, reason) -> None:
    reasoner = ScriptedReasoner(
        lambda index: finish if stage == "where" else (), finish if stage == "when" else (0.0, 9.0), words=finish
    )
    answer = asked(reasoner, task="vqa" if stage == "answer" else "find")
    assert (answer.status, answer.box_3d, answer.confidence, answer.answer) == (status, None, 0.0, "")
    assert reason in answer.reason
    assert status.exit_code == (3 if finish is Finish.NOT_FOUND else 4)
    assert (answer.window_s is None) == (stage != "where")


@pytest.mark.parametrize("fault", [Finish.TRUNCATED, Finish.NOT_READY, BadAnswer("no box in it")], ids=str)
def test_one_view_that_came_to_nothing_does_not_spoil_the_others(fault) -> None:
    answer = asked(ScriptedReasoner(lambda index: fault if index == 2 else (walk().boxes[index][0],)))
    assert answer.status is Status.OK
    assert [box.frame for box in answer.boxes_2d] == [5, 0]


def test_answers_that_cannot_be_read_in_any_view_are_a_fault() -> None:
    with pytest.raises(BadAnswer, match="no box in it"):
        asked(ScriptedReasoner(lambda index: BadAnswer("no box in it")))


def test_a_view_that_cannot_be_read_is_no_fault_where_another_says_that_it_is_not_there() -> None:
    answer = asked(ScriptedReasoner(lambda index: BadAnswer("no box in it") if index == 2 else Finish.NOT_FOUND))
    assert answer.status is Status.NOT_FOUND


def test_a_reasoner_that_has_lost_all_keyframes_is_a_fault_and_not_bad_input() -> None:
    with pytest.raises(EngineFailed, match="lost a keyframe"):
        asked(ScriptedReasoner(lambda index: BadInput("keyframe 2 is not held")))


def test_a_box_beyond_the_picture_is_a_fault_of_the_model_and_not_of_the_caller() -> None:
    with pytest.raises(BadAnswer, match="not in the picture"):
        asked(ScriptedReasoner(lambda index: ((300.0, 200.0, 400.0, 300.0),)))


def test_a_reasoner_that_breaks_is_an_error_and_never_an_answer() -> None:
    with pytest.raises(EngineFailed, match="where broke"):
        asked(ScriptedReasoner(pointing(), failing={"where"}))


def test_boxes_that_show_nothing_solid_are_not_found() -> None:
    answer = asked(ScriptedReasoner(lambda index: ((2.0, 2.0, 12.0, 12.0),)))
    assert (answer.status, answer.box_3d) == (Status.NOT_FOUND, None)
    assert answer.reason
    assert len(answer.boxes_2d) == 8


def test_one_deadline_is_shared_by_all_calls_and_ends_the_question_between_them() -> None:
    limits = Limits(deadline_ns=time.monotonic_ns() + 3_600_000_000_000)
    reasoner = ScriptedReasoner(pointing(0, 0, 0, 0))
    assert asked(reasoner, limits).status is Status.OK
    assert {given.deadline_ns for given in reasoner.limits} == {limits.deadline_ns}
    late = ScriptedReasoner(pointing(0, 0, 0, 0))
    answer = asked(late, replace(limits, deadline_ns=time.monotonic_ns()))
    assert (answer.status, answer.box_3d) == (Status.TIMED_OUT, None)
    assert [keyframe for _, keyframe, _ in late.asked] == [None]


@pytest.mark.parametrize("after", range(1, 10))
def test_a_cancelled_question_stops_at_the_next_step_and_says_so(after: int) -> None:
    polls = iter([False] * after)
    answer = asked(ScriptedReasoner(pointing(0, 0, 0, 0)), Limits(cancelled=lambda: next(polls, True)))
    if answer.status is not Status.OK:
        assert (answer.status, answer.box_3d) == (Status.TIMED_OUT, None)
        assert answer.reason.startswith("cancelled at")
    assert (answer.status is Status.OK) == (after > 4)  # polled before each of 2 views, 2 lifts and the last one


def test_an_answer_in_words_has_no_box() -> None:
    answer = asked(ScriptedReasoner(pointing()), task="vqa")
    assert (answer.status, answer.answer, answer.rationale, answer.box_3d) == (Status.OK, "two", "counted them", None)
    assert answer.confidence == 0.7
    assert answer.engine == {"reasoner": "scripted"}


def test_what_cannot_be_asked_is_refused() -> None:
    for question in ("  ", "x" * 3000, "nul\0"):
        with pytest.raises(BadQuestion):
            find(question, Limits(), Scene(keyframes(), 0, ScriptedReasoner(pointing()), DepthCut(), Lifter()))


def test_the_stages_account_for_the_time_and_the_parts_are_named_after_them() -> None:
    timings = asked(ScriptedReasoner(pointing(0, None, None, 0))).timings_ms
    stages = {name: ms for name, ms in timings.items() if "." not in name and name != "total"}
    assert set(stages) == {"when", "where", "decode_keyframes", "segment", "lift", "reproject", "refine"}
    assert 0.95 * timings["total"] - 2.0 <= sum(stages.values()) <= 1.001 * timings["total"]
    assert (timings["when.prefill"], timings["when.decode"], timings["where.decode"]) == (
        2.0,
        3.0,
        2.0,
    )  # where: of 2 views


def test_locate_answers_as_it_did_and_says_that_no_model_was_asked() -> None:
    frame, boxes = walk().frames[3], walk().boxes[3]
    with open_segmenter("depth_cut") as segmenter:
        answer = locate(frame, boxes[1], walk().frames, segmenter, Lifter())
    assert answer.box_3d is not None
    assert iou(answer.box_3d, BLOCKS[1].box) > 0.6
    assert answer.confidence is None
    assert answer.to_json()["boxes_2d"] == []
