"""A camera in a hand: its walk stays within a person's bounds, and its pictures are what light, time and noise make."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene_r1 import pose
from scene_r1.rooms import Room, SyntheticRecording, camera_path, make_room, realsense_cameras, render
from scene_r1.rooms.capture.photo import (
    LONGEST_S,
    STOPS,
    Exposure,
    automatic_exposure,
    blurred,
    exposed,
)
from scene_r1.rooms.capture.walk import SPEED_M_S, TURN_RAD_S, hand_held
from scene_r1.rooms.render.render import developed, even_gain, render_linear
from scene_r1_engines.errors import BadInput

SMALL = (160, 120)
CAMERA = realsense_cameras(SMALL)[0]


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [make_room(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def recording() -> SyntheticRecording:
    pytest.importorskip("embreex")
    return SyntheticRecording(3, 40, SMALL, rate_hz=4.0, noise_scale=0.25)


def test_every_walk_stays_within_a_persons_speed_and_turn_and_height(rooms: list[Room]) -> None:
    for room in rooms:
        walk = hand_held(room, 900, seed=room.seed % 2, rate_hz=30.0)
        at = walk.poses[:, :3, 3]
        assert np.linalg.norm(np.diff(at[:, :2], axis=0), axis=1).max() * 30.0 < 2.0 * SPEED_M_S
        assert np.median(np.linalg.norm(walk.turning, axis=1)) < TURN_RAD_S
        assert np.linalg.norm(walk.turning, axis=1).max() < 5.0 * TURN_RAD_S
        assert at[:, 2].min() > 1.15
        assert at[:, 2].max() < 1.85
        assert not room.inside_things(at, 0.05).any()


def test_walks_differ_in_direction_and_height_and_stand_still_now_and_then(rooms: list[Room]) -> None:
    directions, heights, pauses = set(), [], 0
    for room in rooms:
        for seed in range(3):
            at = camera_path(room, 150, seed, rate_hz=5.0)[:, :3, 3]
            middle = room.furniture[0].box.center[:2]
            bearing = np.unwrap(np.arctan2(at[:50, 1] - middle[1], at[:50, 0] - middle[0]))
            directions.add(bool(bearing[-1] > bearing[0]))
            heights.append(float(np.median(at[:, 2])))
            speed = np.linalg.norm(np.diff(at, axis=0), axis=1) * 5.0
            pauses += int(np.any(speed[3:-3] < 0.06))
    assert directions == {False, True}
    assert np.ptp(heights) > 0.1
    assert 3 <= pauses <= 17, "some walks pause, and not all"


def test_some_walks_look_back_at_what_they_have_seen(rooms: list[Room]) -> None:
    revisits = 0
    for room in rooms:
        poses = camera_path(room, 150, 0, rate_hz=5.0)
        for thing in room.objects:
            to = thing.box.center - poses[:, :3, 3]
            cos = np.einsum("ij,ij->i", to, poses[:, :3, 2]) / np.linalg.norm(to, axis=1)
            inside = np.flatnonzero(cos > np.cos(np.radians(15.0)))
            revisits += int(np.any(np.diff(inside) > 15))  # out of the middle for 3 s, and in it again
    assert revisits >= 3


def test_a_longer_walk_begins_as_a_shorter_one_until_shortly_before_its_end(rooms: list[Room]) -> None:
    short, long = hand_held(rooms[1], 90), hand_held(rooms[1], 200)
    np.testing.assert_allclose(short.poses, long.poses[:90], atol=1e-9)
    np.testing.assert_allclose(short.turning, long.turning[:90], atol=1e-6)


def test_turning_is_how_fast_the_poses_turn(rooms: list[Room]) -> None:
    walk = hand_held(rooms[0], 120, rate_hz=120.0)
    degrees = [pose.angle_deg(a, b) for a, b in pairwise(walk.poses)]
    between = np.degrees(np.linalg.norm(walk.turning, axis=1)) / 120.0
    assert np.corrcoef(degrees, 0.5 * (between[1:] + between[:-1]))[0, 1] > 0.9
    assert np.mean(degrees) == pytest.approx(np.mean(between), rel=0.1)


def test_blur_is_the_mean_of_what_a_turning_camera_sees(recording: SyntheticRecording) -> None:
    T, turning, exposure_s = recording.poses[5], np.array([0.25, -0.9, 0.3]), 0.05
    linear, _ = render_linear(recording.room, T, CAMERA)
    rendered = []
    for t in (np.arange(9) + 0.5) / 9 - 0.5:
        turned = T.copy()
        turned[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(t * exposure_s * turning).as_matrix()
        rendered.append(render_linear(recording.room, turned, CAMERA)[0])
    truth = np.mean(rendered, axis=0)
    got = blurred(linear, CAMERA, turning, exposure_s)
    inner = (slice(10, -10), slice(14, -14))  # what comes in at the border is not in the picture
    off = np.abs(got - truth)[inner].mean()
    assert off < 0.35 * np.abs(linear - truth)[inner].mean()
    backwards = blurred(linear, CAMERA, np.array([0.25, 0.9, 0.3]), exposure_s)
    assert off < 0.5 * np.abs(backwards - truth)[inner].mean()


@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5), st.floats(0.002, LONGEST_S))
@settings(max_examples=25, deadline=None)
def test_a_point_of_light_is_smeared_as_far_as_it_moves_and_no_light_is_lost(x: float, y: float, open_s: float) -> None:
    linear = np.zeros((SMALL[1], SMALL[0], 3), np.float32)
    linear[60, 80] = 100.0
    out = blurred(linear, CAMERA, np.array([x, y, 0.0]), open_s)
    assert out.sum() == pytest.approx(300.0, rel=0.1)
    rows, columns = np.nonzero(out[:, :, 0] > 1e-3)
    for span, speed in ((np.ptp(columns), y), (np.ptp(rows), x)):
        assert abs(span - CAMERA.fx * abs(speed) * open_s) <= 2.5


def test_a_camera_at_rest_does_not_blur() -> None:
    linear = np.random.default_rng(0).random((SMALL[1], SMALL[0], 3), np.float32)
    assert blurred(linear, CAMERA, np.zeros(3), LONGEST_S) is linear


def test_looking_at_a_window_darkens_the_room_and_the_exposure_lags() -> None:
    brightness = np.full(120, 0.3)
    brightness[40:80] = 1.2
    one = automatic_exposure(brightness, 2.0, 10.0, (0, 0))
    assert one.gain[0] == pytest.approx(2.0)
    assert one.gain[39] == pytest.approx(2.0)
    assert 1.0 < one.gain[40] < 2.0, "not at once"
    assert np.all(np.diff(one.gain[39:80]) < 0.0)
    assert one.gain[79] == pytest.approx(2.0 * 0.25**0.7, rel=0.01)
    assert one.gain[80] < 1.2, "a moment in the dark"
    assert one.gain[119] == pytest.approx(2.0, rel=0.01)


def test_a_dark_room_is_exposed_longer_and_then_amplified() -> None:
    bright, dim, dark = (automatic_exposure(np.full(5, 0.3), gain, 10.0, (0, 0)) for gain in (1.0, 3.0, 30.0))
    assert bright.exposure_s[0] < dim.exposure_s[0] < dark.exposure_s[0] == LONGEST_S
    assert bright.amplified[0] == dim.amplified[0] == 1.0
    assert dark.amplified[0] > 2.0


@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=50), st.floats(0.1, 1000.0), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_exposure_is_bounded_whatever_the_light(light: list[float], rate_hz: float, seed: int) -> None:
    one = automatic_exposure(np.array(light), 2.0, rate_hz, (seed, 0))
    assert np.all(np.abs(np.log2(one.gain / 2.0)) <= STOPS + 1e-9)
    assert np.all((one.exposure_s > 0.0) & (one.exposure_s <= LONGEST_S))
    assert np.all(one.amplified >= 1.0)
    assert np.all(np.abs(one.white - 1.0) < 0.1)


@pytest.mark.parametrize(
    ("brightness", "gain"),
    [(np.zeros(0), 1.0), (np.array([np.nan]), 1.0), (np.array([-1.0]), 1.0), (np.ones((2, 2)), 1.0), (np.ones(3), 0.0)],
)
def test_light_that_cannot_be_is_refused(brightness: np.ndarray, gain: float) -> None:
    with pytest.raises(BadInput):
        automatic_exposure(brightness, gain, 10.0, (0, 0))


def test_noise_grows_with_light_and_with_amplification() -> None:
    def spread(light: float, amplified: float) -> float:
        one = Exposure(np.ones(1), np.full(1, 0.01), np.full(1, amplified), np.ones((1, 3)), 0.0)
        flat = np.full((120, 160, 3), light, np.float32)
        out = exposed(flat, one, 0, np.random.default_rng(0))
        assert float(out.mean()) == pytest.approx(light, abs=0.002)
        return float(out.std())

    assert spread(0.8, 1.0) == pytest.approx(2.0 * spread(0.2, 1.0), rel=0.05), "shot noise: the root of the light"
    assert spread(0.2, 4.0) == pytest.approx(2.0 * spread(0.2, 1.0), rel=0.15), "and some noise of reading"
    assert 0.0 < spread(0.0, 1.0) < 0.3 * spread(0.2, 1.0)


def test_corners_are_darker_than_the_middle_and_white_is_not_quite_steady() -> None:
    one = automatic_exposure(np.full(60, 0.3), 1.0, 6.0, (1, 0))
    out = exposed(np.full((120, 160, 3), 0.5, np.float32), one, 0, np.random.default_rng(0))
    corner, middle = out[:8, :8].mean(), out[56:64, 76:84].mean()
    assert 1.0 - one.vignette - 0.01 < corner / middle < 1.0 - 0.8 * one.vignette
    assert 0.002 < np.std(one.white[:, 0]) < 0.05
    assert np.all(one.white[:, 1] == 1.0)
    assert np.abs(np.diff(one.white, axis=0)).max() < 0.01, "it drifts, it does not flicker"


def test_without_noise_the_picture_is_sharp_and_evenly_exposed(recording: SyntheticRecording) -> None:
    exact = SyntheticRecording(3, 40, SMALL, rate_hz=4.0, noise=False)
    for index in (0, 7):
        view = render(exact.room, exact.poses[index], *exact.cameras)
        np.testing.assert_array_equal(exact.frame(index).color, view.color)
    linear, _ = render_linear(exact.room, exact.poses[0], *exact.cameras)
    np.testing.assert_array_equal(developed(linear, even_gain(exact.room)), exact.frame(0).color)


def test_a_frame_is_the_same_in_any_order_and_from_a_recording_opened_again(recording: SyntheticRecording) -> None:
    late, early = recording.frame(20), recording.frame(2)
    again = SyntheticRecording(3, 40, SMALL, rate_hz=4.0, noise_scale=0.25)
    for frame, other in ((early, again.frame(2)), (late, again.frame(20))):
        np.testing.assert_array_equal(frame.color, other.color)
        np.testing.assert_array_equal(frame.depth_raw, other.depth_raw)
    in_order = [frame for frame, _ in zip(again.frames(), range(3), strict=False)]
    np.testing.assert_array_equal(in_order[2].color, early.color)


def test_a_shot_is_a_frame_and_the_truth_about_it(recording: SyntheticRecording) -> None:
    frame, truth = recording.shot(4)
    np.testing.assert_array_equal(frame.color, recording.frame(4).color)
    np.testing.assert_array_equal(truth.instance, recording.truth(4).instance)
    np.testing.assert_array_equal(truth.depth_m, recording.truth(4).depth_m)


def test_pictures_of_a_phone_differ_from_ideal_ones_by_little_more_than_blur_and_grain(
    recording: SyntheticRecording,
) -> None:
    exact = SyntheticRecording(3, 40, SMALL, rate_hz=4.0, noise=False)
    off = [
        np.abs(recording.frame(i).color.astype(float) - exact.frame(i).color.astype(float)).mean()
        for i in range(0, 40, 8)
    ]
    assert 1.0 < np.median(off) < 30.0
    assert max(off) < 70.0
