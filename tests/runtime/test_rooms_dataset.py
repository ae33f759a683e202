"""Rooms on disk: what is written is read back exactly, and what is damaged is named with its file and line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.rooms import SyntheticRecording
from scene_r1.rooms.dataset import (
    RoomDone,
    RoomsFolder,
    make_rooms,
    open_rooms,
    room_folder,
    worker,
    write_jpeg,
)
from scene_r1.rooms.dataset.graph import read_graph
from scene_r1.sources.source import FrameSource
from scene_r1_engines.errors import BadInput, BadRecording, OutputExists, SceneR1Error

SIZE, FRAMES, RATE_HZ = (160, 120), 24, 2.0
SEEDS = (3, 9)


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
            np.testing.assert_allclose(frames[index].T_world_camera, frame.T_world_camera, atol=1e-12)
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


def test_processes_make_the_same_rooms_as_this_one(made: Path, tmp_path: Path) -> None:
    result = make_rooms(tmp_path, SEEDS, size=SIZE, frames=FRAMES, rate_hz=RATE_HZ, questions=6, workers=2)
    assert result.made == ("room-000003", "room-000009")
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    there = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert files == there - {Path("contact_sheet.jpg")}
    for file in files:
        assert (tmp_path / file).read_bytes() == (made / file).read_bytes(), file


def test_a_process_that_dies_fails_its_room_and_what_it_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "START", "import os; os._exit(3)")
    (tmp_path / ".room-000019-0123456789abcdef").mkdir()  # as a process that is killed leaves it
    told: list[RoomDone] = []
    with pytest.raises(SceneR1Error, match=r"none of 3 rooms .* its process died \(exit status 3\)"):
        make_rooms(tmp_path, (9, 19, 29), workers=2, on_room=told.append)
    assert [one.how for one in told] == ["failed"] * 3
    assert list(tmp_path.iterdir()) == []


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


def first_found(folder: Path) -> tuple[int, dict[str, object]]:
    """Line (from 0) and content of the first question about something that is there."""
    lines = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    return next((n, line) for n, line in enumerate(lines) if line["target"] is not None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scene": "room-000004"}, "none of the rooms"),
        ({"split": "val"}, "split val is not that"),
        ({"windows_s": [[0.0, 99.0]]}, "ends after the recording"),
        ({"boxes_2d": {"24": [0, 0, 5, 5]}}, "frame 24 does not exist"),
        ({"boxes_2d": {"3": [0, 0, 161, 5]}}, "not inside 160x120"),
        ({"target": 77}, "target 77 is no object"),
        ({"name": "golden goose"}, "is not that of object"),
        ({"box_3d": {"low": [0, 0, 0], "high": [1, 1, 1]}}, "box_3d is not that of object"),
    ],
)
def test_questions_that_contradict_their_room_are_refused_by_line(
    copy: Path, changes: dict[str, object], said: str
) -> None:
    number, question = first_found(copy)
    lines = (copy / "questions.jsonl").read_text().splitlines()
    lines[number] = json.dumps({**question, **changes})
    (copy / "questions.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(BadRecording, match=rf"questions\.jsonl: line {number + 1}: .*{said}"):
        open_rooms(copy)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_graphs_and_indices_cut_short_anywhere_are_refused(
    made: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    where, read = data.draw(st.sampled_from([("rooms.json", open_rooms), ("scene.json", read_graph)]))
    whole = (made / ("" if where == "rooms.json" else "room-000009") / where).read_bytes()
    path = tmp_path_factory.mktemp("cut") / where
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 2))])
    with pytest.raises(BadRecording, match=where):
        read(path.parent if where == "rooms.json" else path)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("rooms.json", '"format": 1', '"format": 2', "is of format 2"),
        ("rooms.json", '"frames": 24', '"frames": 25', "frames 24, not 25"),
        ("rooms.json", '"frames": 24', '"frames": 0', "frames must be a whole number"),
        ("rooms.json", '"frames": 24', '"frames": 100000', "more than 536870912 pixels"),
        ("rooms.json", '"frames": 24', '"frames": 24, "frame": 1', "'frame' is no key here: did you mean frames"),
        ("rooms.json", '"split": "train"', '"split": "test"', "is room-000003 of train"),
        ("rooms.json", '"seed": 9', '"seed": 3', "is room-000003"),
        ("room-000009/scene.json", '"split": "test"', '"split": "train"', "of the split test"),
        ("room-000009/scene.json", '"seed": 9', '"seed": 19', "seed 19"),
        ("room-000009/scene.json", '"visible": ', '"visible": 7', "visible must be a number"),
        ("room-000009/scene.json", '"id": 0', '"id": 4', r"objects\[0\]: id must be"),
        ("room-000009/scene.json", '"support": ', '"support": 99', "is no furniture|support must be"),
    ],
)
def test_an_index_or_a_graph_that_cannot_be_is_refused(copy: Path, file: str, old: str, new: str, said: str) -> None:
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    with pytest.raises(BadRecording, match=said):
        open_rooms(copy)


def test_pictures_that_are_gone_damaged_or_of_another_room_are_refused(copy: Path) -> None:
    scene = open_rooms(copy).scenes[0]
    folder = copy / scene.name
    for frame in (-1, FRAMES):
        with pytest.raises(BadInput, match=r"frames 0\.\.23"):
            scene.instance(frame)
    path = folder / "instance" / "frame-000002.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadRecording, match=r"frame-000002\.png \(frame 2\)"):
        scene.instance(2)
    for id, said in ((50, "shows object 50"), (40000, "holds the id 40000")):
        _, png = cv2.imencode(".png", np.full((SIZE[1], SIZE[0]), id + 1, np.uint16))
        path.write_bytes(png.tobytes())
        with pytest.raises(BadRecording, match=said):
            scene.instance(2)
    (folder / "recording" / f"frame-{FRAMES:06d}.pose.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")
    (folder / "recording" / "timestamps.txt").unlink()
    with pytest.raises(BadRecording, match="has 25 frames of 160x120"):
        scene.source()
    (folder / "recording" / "frame-000007.depth.png").unlink()
    with pytest.raises(BadRecording, match=r"frame-000007\.depth\.png.*is missing"):
        open_rooms(copy)


def test_what_is_no_folder_of_rooms_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="no folder of rooms"):
        open_rooms(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="no room 'room-1': it has room-000003"):
        open_rooms(copy).scene("room-1")
    (copy / "questions.jsonl").unlink()
    with pytest.raises(BadRecording, match=r"questions\.jsonl: is missing"):
        open_rooms(copy)
    with pytest.raises(BadInput, match=r"\.jpg"):
        write_jpeg(tmp_path / "sheet.png", np.zeros((4, 4, 3), np.uint8))
