"""The light of synthetic rooms: colours that people name right, lamps that light, and linear light to build on."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from scene_r1.rooms import Room, camera_path, make_room, realsense_cameras, render, survey, visibility
from scene_r1.rooms.model.material import COLORS, PATTERNS, Material
from scene_r1.rooms.model.room import MOODS, Window
from scene_r1.rooms.render.pattern import pattern
from scene_r1.rooms.render.render import developed, even_gain, render_linear, stage_of
from scene_r1.rooms.render.shade import sun_on
from scene_r1.rooms.render.stage import baked_light, unhidden_sun
from scene_r1_engines.errors import BadInput

pytest.importorskip("embreex")
SIZE = (160, 120)
CAMERA = realsense_cameras(SIZE, one_camera=True)[0]
LIGHT = st_numpy.arrays(np.float32, (3, 4, 3), elements=st.floats(0.0, 100.0, width=32))


def room_in(mood: str) -> Room:
    return next(room for room in map(make_room, range(30)) if room.mood == mood)


@pytest.fixture(scope="module")
def rooms() -> dict[str, Room]:
    return {mood: room_in(mood) for mood in MOODS}


def look(color: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """An sRGB colour where hue, saturation and (for less) brightness are distances: what it is called is nearest."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) / 255.0 for c in color))
    turn = 2.0 * np.pi * hue
    return np.array([saturation * np.cos(turn), saturation * np.sin(turn), 0.6 * value])


@pytest.mark.parametrize("mood", MOODS)
def test_objects_have_the_colour_that_they_are_called_by_in_any_light(rooms: dict[str, Room], mood: str) -> None:
    room = rooms[mood]
    total: dict[int, np.ndarray] = {}
    for T in camera_path(room, 20, rate_hz=1.0):
        view = render(room, T, CAMERA)
        for thing in room.objects:
            pixels = view.color[view.mask(thing.id)].astype(np.float64)
            if len(pixels) > 40:
                total[thing.id] = total.get(thing.id, 0.0) + np.append(pixels.sum(axis=0), len(pixels))
    names = list(COLORS)
    wrong = []
    for id, summed in total.items():
        mean = look(summed[:3] / summed[3])
        nearest = names[int(np.argmin([np.linalg.norm(mean - look(COLORS[name])) for name in names]))]
        if nearest != room.object(id).color:
            wrong.append(f"{room.object(id).name} looks {nearest}")
    assert len(total) >= 7
    assert len(wrong) <= 0.15 * len(total), f"room {room.seed}: {wrong}"


def test_at_least_six_objects_are_seen_well_from_the_walk_around_the_table(rooms: dict[str, Room]) -> None:
    for room in rooms.values():
        seen = visibility(room, camera_path(room, 40, rate_hz=2.0), realsense_cameras((320, 240)))
        assert sum(v.fraction >= 0.5 and v.nearest_m < 2.5 for v in seen) >= 6, f"room {room.seed}"


def test_pictures_are_evenly_exposed_in_any_light(rooms: dict[str, Room]) -> None:
    for room in rooms.values():
        pictures = np.stack([render(room, T, CAMERA).color for T in camera_path(room, 8, rate_hz=0.4)])
        assert 80 < pictures.mean() < 190, f"room {room.seed}, {room.mood}"
        assert pictures.std() > 25
        assert np.mean(np.all(pictures > 250, axis=3)) < 0.2, "not washed out"
        assert np.mean(np.all(pictures < 8, axis=3)) < 0.05, "nor drowned"


def test_evenings_are_darker_than_days_before_exposure(rooms: dict[str, Room]) -> None:
    assert even_gain(rooms["evening"]) > 1.5 * even_gain(rooms["bright day"])
    assert rooms["evening"].lamps
    assert max(rooms["bright day"].window.sun_light) > 0.0
    assert max(rooms["overcast"].window.sun_light) == max(rooms["evening"].window.sun_light) == 0.0


def test_render_is_linear_light_developed_evenly(rooms: dict[str, Room]) -> None:
    room = rooms["bright day"]
    T = camera_path(room, 1)[0]
    cameras = realsense_cameras(SIZE)
    linear, truth = render_linear(room, T, *cameras)
    view, alone = render(room, T, *cameras), survey(room, T, *cameras)
    assert linear.shape == (120, 160, 3)
    assert linear.dtype == np.float32
    assert np.all(linear >= 0.0)
    assert np.isfinite(linear).all()
    np.testing.assert_array_equal(developed(linear, even_gain(room)), view.color)
    for other in (view, alone):
        np.testing.assert_array_equal(truth.instance, other.instance)
        np.testing.assert_array_equal(truth.depth_m, other.depth_m)


@given(LIGHT, st.floats(0.01, 50.0))
@settings(max_examples=60, deadline=None)
def test_more_light_or_more_gain_is_never_darker_and_they_are_the_same_thing(linear: np.ndarray, gain: float) -> None:
    picture = developed(linear, gain)
    assert picture.dtype == np.uint8
    assert np.all(developed(linear, 2.0 * gain) >= picture)
    twice = developed(np.float32(2.0) * linear, gain).astype(int)
    assert np.abs(twice - developed(linear, 2.0 * gain)).max() <= 1
    assert not developed(np.zeros_like(linear), gain).any()


def test_negative_light_and_light_that_is_no_number_are_black_and_endless_light_is_white() -> None:
    linear = np.array([[[-1.0, np.nan, np.inf], [-np.inf, 1e30, 0.0]]], np.float32)
    assert developed(linear, 1.0).tolist() == [[[0, 0, 255], [0, 255, 0]]]


@pytest.mark.parametrize("gain", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_gains_are_refused(gain: float) -> None:
    with pytest.raises(BadInput, match="gain"):
        developed(np.zeros((2, 2, 3), np.float32), gain)


@pytest.mark.parametrize("linear", [np.zeros((2, 3), np.float32), np.zeros((2, 2, 4), np.float32), np.zeros((2, 2, 3))])
def test_light_of_another_shape_or_type_is_refused(linear: np.ndarray) -> None:
    with pytest.raises(BadInput, match="linear light must be"):
        developed(linear, 1.0)


def test_a_lamp_that_is_switched_off_leaves_less_light_everywhere(rooms: dict[str, Room]) -> None:
    room = rooms["evening"]
    on = baked_light(stage_of(room))
    off = baked_light(stage_of(replace(room, lamps=())))
    assert on.shape == (*stage_of(room).vertices.shape[:1], 3)
    assert np.all(off <= on + 1e-6)
    assert off.mean() < 0.3 * on.mean()


def test_the_sun_reaches_the_floor_through_the_window_but_not_under_the_table(rooms: dict[str, Room]) -> None:
    room = rooms["bright day"]
    bright, dull = (render_linear(r, camera_path(room, 1)[0], CAMERA)[0] for r in (room, overcast(room)))
    assert np.all(bright >= dull - 1e-4), "without the sun no place is brighter"
    scene = stage_of(room)
    table = room.furniture[0].box
    below = np.array([[*table.center[:2], table.high[2] - down] for down in (0.05, 0.1, 0.15)])
    up = np.tile([0.0, 0.0, 1.0], (3, 1))
    assert np.all(unhidden_sun(scene, below, up) == 0.0)
    share = np.zeros(len(scene.vertices))
    sun_on(scene.vertices, scene.normals, scene.sun, share)
    lit = np.flatnonzero(share > 0.1)
    on_floor = lit[scene.vertices[lit, 2] == 0.0]
    assert unhidden_sun(scene, scene.vertices[on_floor], scene.normals[on_floor]).max() == 1.0


def overcast(room: Room) -> Room:
    w = room.window
    dull = Window(w.center, w.along, w.inward, w.half, w.to_sun, (0.0, 0.0, 0.0), w.sky_light)
    return replace(room, window=dull)


@given(
    st.sampled_from(PATTERNS),
    st.tuples(*[st.floats(-5.0, 5.0)] * 3),
    st.floats(0.0001, 0.05),
    st.floats(0.003, 0.5),
)
@settings(max_examples=300, deadline=None)
def test_every_pattern_has_a_sane_mix_and_tone_everywhere(
    name: str, at: tuple[float, float, float], footprint: float, scale_m: float
) -> None:
    row = Material(name, (200, 40, 40), (250, 250, 250), scale_m, region=(-6.0, -6.0, 6.0, 6.0)).row()
    mix, tone = pattern(row, *at, footprint)
    assert 0.0 <= mix <= 1.0 or (mix == 2.0 and name in ("wall", "brick", "wallpaper"))
    assert 0.2 < tone < 3.0


@pytest.mark.parametrize("name", ["stripes", "dots", "zigzag", "plaid", "weave", "plain"])
def test_patterns_of_objects_leave_most_to_the_colour_they_are_called_by(name: str) -> None:
    row = Material(name, (200, 40, 40), (250, 250, 250), 0.05).row()
    rng = np.random.default_rng(0)
    mixes = [pattern(row, *at, 0.001)[0] for at in rng.uniform(-1.0, 1.0, (4000, 3))]
    assert np.mean(mixes) < 0.36
