"""The demo from its rendering to its pictures, and that it calls right what is right and a miss a miss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scene_r1.demo.walk
import scene_r1_engines.nano
from scene_r1.answer import Answer, Box2D, Status
from scene_r1.box import Box3D
from scene_r1.cli import main
from scene_r1.cli.demo import DEMO_SEED
from scene_r1.demo import Judged, Walked, asked, chosen, given_boxes, given_line, lines, sheet, walk_through
from scene_r1.grounder import Grounder
from scene_r1.rooms.model.room import Box
from scene_r1.rooms.questions import Question
from scene_r1.sources import create_sink, open_source
from scene_r1_engines.errors import BadInput, EngineFailed, MissingExtra
from scene_r1_engines.limits import Limits
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.reasoner import Finish, ImageGrounding, LabelledBox, TextAnswer, TimeGrounding
from scene_r1_engines.segmenter import open_segmenter

SEED = 19
BOX = Box((0.0, 0.0, 0.0), (0.2, 0.2, 0.2))
MUG = Question(
    "q", "room-000019", "test", "where is the mug?", "find", "attribute", "shape", "", 0, "red mug",
    windows_s=((1.0, 3.0),), boxes_2d={4: (10.0, 10.0, 30.0, 30.0)}, box_3d=BOX,
)  # fmt: skip
GONE = Question("g", "room-000019", "test", "where is the tuba?", "find", "absent", "shape", "")
COUNT = Question("c", "room-000019", "test", "how many?", "vqa", "count", "shape", "", answer="2", answer_kind="number")


class Knowing:
    """A reasoner that says the truth of the questions that it was told."""

    name = "knowing"
    grounding_pixels = None

    def __init__(self, questions: tuple[Question, ...]) -> None:
        self._truth = {one.text: one for one in questions}

    def watch(self, keyframe_id, image, timestamp_s) -> None: ...

    def forget(self, keyframe_id) -> None: ...

    def settle(self, now_s=None, deadline_ns=None) -> bool:
        return True

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        known = self._truth[question]
        if known.target is None:
            return TimeGrounding(Finish.NOT_FOUND, rationale=known.rationale)
        return TimeGrounding(Finish.OK, known.windows_s[0], known.rationale, 0.9)

    def where(self, question: str, keyframe_id: int, limits: Limits, image=None) -> ImageGrounding:
        box = self._truth[question].boxes_2d.get(keyframe_id)
        if box is None:
            return ImageGrounding(Finish.NOT_FOUND, keyframe_id)
        return ImageGrounding(Finish.OK, keyframe_id, (LabelledBox(box, self._truth[question].name, 0.9),))

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        return TextAnswer(Finish.OK, self._truth[question].answer, self._truth[question].rationale, 0.9)

    def close(self) -> None: ...

    def __enter__(self) -> Knowing:
        return self

    def __exit__(self, *exc: object) -> None: ...


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """The walk of the real demo, with every sixth of its frames."""
    pytest.importorskip("embreex")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_r1.demo.walk, "FRAMES", 20)
        patch.setattr(scene_r1.demo.walk, "RATE_HZ", 1.0)
        yield walk_through(tmp_path_factory.mktemp("demo"), SEED, lambda: None)


def streamed(walked: Walked, reasoner: object) -> Grounder:
    grounder = Grounder(lambda replay: reasoner, open_segmenter("depth_cut"), model="one that knows")
    with open_source(walked.path) as source:
        for frame in source.frames():
            grounder.take(frame)
    assert grounder.end()
    return grounder


def judged(question: Question, seconds: float = 1.0, fault: str = "", **answer: object) -> Judged:
    given_status = answer.pop("status", Status.OK)
    return Judged(question, Answer(given_status, answer.pop("box_3d", None), {}, {}, **answer), seconds, fault)


def cube(x: float, y: float, z: float) -> Box3D:
    """20 cm wide, as the mug's."""
    return Box3D((x, y, z), (0.2, 0.2, 0.2), 0.0, 1)


def said(one: Judged) -> str:
    return "\n".join(lines(1, one))


def test_who_says_the_truth_is_right_in_everything_and_the_pictures_show_it(walked: Walked) -> None:
    questions = chosen(walked.questions)
    with streamed(walked, Knowing(walked.questions)) as grounder:
        answers = [asked(grounder, one) for one in questions]
        lifted = list(given_boxes(grounder, questions))
        picture = sheet(grounder, answers, lifted)
    assert [one.question.task for one in answers] == ["find", "find", "vqa"]
    for one in answers:
        assert one.fault == ""
        assert one.answer.engine["model"] == "one that knows"
        if one.question.task == "find" and one.answer.boxes_2d:
            assert one.temporal_iou == 1.0
            assert set(one.box_ious) == {1.0}
    assert any(one.right for one in answers[:2])
    assert answers[2].right
    assert "result   right" in said(answers[2])
    assert lifted
    assert {one.name for one in lifted} <= {question.name for question in questions}
    assert max(one.iou for one in lifted) > 0.5
    for one in lifted:
        assert ("found" in given_line(one)) == one.right
        assert one.frame in grounder.memory
    assert picture.shape[1] == 1600
    assert picture.dtype == np.uint8


def test_the_recording_holds_the_walk_and_its_clock(walked: Walked) -> None:
    assert (walked.split, walked.duration_s, walked.path.name) == ("test", 19.0, "room.db3")
    with open_source(walked.path) as source:
        times = [frame.timestamp_ns / 1e9 for frame in source.frames()]
    assert times == [float(i) for i in range(20)]
    for question in walked.questions:
        assert all(0.0 <= start < end <= walked.duration_s for start, end in question.windows_s)


def test_the_command_asks_a_model_and_writes_all_that_it_promises(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("embreex")
    pytest.importorskip("rerun")
    monkeypatch.setattr(scene_r1.demo.walk, "FRAMES", 12)
    monkeypatch.setattr(scene_r1.demo.walk, "RATE_HZ", 0.4)
    monkeypatch.setattr(scene_r1_engines.nano, "FOLDER", tiny_model)
    config, out = tmp_path / "config.toml", tmp_path / "out"
    config.write_text(
        '[keyframes]\nk = 4\n[reasoner]\nisolation = "inline"\nimage_pixels = 12544\nthreads = 1\n'
        "encode_after_s = 0.0\n[limits]\nthink_tokens = 8\nmax_tokens = 48\n"
    )
    assert main(["demo", "--out", str(out), "--config", str(config), "--json"]) == 0
    printed = capsys.readouterr()
    assert "model: Scene-R1 nano" in printed.err
    *told, last = printed.out.splitlines()
    result = json.loads(last)
    assert (result["seed"], result["split"], result["model"]) == (DEMO_SEED, "test", read_manifest(tiny_model).name)
    assert len(result["questions"]) == 3
    for number, one in enumerate(result["questions"], 1):
        assert f"{number}. {one['question']}" in printed.out
        assert one["seconds"] > 0.0
        assert one["right"] <= (one["status"] in ("ok", "not_found"))
        if one["true_box_3d"] is not None:
            assert (one["box_3d"] is None) == (one["center_off_m"] is None)
            assert one["right"] == (one["iou"] >= 0.25)
    right = sum(one["right"] for one in result["questions"])
    assert any(line.startswith(f"{right} of 3 answers right") for line in told)
    assert sorted(path.name for path in out.iterdir()) == ["demo.glb", "demo.png", "demo.rrd", "room.db3"]
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert main(["demo", "--out", str(out)]) == 2  # what was made is not made over
    assert "is not empty" in capsys.readouterr().err


def test_it_refuses_a_place_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path / "taken")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_without_librealsense_the_walk_becomes_a_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("embreex")

    def without(path, **options):
        if Path(path).suffix == ".db3":
            raise MissingExtra("realsense", "writing RealSense recordings")
        return create_sink(path, **options)

    monkeypatch.setattr(scene_r1.demo.walk, "create_sink", without)
    monkeypatch.setattr(scene_r1.demo.walk, "FRAMES", 2)
    walked = walk_through(tmp_path, SEED, lambda: None)
    assert walked.path == tmp_path / "room"
    with open_source(walked.path) as source:
        assert source.info.frames == 2


def test_a_model_that_breaks_is_a_fault_and_the_next_question_is_asked(walked: Walked) -> None:
    class Broken(Knowing):
        def when(self, question: str, limits: Limits) -> TimeGrounding:
            raise EngineFailed("the model is gone")

    with streamed(walked, Broken(walked.questions)) as grounder:
        one, two, three = (asked(grounder, question) for question in chosen(walked.questions))
    assert one.fault == two.fault == "EngineFailed: the model is gone"
    assert not one.right
    assert not replace(one, question=GONE).right  # silence is no answer
    assert "the model is gone" in said(one)
    assert three.right
    assert json.dumps(one.to_json())


@pytest.mark.parametrize(
    ("one", "right", "verdict"),
    [
        (judged(MUG, box_3d=cube(0.1, 0.1, 0.1)), True, "found: IoU 1.00, centre 0.0 cm off"),
        (judged(MUG, box_3d=cube(0.2, 0.1, 0.1)), True, "found: IoU 0.33, centre 10.0 cm"),
        (judged(MUG, box_3d=cube(0.3, 0.1, 0.1)), False, "missed: IoU 0.00, centre 20.0 cm"),
        (judged(MUG, status=Status.NOT_FOUND, reason="not seen"), False, "missed: no box"),
        (judged(GONE, status=Status.NOT_FOUND), True, "right: it says so"),
        (judged(GONE, box_3d=Box3D((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, 1)), False, "wrong: it should have said so"),
        (judged(GONE, status=Status.TRUNCATED), False, "wrong"),
        (judged(COUNT, answer="two of them"), True, "right"),
        (judged(COUNT, answer="3"), False, "wrong"),
        (judged(COUNT, answer="2", status=Status.TRUNCATED), False, "wrong"),
    ],
)  # fmt: skip
def test_a_miss_is_called_a_miss(one: Judged, right: bool, verdict: str) -> None:
    assert one.right is right
    assert f"result   {verdict}" in said(one)
    assert one.to_json()["right"] is right


def test_window_and_boxes_stand_beside_the_true_ones() -> None:
    boxes = (Box2D(4, (10.0, 10.0, 30.0, 20.0), "mug"), Box2D(5, (0.0, 0.0, 9.0, 9.0), "mug"))
    one = judged(MUG, window_s=(2.0, 4.0), boxes_2d=boxes, rationale="It is red.\nIt is there.")
    text = said(one)
    assert one.box_ious == (0.5, None)
    assert "window   2 s to 4 s; it is seen 1.0 s to 3.0 s (IoU 0.33)" in text
    assert "frame 4: 10 10 30 20 'mug'; IoU 0.50 with what is seen of it" in text
    assert "frame 5: 0 0 9 9 'mug'; the thing is not clearly seen there" in text
    assert text.count("thought") == 2
    assert "window   none; it is seen" in said(judged(MUG, status=Status.NOT_FOUND))


@given(st.text(max_size=3000), st.text(max_size=300))
def test_whatever_a_model_writes_is_told_in_few_lines_that_a_terminal_can_show(thought: str, label: str) -> None:
    one = judged(MUG, rationale=thought, boxes_2d=(Box2D(4, (0.0, 0.0, 9.0, 9.0), label),), answer=label)
    told = list(lines(1, one))
    assert all(line.isprintable() for line in told)
    assert len(told) <= 20 + 5 * (len(thought.splitlines()) + 1)
    assert max(len(line) for line in told) <= 100


def test_one_of_each_kind_is_asked_and_a_room_that_lacks_one_offers_another() -> None:
    relation, word = replace(MUG, id="r", family="relation"), replace(COUNT, id="w", answer_kind="word")
    size = replace(COUNT, id="s", family="room_size", answer_kind="square_metres")
    assert chosen((size, GONE, COUNT, word, relation, MUG)) == (MUG, relation, COUNT)
    assert chosen((GONE, MUG, size)) == (MUG, GONE, size)
    assert chosen((GONE,)) == (GONE,)
    with pytest.raises(BadInput, match="--seed"):
        chosen(())
