from __future__ import annotations

import numpy as np
import pytest
from benchmarks.grounding.chance import GuessingReasoner
from benchmarks.grounding.oracles import ToldReasoner, ToldSegmenter
from benchmarks.grounding.told import Told

from scene_r1.rooms.model.room import Box
from scene_r1.rooms.questions.question import Question
from scene_r1_engines.depth_cut import DepthCut
from scene_r1_engines.errors import BadFrame, BadInput
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish
from scene_r1_engines.view import Prompt, View

W, H = 160, 120
IMAGE = np.random.default_rng(0).integers(120, 160, (H, W, 3), np.uint8)
IMAGE[40:80, 60:100] = (190, 40, 35)
BOX = (60.0, 40.0, 100.0, 80.0)
MUG = Question(
    "r/0", "r", "test", "where is the red mug?", "find", "attribute", "color_shape", "It is on the table.",
    target=4, name="red mug", windows_s=((2.0, 5.0), (9.0, 10.0)), boxes_2d={7: BOX},
    box_3d=Box((0.0, 0.0, 0.0), (0.1, 0.1, 0.1)),
)  # fmt: skip
ABSENT = Question("r/1", "r", "test", "where is the dog?", "find", "absent", "shape", "No dog is there.")
COLOR = Question(
    "r/2", "r", "test", "which colour?", "vqa", "color", "of_shape", "It is red.", answer="red", choices=("red", "blue")
)
COUNT = Question("r/3", "r", "test", "how many?", "vqa", "count", "of_shape", "Two.", answer="2", answer_kind="number")


def told(question: Question | None, *use: str) -> Told:
    out = Told()
    out.question, out.use = question, frozenset(use)
    return out


def view(id: int) -> View:
    camera = Intrinsics(140.0, 140.0, (W - 1) / 2, (H - 1) / 2, W, H)
    depth = np.full((H, W), 2.0, np.float32)
    depth[40:80, 60:100] = 1.0
    return View(id, IMAGE, depth, camera, np.eye(4))


def guesses(told: Told, seed: int = 0) -> GuessingReasoner:
    return GuessingReasoner(told, {"count": ["2", "3"]}, seed)


def test_the_truth_of_a_stage_is_told_and_the_others_are_the_engines_own():
    knows = told(MUG, "window")
    with ToldReasoner(guesses(knows), knows) as reasoner:
        reasoner.watch(7, IMAGE, 3.0)
        said = reasoner.when(MUG.text, Limits())
        assert (said.finish, said.window_s, reasoner.name) == (Finish.OK, (2.0, 5.0), "guess+true window")
        assert reasoner.where(MUG.text, 7, Limits()).boxes[0].xyxy != BOX


def test_a_true_box_is_that_of_the_frame_and_none_where_the_thing_is_not_visible():
    knows = told(MUG, "box")
    with ToldReasoner(guesses(knows), knows) as reasoner:
        reasoner.watch(7, IMAGE, 3.0)
        reasoner.watch(8, IMAGE, 4.0)
        (box,) = reasoner.where(MUG.text, 7, Limits()).boxes
        assert (box.xyxy, box.label) == (BOX, "red mug")
        assert reasoner.where(MUG.text, 8, Limits()).finish is Finish.NOT_FOUND


def test_what_is_absent_is_told_to_be_so():
    knows = told(ABSENT, "window", "box")
    with ToldReasoner(guesses(knows), knows) as reasoner:
        reasoner.watch(7, IMAGE, 3.0)
        assert reasoner.when(ABSENT.text, Limits()).finish is Finish.NOT_FOUND
        assert reasoner.where(ABSENT.text, 7, Limits()).finish is Finish.NOT_FOUND


def test_closing_gives_the_keyframes_up_and_leaves_the_engine_open_for_the_next_room():
    knows = told(MUG)
    engine = guesses(knows)
    with ToldReasoner(engine, knows) as reasoner:
        reasoner.watch(7, IMAGE, 3.0)
    assert engine.held == frozenset()
    with ToldReasoner(engine, knows) as reasoner:
        reasoner.watch(7, IMAGE, 1.0)
        assert engine.held == reasoner.held == {7}


def test_a_true_mask_is_what_is_visible_whatever_was_prompted():
    knows = told(MUG, "mask")
    ids = np.full((H, W), -1, np.int16)
    ids[45:75, 62:98] = 4
    knows.instance = {7: ids}.__getitem__
    with ToldSegmenter(DepthCut(), knows) as segmenter:
        found = segmenter.segment(view(7), [Prompt(xyxy=(0.0, 0.0, 5.0, 5.0)), Prompt(xyxy=BOX)])
        assert np.array_equal(found.masks, np.stack([ids == 4] * 2))
        assert found.scores.tolist() == [1.0, 1.0]
        assert (segmenter.name, segmenter.degraded) == ("true mask", False)
        (tracked,) = segmenter.track([view(7)], {})
        assert np.array_equal(tracked.masks[0], ids == 4)


def test_without_the_oracle_the_mask_is_the_engines_own():
    knows = told(MUG, "window")
    plain = DepthCut().segment(view(7), [Prompt(xyxy=BOX)])
    with ToldSegmenter(DepthCut(), knows) as segmenter:
        found = segmenter.segment(view(7), [Prompt(xyxy=BOX)])
        assert np.array_equal(found.masks, plain.masks)
        assert found.masks.any()
        assert (segmenter.name, segmenter.degraded) == ("depth_cut", True)


def test_without_the_oracle_hints_reach_the_engine():
    with ToldSegmenter(DepthCut(), told(MUG, "window")) as segmenter:
        (hinted,) = segmenter.track([view(7)], {}, {7: Prompt(xyxy=BOX)})
    assert hinted.found_by == ("hint",)
    assert np.array_equal(hinted.masks, DepthCut().segment(view(7), [Prompt(xyxy=BOX)]).masks)


def test_an_oracle_that_was_told_nothing_says_so():
    knows = told(None, "window", "mask")
    with ToldReasoner(guesses(knows), knows) as reasoner, pytest.raises(BadInput, match="nobody told it the question"):
        reasoner.when("?", Limits())
    knows.question = MUG
    with pytest.raises(BadInput, match="nobody told it the room"):
        ToldSegmenter(DepthCut(), knows).segment(view(7), [Prompt(xyxy=BOX)])


def test_guesses_stay_in_the_recording_and_in_the_picture_and_are_the_same_for_the_same_seed():
    def some(seed: int) -> list[object]:
        with guesses(told(MUG), seed) as reasoner:
            reasoner.watch(0, IMAGE, 0.0)
            reasoner.watch(7, IMAGE, 8.0)
            out: list[object] = []
            for _ in range(100):
                said = reasoner.when(MUG.text, Limits())
                if said.window_s is not None:
                    assert 0.0 <= said.window_s[0] < said.window_s[1] <= 8.01
                out.append(said.window_s)
                (box,) = reasoner.where(MUG.text, 7, Limits()).boxes
                x0, y0, x1, y1 = box.xyxy
                assert 0.0 <= x0 < x1 <= W
                assert 0.0 <= y0 < y1 <= H
                out.append(box.xyxy)
            return out

    assert some(1) == some(1) != some(2)
    assert 10 <= some(3).count(None) <= 40  # a quarter says that it is not there


def test_guessed_answers_are_choices_or_answers_of_other_questions_of_the_kind():
    for question, allowed in ((COLOR, {"red", "blue"}), (COUNT, {"2", "3"})):
        with guesses(told(question)) as reasoner:
            assert {reasoner.answer(question.text, Limits()).answer for _ in range(40)} == allowed


def test_a_guess_keeps_the_ids_of_keyframes_as_every_engine_does():
    with guesses(told(MUG)) as reasoner:
        assert reasoner.when(MUG.text, Limits()).finish is Finish.NOT_READY
        reasoner.watch(1, IMAGE, 0.0)
        with pytest.raises(BadFrame):
            reasoner.watch(1, IMAGE, 1.0)
        with pytest.raises(BadInput, match="keyframe 5"):
            reasoner.where(MUG.text, 5, Limits())
        reasoner.forget(1)
        with pytest.raises(BadInput, match="keyframe 1"):
            reasoner.forget(1)
