"""The training data: rooms as files that come back whole or are refused, and questions whose answers are right."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.export.nano_parts import SEED, put_room, small_room

from scene_r1.keyframes import KeyframeSelector
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.commands.data import SMOKE
from scene_r1_export.nano.data.drill import of_picture, of_walk
from scene_r1_export.nano.data.make import DataSettings, make_data
from scene_r1_export.nano.data.shard import RoomShard, Thing, read_shard
from scene_r1_export.nano.data.sights import Picture, picture_of, read_rooms, sights
from scene_r1_export.nano.data.views import NOTHING, Views
from scene_r1_export.nano.data.when import about_walk
from scene_r1_export.nano.data.where import where
from scene_r1_export.nano.model.sizes import NANO
from scene_r1_export.nano.words import Exchange
from scene_r1_export.rewards import Truth, WhenTruth, WhereTruth, box_iou, reward

QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def room() -> RoomShard:
    return small_room()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_room(tmp_path_factory.mktemp("rooms"))


@pytest.fixture(scope="module")
def data(file: Path) -> bytes:
    return file.read_bytes()


# Rooms as files


def test_a_room_comes_back_from_its_file(room: RoomShard, file: Path) -> None:
    again = read_shard(file)
    assert (again.seed, again.span_s) == (room.seed, room.span_s)
    assert (again.things, again.questions) == (room.things, room.questions)
    assert np.array_equal(again.seconds, room.seconds)
    assert np.array_equal(again.keyframe, room.keyframe)
    for ours, theirs in zip(again.instance, room.instance, strict=True):
        assert ours.dtype == theirs.dtype == np.int16
        assert np.array_equal(ours, theirs)
    for ours, theirs in zip(again.images, room.images, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).mean() < 6.0  # as a JPEG is its picture
    (only,) = read_rooms(file.parent)
    assert only.questions == room.questions


def test_its_keyframes_are_those_of_the_selector(room: RoomShard) -> None:
    with SyntheticRecording(SEED, SMOKE.frames, SMOKE.coarse, rate_hz=SMOKE.rate_hz) as walk:
        selector = KeyframeSelector(SMOKE.keyframes)
        for index in range(len(walk)):
            selector.offer(walk.shot(index)[0])
        selector.settle()
    held = np.sort(room.seconds[room.keyframe] * SMOKE.rate_hz)
    assert held.tolist() == sorted(selector.keyframes)
    assert len(room.images) > len(held) > 1  # other views are kept too
    assert np.all(np.diff(room.seconds) > 0)


@given(drawn=st.data())
@QUIET
def test_a_file_cut_off_anywhere_is_refused_by_name(data: bytes, tmp_path: Path, drawn: st.DataObject) -> None:
    cut = drawn.draw(st.integers(0, len(data) - 1))
    path = tmp_path / "room-000001.npz"
    path.write_bytes(data[:cut])
    with pytest.raises(BadInput, match=r"room-000001\.npz: damaged .*make the data again"):
        read_shard(path)


@given(drawn=st.data())
@QUIET
def test_a_changed_byte_is_refused_or_harmless(data: bytes, tmp_path: Path, drawn: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(drawn.draw(st.integers(1, 3))):
        changed[drawn.draw(st.integers(0, len(data) - 1))] ^= drawn.draw(st.integers(1, 255))
    path = tmp_path / "room-000002.npz"
    path.write_bytes(bytes(changed))
    with suppress(BadInput):
        assert len(read_shard(path).images) == len(small_room().images)


def foreign(**changes: object) -> bytes:
    """A file of arrays, with some of a room's own changed."""
    room = small_room()
    meta = {"format": 1, "seed": 1, "span_s": 1.0, "things": [], "questions": []}
    image = cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].ravel()
    arrays: dict[str, object] = {
        "meta": meta,
        "seconds": room.seconds[:1],
        "keyframe": room.keyframe[:1],
        "color": image,
        "color_ends": np.array([len(image)]),
        "instance": image,
        "instance_ends": np.array([len(image)]),
        **changes,
    }
    arrays["meta"] = np.frombuffer(json.dumps(arrays["meta"]).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_what_the_refused_files_are_made_from_is_read(tmp_path: Path) -> None:
    path = tmp_path / "room-000004.npz"
    path.write_bytes(foreign())
    assert read_shard(path).images[0].shape == (4, 4, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a room",
        npy(np.zeros(3)),
        foreign(meta={"format": 2}),
        foreign(meta=[]),
        foreign(meta={"format": 1, "seed": 1, "span_s": 1.0, "things": [{"id": 1}], "questions": []}),
        foreign(color=np.zeros(8, np.uint8)),
        foreign(color_ends=np.array(3)),
        foreign(color_ends=np.array([0.5, 7.0])),
        foreign(seconds=np.zeros(2)),
        foreign(seconds=np.array([np.nan])),
        foreign(keyframe=np.zeros(1)),
        foreign(instance=np.array(["x"])),
    ],
)
def test_a_foreign_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "room-000003.npz"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"room-000003\.npz: damaged"):
        read_shard(path)


def test_rooms_that_are_there_are_not_made_again(file: Path) -> None:
    before = file.stat().st_mtime_ns
    assert list(make_data(file.parent, [SEED], SMOKE)) == []
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"frames": 0}, {"rate_hz": float("nan")}, {"keyframes": 0}, {"questions": 0}])
def test_settings_that_make_nothing_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        DataSettings(**change)


def test_views_are_taken_in_once_and_name_what_they_show(file: Path) -> None:
    views = Views(file.parent)
    assert (views.refresh(), views.refresh()) == (1, 0)
    assert len(views.views) == len(small_room().images)
    for view, shown in zip(views.views, small_room().instance, strict=True):
        clutter = {thing.id for thing in small_room().things if thing.kind == "clutter"}
        assert np.array_equal(view.instance == NOTHING, np.isin(shown, [-1, *clutter]))


# Questions and answers


def word_for_word(exchange: Exchange) -> str:
    return f"<think>{exchange.thought or ''}</think><answer>{''.join(map(str, exchange.answer))}</answer>"


def test_what_is_taught_about_one_picture_is_right(room: RoomShard) -> None:
    rng = np.random.default_rng(0)
    asked = [one for one in room.questions if one.task == "find"]
    there, absent = 0, 0
    for number in range(40):
        picture = picture_of(room, number % len(room.images), NANO.picture, rng)
        for exchange in where(picture, asked, 6, rng):
            worth = reward(word_for_word(exchange), exchange.truth)
            assert worth.format == 1.0, exchange
            assert worth.task >= 0.5, exchange
            assert isinstance(exchange.truth, WhereTruth)
            there, absent = there + (exchange.truth.box is not None), absent + (exchange.truth.box is None)
    assert min(there, absent) >= 20


def test_what_is_taught_about_a_walk_is_right(room: RoomShard) -> None:
    rng = np.random.default_rng(1)
    held = np.flatnonzero(room.keyframe)
    pictures = [picture_of(room, int(index), NANO.picture) for index in held]
    tasks: dict[str, int] = {}
    for number in range(60):
        some = pictures if number % 2 else pictures[number % 4 : number % 4 + 4]
        for exchange in about_walk(room, some, 6, rng):
            truth = exchange.truth if exchange.task == "answer" else _of_the_pictures(exchange.truth)
            worth = reward(word_for_word(exchange), exchange.truth if truth is None else truth)
            assert worth.format == 1.0, exchange
            if truth is not None:
                assert worth.task >= 0.5, exchange
                tasks[exchange.task] = tasks.get(exchange.task, 0) + 1
    assert tasks["when"] >= 20
    assert tasks["answer"] >= 5


def _of_the_pictures(truth: Truth) -> WhenTruth | None:
    """The windows as far as there are pictures; None where whole seconds are too coarse for one of them."""
    assert isinstance(truth, WhenTruth)
    clipped = [(max(start, truth.start_s), min(end, truth.end_s)) for start, end in truth.windows_s]
    clipped = [(start, end) for start, end in clipped if end > start]
    if any(end - start < 2.0 for start, end in clipped):
        return None
    return WhenTruth(tuple(clipped), truth.start_s, truth.end_s)


def test_exercises_name_what_is_there_and_nothing_that_is_not(room: RoomShard) -> None:
    rng = np.random.default_rng(5)
    there, absent = 0, 0
    for index in range(len(room.images)):
        picture = picture_of(room, index, NANO.picture)
        for drill in of_picture(picture, 12, rng):
            objects = [s for s in picture.sights if s.thing.kind == "object"]
            meant = [s for s in objects if drill.name in _names_of(s.thing)]
            if drill.answer == (" not found",):
                assert not meant, drill
                absent += 1
            else:
                x0, y0, x1, y1 = (part for part in drill.answer if isinstance(part, int))
                (sight,) = meant
                assert box_iou((x0, y0, x1, y1), sight.box) >= 0.4, drill
                there += 1
    assert min(there, absent) >= 5


def test_exercises_about_a_walk_say_when_a_thing_is_first_and_last_clearly_seen(room: RoomShard) -> None:
    rng = np.random.default_rng(6)
    pictures = [picture_of(room, int(index), NANO.picture) for index in np.flatnonzero(room.keyframe)]
    for drill in of_walk(pictures, 24, rng):
        seen = [
            picture.seconds
            for picture in pictures
            if any(s.clear and s.thing.kind == "object" and drill.name in _names_of(s.thing) for s in picture.sights)
        ]
        said = [int(number) for number in re.findall(r"(\d+)s", "".join(map(str, drill.answer)))]
        assert said == sorted({round(seen[0]), round(seen[-1])} if seen else ()), drill
        assert bool(seen) == (drill.answer != (" not found",)), drill


def _names_of(thing: Thing) -> tuple[str, ...]:
    return thing.name, f"{thing.color} {thing.name}", f"{thing.color} object"


def test_a_thing_is_denied_only_where_the_picture_does_not_show_it(room: RoomShard) -> None:
    rng = np.random.default_rng(2)
    for index in range(len(room.images)):
        picture = picture_of(room, index, NANO.picture)
        names = {f"{sight.thing.color} {sight.thing.name}" for sight in picture.sights if sight.thing.kind == "object"}
        for exchange in where(picture, (), 12, rng):
            if isinstance(exchange.truth, WhereTruth) and exchange.truth.box is None:
                said = exchange.question.lower().rstrip("?.!")
                assert not any(said.endswith(f" {name}") for name in names), exchange


def test_even_a_picture_of_one_thing_has_something_to_deny() -> None:
    mug = Thing(1, "mug", "red", "object", -1, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    shown = np.full(NANO.picture, -1, np.int16)
    shown[50:120, 60:140] = 1
    picture = Picture(np.zeros((*NANO.picture, 3), np.uint8), 0.0, sights(shown, [mug]))
    (sight,) = picture.sights
    assert sight.box == (60.0, 50.0, 140.0, 120.0)
    assert sight.clear
    rng = np.random.default_rng(3)
    truths = [exchange.truth for _ in range(60) for exchange in where(picture, (), 4, rng)]
    boxes = [truth.box for truth in truths if isinstance(truth, WhereTruth)]
    assert set(boxes) == {None, sight.box}
