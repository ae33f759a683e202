from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.box_room import CAMERA, cast, frame_at, look, points_of

from scene_r1.frame import DepthRange
from scene_r1.reproject import reproject
from scene_r1_engines.errors import BadFrame, BadInput
from scene_r1_engines.intrinsics import Intrinsics

BALL = ((-0.2, 0.2, 0.8), (0.2, 0.6, 1.2))
SCREEN = ((-0.6, -0.3, 0.5), (0.6, -0.25, 1.5))
FRONT = look((0.1, -1.8, 1.1), (0.0, 0.4, 1.0))


def surface(boxes=(BALL,), at=FRONT, number=1):
    """World points of a box as one camera sees it, (N, 3) float32."""
    depth, which = cast(CAMERA, at, boxes)
    points = points_of(CAMERA, depth)[(which == number).ravel()]
    return (points @ at[:3, :3].T + at[:3, 3]).astype(np.float32)


POINTS = surface()


def iou(a, b):
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


@pytest.mark.parametrize("eye", [(0.1, -1.8, 1.1), (0.4, -1.6, 1.3), (-0.3, -1.2, 0.9)])
def test_an_object_in_plain_sight_is_visible_and_its_mask_covers_it(eye):
    at = look(eye, (0.0, 0.3, 1.0))
    frame = frame_at(0, at, boxes=(BALL,))
    sighting = reproject(POINTS, frame)
    _, which = cast(CAMERA, at, (BALL,))
    assert sighting.in_view == 1.0
    assert sighting.visible > 0.95
    assert sighting.hidden < 0.05
    assert sighting.mask.shape == (120, 160)
    assert sighting.mask.dtype == np.bool_
    front = iou(sighting.mask, which == 1)
    assert front > (0.9 if eye[0] == 0.1 else 0.6)
    x0, y0, x1, y1 = sighting.xyxy
    rows, columns = np.nonzero(sighting.mask)
    assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    prompt = sighting.prompt()
    assert prompt.xyxy == sighting.xyxy
    assert prompt.mask is sighting.mask


def test_few_points_of_an_object_still_cover_it():
    frame = frame_at(0, FRONT, boxes=(BALL,))
    some = POINTS[np.random.default_rng(0).random(len(POINTS)) < 0.15]
    _, which = cast(CAMERA, FRONT, (BALL,))
    assert iou(reproject(some, frame).mask, which == 1) > 0.75


def test_an_object_behind_a_screen_is_hidden():
    at = look((0.0, -1.8, 1.0), (0.0, 0.4, 1.0))
    frame = frame_at(0, at, boxes=(BALL, SCREEN))
    assert reproject(POINTS, frame) is None
    half = (((-0.6, -0.3, 0.5), (0.0, -0.25, 1.5)),)
    sighting = reproject(POINTS, frame_at(0, at, boxes=(BALL, *half)))
    assert sighting.in_view == 1.0
    assert sighting.hidden == pytest.approx(0.5, abs=0.08)
    assert sighting.visible == pytest.approx(0.5, abs=0.08)
    assert sighting.visible + sighting.hidden <= 1.0
    assert sighting.mask[:, : int(CAMERA.cx) - 2].sum() == 0


def test_an_object_half_out_of_the_picture_is_half_in_view():
    at = look((0.0, -1.0, 1.0), (0.0, 1.0, 1.0))
    T = at.copy()
    depth_of_front = 1.2
    T[:3, 3] += at[:3, 0] * (CAMERA.width - 0.5 - CAMERA.cx) / CAMERA.fx * depth_of_front
    sighting = reproject(surface(at=at), frame_at(0, T, boxes=(BALL,)))
    assert sighting.in_view == pytest.approx(0.5, abs=0.04)
    assert sighting.visible == pytest.approx(0.5, abs=0.06)
    assert sighting.xyxy[0] == 0.0


def test_an_object_that_was_taken_away_is_neither_visible_nor_hidden():
    assert reproject(POINTS, frame_at(0, FRONT, boxes=())) is None
    raw = frame_at(0, FRONT, boxes=()).depth_raw.copy()
    kept = frame_at(0, FRONT, boxes=(BALL,)).depth_raw
    raw[:, :80] = kept[:, :80]
    sighting = reproject(POINTS, replace(frame_at(0, FRONT, boxes=()), depth_raw=raw))
    assert sighting.hidden < 0.03
    assert 0.3 < 1.0 - sighting.visible - sighting.hidden < 0.7


def test_what_lies_behind_the_camera_is_not_seen():
    assert reproject(POINTS, frame_at(0, look((0.0, -1.0, 1.1), (0.0, -2.0, 1.0)), boxes=(BALL,))) is None


def test_a_second_camera_and_a_lens_are_gone_through():
    lens = replace(CAMERA, model="brown_conrady", coefficients=(0.08, -0.1, 0.001, -0.0005, 0.02))
    color = Intrinsics(210.0, 209.0, 118.0, 91.0, 240, 180, "inverse_brown_conrady", (0.05, -0.06, 0.0, 0.001, 0.01))
    T_color_depth = np.eye(4)
    T_color_depth[:3, 3] = (0.03, 0.002, -0.004)
    frame = frame_at(0, FRONT, color, lens, T_color_depth, boxes=(BALL,))
    sighting = reproject(POINTS, frame)
    _, which = cast(color, FRONT, (BALL,))
    assert sighting.mask.shape == (180, 240)
    assert sighting.visible > 0.95
    assert iou(sighting.mask, which == 1) > 0.85


def test_noise_of_the_depth_is_allowed_for():
    frame = frame_at(0, FRONT, boxes=(BALL,), noise=np.random.default_rng(4))
    assert reproject(POINTS, frame).visible > 0.9


@pytest.mark.parametrize("value", [0, 65535])
def test_without_depth_nothing_is_known_to_be_visible(value):
    frame = frame_at(0, FRONT, boxes=(BALL,))
    assert reproject(POINTS, replace(frame, depth_raw=np.full((120, 160), value, np.uint16))) is None


def test_depth_that_is_not_believed_shows_nothing():
    assert reproject(POINTS, frame_at(0, FRONT, boxes=(BALL,)), depth_range=DepthRange(0.2, 1.0)) is None


def test_fewer_points_than_asked_for_are_no_sighting():
    frame = frame_at(0, FRONT, boxes=(BALL,))
    assert reproject(POINTS[:29], frame) is None
    assert reproject(POINTS[:29], frame, fewest=1) is not None
    assert reproject(np.empty((0, 3), np.float32), frame, fewest=0) is None


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    fewest=st.sampled_from([1, 30]),
    nonsense=st.booleans(),
)
def test_any_points_from_any_pose_give_a_sighting_or_none(seed, scale, fewest, nonsense):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    T = np.eye(4)
    T[:3, :3] = q * np.sign(np.linalg.det(q))
    T[:3, 3] = rng.uniform(-2, 2, 3)
    points = (rng.normal(size=(int(rng.integers(0, 400)), 3)) * scale).astype(np.float32)
    if nonsense and len(points):
        points[rng.random(points.shape) < 0.2] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 0.0])
    frame = replace(BASE, T_world_camera=T)
    sighting = reproject(points, frame, fewest=fewest)
    if sighting is not None:
        assert 0.0 < sighting.visible <= sighting.in_view <= 1.0
        assert sighting.visible + sighting.hidden <= sighting.in_view + 1e-9
        x0, y0, x1, y1 = sighting.xyxy
        assert 0 <= x0 < x1 <= 160
        assert 0 <= y0 < y1 <= 120
        assert sighting.mask.any()


BASE = frame_at(0, FRONT, boxes=(BALL,))


@pytest.mark.parametrize("shape", [(10, 2), (30,), (3, 10), (0,), (5, 3, 3)])
def test_points_of_another_shape_are_refused(shape):
    with pytest.raises(BadInput, match=r"\(N, 3\)"):
        reproject(np.zeros(shape, np.float32), BASE)


def test_a_frame_without_a_pose_is_refused():
    with pytest.raises(BadFrame, match="pose is unknown"):
        reproject(POINTS, frame_at(0, FRONT, posed=False))
