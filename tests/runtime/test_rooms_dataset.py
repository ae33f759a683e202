"""Rooms on disk: what is written is read back exactly, and what is damaged is named with its file and line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.rooms import Box, SyntheticRecording
from scene_r1.rooms.dataset import (
    RoomDone,
    RoomsFolder,
    RoomsSettings,
    make_rooms,
    open_rooms,
    read_questions,
    room_folder,
    write_jpeg,
    write_questions,
)
from scene_r1.rooms.dataset.fields import Fields, parse_json
from scene_r1.rooms.dataset.questions_file import question_line, question_of
from scene_r1.rooms.questions.question import Question
from scene_r1.sources.source import FrameSource
from scene_r1_engines.errors import BadInput, BadRecording, OutputExists, SceneR1Error

SIZE, FRAMES, RATE_HZ = (160, 120), 24, 2.0
SEEDS = (3, 9)

FOUND = Question(
    "room-000003/0", "room-000003", "train", "Where is the mug?", "find", "attribute", "shape", "It is there.", 0,
    "red mug", ((0.5, 2.0), (4.0, 4.5)), {1: (3.0, 4.0, 9.5, 12.0)}, Box((0.0, 0.0, 0.0), (0.1, 0.1, 0.1)),
)  # fmt: skip
ABSENT = Question("b", "room-000003", "train", "Where is the cat?", "find", "absent", "shape", "There is none.")
COUNTED = Question(
    "c", "room-000003", "train", "How many?", "vqa", "count", "shape", "", answer="2", answer_kind="number"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small rooms, made once. Do not write to them."""
    pytest.importorskip("embreex")
    out = tmp_path_factory.mktemp("rooms") / "out"
    result = make_rooms(out, SEEDS, size=SIZE, frames=FRAMES, rate_hz=RATE_HZ, questions=6, workers=1, preview=True)
    assert result.made == ("room-000003", "room-000009")
    assert not result.failed
    assert result.questions > 0
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The same rooms, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_rooms_on_disk_hold_the_recording_the_truth_and_the_questions(made: Path) -> None:
    rooms = open_rooms(made)
    assert isinstance(rooms, RoomsFolder)
    assert [(scene.name, scene.seed, scene.split) for scene in rooms.scenes] == [
        ("room-000003", 3, "train"),
        ("room-000009", 9, "test"),
    ]
    for scene in rooms.scenes:
        original = SyntheticRecording(scene.seed, FRAMES, SIZE, rate_hz=RATE_HZ, noise_scale=0.25)
        with scene.source() as source:
            assert isinstance(source, FrameSource)
            frames = list(source.frames())
        assert len(frames) == FRAMES
        for index in (0, 11):
            frame = original.frame(index)
            np.testing.assert_array_equal(frames[index].depth_raw, frame.depth_raw)
            np.testing.assert_array_equal(frames[index].T_world_camera, frame.T_world_camera)
            assert frames[index].timestamp_ns == frame.timestamp_ns
            assert np.abs(frames[index].color.astype(int) - frame.color).mean() < 4.0, "JPEG"
            np.testing.assert_array_equal(scene.instance(index), original.truth(index).instance)
        seen = original.visible_fraction()
        for thing, stored, v in zip(original.room.objects, scene.graph.objects, seen, strict=True):
            assert (stored.id, stored.shape, stored.color) == (thing.id, thing.shape, thing.color)
            assert (stored.name, stored.box, stored.support) == (thing.name, thing.box, thing.support)
            assert (stored.visible, stored.nearest_m) == (v.fraction, v.nearest_m)
        assert [piece.box for piece in scene.graph.furniture] == [piece.box for piece in original.room.furniture]
        assert scene.graph.size_m == original.room.size_m


def test_questions_agree_with_the_instance_images_and_the_graph(made: Path) -> None:
    targets = 0
    for scene in open_rooms(made).scenes:
        assert scene.questions
        for question in scene.questions:
            assert (question.scene, question.split) == (scene.name, scene.split)
            for frame, (x0, y0, x1, y1) in question.boxes_2d.items():
                mask = scene.instance(frame) == question.target
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x0, y0, x1, y1)
            targets += question.target is not None
    assert targets > 0


def test_a_preview_is_a_picture_with_a_row_for_each_room(made: Path) -> None:
    data = (made / "contact_sheet.jpg").read_bytes()
    assert data.startswith(b"\xff\xd8\xff")
    assert len(data) > 50_000


def test_rooms_that_are_there_are_kept_and_the_list_names_what_was_asked_for(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.glob("room-*/**/*") if path.is_file()}
    told: list[RoomDone] = []
    same = {"size": SIZE, "frames": FRAMES, "rate_hz": RATE_HZ, "questions": 6}
    result = make_rooms(copy, SEEDS[:1], workers=1, on_room=told.append, **same)  # type: ignore[arg-type]
    assert (result.made, result.kept, dict(result.failed)) == ((), ("room-000003",), {})
    assert [(one.name, one.how) for one in told] == [("room-000003", "kept")]
    assert {path: path.stat().st_mtime_ns for path in copy.glob("room-*/**/*") if path.is_file()} == before
    rooms = open_rooms(copy)
    assert [scene.name for scene in rooms.scenes] == ["room-000003"]
    assert {question.scene for question in rooms.scenes[0].questions} == {"room-000003"}
    for other in ({"frames": 5}, {"size": (64, 48)}, {"rate_hz": 3.0}, {"questions": 2}):
        with pytest.raises(OutputExists, match=f"{next(iter(other))} "):
            make_rooms(copy, SEEDS, workers=1, **{**same, **other})  # type: ignore[arg-type]


def test_a_room_that_fails_is_told_of_and_the_others_are_made(copy: Path) -> None:
    (copy / "room-000009" / "instance" / "frame-000003.png").unlink()
    (copy / "room-000013").write_text("in the way")
    told: list[RoomDone] = []
    same = {"size": SIZE, "frames": FRAMES, "rate_hz": RATE_HZ, "questions": 6}
    result = make_rooms(copy, (3, 9, 13), workers=1, on_room=told.append, **same)  # type: ignore[arg-type]
    assert result.kept == ("room-000003",)
    assert set(result.failed) == {"room-000009", "room-000013"}
    assert "frame-000003.png" in result.failed["room-000009"]
    assert [one.how for one in told].count("failed") == 2
    assert [scene.name for scene in open_rooms(copy).scenes] == ["room-000003"]
    with pytest.raises(SceneR1Error, match="none of 1 rooms"):
        make_rooms(copy, (13,), workers=1, **same)  # type: ignore[arg-type]


def test_a_room_that_breaks_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("embreex")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room_folder, "graph_of", full)
    with pytest.raises(SceneR1Error, match="No space left"):
        make_rooms(tmp_path, (3,), size=(32, 32), frames=2, workers=1, questions=0)
    assert list(tmp_path.iterdir()) == []


def test_processes_make_the_same_rooms_as_this_one(tmp_path: Path) -> None:
    pytest.importorskip("embreex")
    few = {"size": (48, 36), "frames": 2, "questions": 1}
    make_rooms(tmp_path / "one", SEEDS, workers=1, **few)  # type: ignore[arg-type]
    make_rooms(tmp_path / "two", SEEDS, workers=2, **few)  # type: ignore[arg-type]
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file())
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": ()}, {"seeds": (3, 3)}, {"seeds": (-1,)}, {"seeds": (True,)}, {"frames": 0}, {"frames": 10**9},
        {"size": (8, 8)}, {"size": (4096, 4096), "frames": 1000}, {"rate_hz": float("nan")}, {"questions": -1},
        {"workers": 0},
    ],
)  # fmt: skip
def test_rooms_that_cannot_be_asked_for_are_refused_and_nothing_is_made(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    with pytest.raises(BadInput):
        make_rooms(tmp_path, **{"seeds": (3,), **wrong})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


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
def test_questions_cut_short_anywhere_are_refused_by_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
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


@pytest.mark.parametrize("content", [b"\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b"3\n", b'{"id": 1, "id": 2}\n', b"{}\n"])
def test_a_line_that_is_no_question_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadRecording, match="line 1: "):
        list(read_questions(path))


def test_two_questions_with_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    write_questions(path, [FOUND, ABSENT, FOUND])
    with pytest.raises(BadRecording, match="line 3: .* line 1"):
        list(read_questions(path))
