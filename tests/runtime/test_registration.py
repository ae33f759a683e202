from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.runtime.box_room import CAMERA, cast, frame_at, look, points_of

from scene_r1 import pose
from scene_r1.frame import DepthRange
from scene_r1.registration import registered_depth, view_of
from scene_r1_engines.errors import BadFrame
from scene_r1_engines.intrinsics import Intrinsics

DEPTH = Intrinsics(100.0, 100.0, 80.2, 60.1, 160, 120)
COLOR = Intrinsics(160.0, 159.0, 118.0, 91.0, 240, 180)
LENS = (0.08, -0.1, 0.001, -0.0005, 0.02)


def beside(x=0.03, turn_deg=0.5):
    """T_color_depth of a depth camera to the side of the colour camera, turned a little."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(np.radians(turn_deg) * np.array([0.3, 1.0, -0.2])).as_matrix()
    T[:3, 3] = (x, 0.002, -0.004)
    return T


def two_cameras(color=COLOR, depth=DEPTH, T=None, at=None):
    T_world_camera = look((0.3, -1.5, 1.5), (-0.1, 1.0, 0.6)) if at is None else at
    return frame_at(0, T_world_camera, color, depth, beside() if T is None else T)


def steep(depth):
    """Pixels beside a step of depth, where half a pixel decides."""
    ratio = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis)) > 0.08 * depth.min()
        grown = np.zeros(depth.shape, bool)
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(0, -1), slice(1, None)
        grown[tuple(first)] |= step
        grown[tuple(second)] |= step
        ratio |= grown
    out = ratio.copy()
    for dv in (-3, -2, -1, 0, 1, 2, 3):
        for du in (-3, -2, -1, 0, 1, 2, 3):
            out |= np.roll(ratio, (dv, du), axis=(0, 1))
    return out


@pytest.mark.parametrize("model", ["none", "brown_conrady", "inverse_brown_conrady"])
def test_registered_depth_is_what_the_colour_camera_would_measure(model):
    color = replace(COLOR, model=model, coefficients=(0.0,) * 5 if model == "none" else LENS)
    frame = two_cameras(color)
    truth, _ = cast(color, frame.T_world_camera)
    registered = registered_depth(frame)
    known = registered > 0
    assert registered.dtype == np.float32
    assert registered.shape == (180, 240)
    flat = known & ~steep(truth)
    error = np.abs(registered - truth)[flat]
    # a pixel and a half on the floor seen at a slant is the most that two roundings of the position may cost
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.99) < 0.06
    assert flat.mean() > 0.6


def test_a_distorted_depth_camera_is_registered_through_its_own_rays():
    frame = two_cameras(depth=replace(DEPTH, model="brown_conrady", coefficients=LENS))
    truth, _ = cast(COLOR, frame.T_world_camera)
    registered = registered_depth(frame)
    flat = (registered > 0) & ~steep(truth)
    assert np.median(np.abs(registered - truth)[flat]) < 0.01


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.4, 2.0, 3.0, 3.3])
@pytest.mark.parametrize("x", [-0.05, 0.03])
def test_a_surface_has_no_holes_however_many_pixels_colour_has(ratio, x):
    color = Intrinsics(100.0 * ratio, 100.0 * ratio, 80 * ratio, 60 * ratio, int(160 * ratio), int(120 * ratio))
    frame = two_cameras(color, T=beside(x))
    registered = registered_depth(frame)
    truth, which = cast(color, frame.T_world_camera)
    points = points_of(color, truth)
    pixel = DEPTH.project(pose.apply(pose.inverse(frame.T_color_depth), points)).reshape(*truth.shape, 2)
    covered = ((pixel > 1) & (pixel < (158, 118))).all(axis=2)
    covered[:, :4] = covered[:, -4:] = False  # there a depth pixel's middle may lie outside of the colour image
    inside = covered & ~steep(truth) & (which == 0)
    hidden_from_depth = _hidden(frame, points, pixel).reshape(truth.shape)
    assert inside.sum() > 0.2 * inside.size
    assert np.count_nonzero(inside & ~hidden_from_depth & (registered == 0)) <= 1


def test_the_nearest_of_two_surfaces_wins():
    """From beside, the colour camera sees a box in front of wall that the depth camera sees past it."""
    at = look((0.0, -1.5, 1.0), (0.0, 2.0, 1.0))
    post = (((-0.15, -0.6, 0.0), (0.15, -0.4, 2.0)),)
    frame = frame_at(0, at, COLOR, DEPTH, beside(0.25, 0.0), boxes=post)
    truth, which = cast(COLOR, at, post)
    registered = registered_depth(frame)
    on_post = (which == 1) & ~steep(truth) & (registered > 0)
    assert on_post.sum() > 500
    assert np.abs(registered - truth)[on_post].max() < 0.03
    shadow = (which == 0) & ~steep(truth)
    assert 0.02 < np.mean(registered[shadow] == 0) < 0.5
    seen = shadow & (registered > 0)
    # never the wall through the post; of the wall itself nothing nearer than it is
    assert np.mean(np.abs(registered - truth)[seen] < 0.1) > 0.999


def test_one_camera_gives_its_own_depth():
    frame = frame_at(3, look((0.3, -1.5, 1.5), (-0.1, 1.0, 0.6)))
    view = view_of(frame)
    assert np.array_equal(view.depth_m, frame.depth_m)
    assert view.image is frame.color
    assert view.id == 3
    assert view_of(frame, 9).id == 9
    assert np.array_equal(view.T_world_camera, frame.T_world_camera)


def test_two_identical_cameras_at_one_place_give_the_same_depth():
    frame = frame_at(0, look((0.3, -1.5, 1.5), (-0.1, 1.0, 0.6)), CAMERA, CAMERA, np.eye(4))
    assert np.array_equal(registered_depth(frame), frame.depth_m)


def test_a_view_without_a_pose_is_a_view_all_the_same():
    frame = frame_at(0, look((0.3, -1.5, 1.5), (-0.1, 1.0, 0.6)), COLOR, DEPTH, beside(), posed=False)
    view = view_of(frame)
    assert view.T_world_camera is None
    assert (view.depth_m > 0).mean() > 0.5


@pytest.mark.parametrize("value", [0, 65535])
def test_no_returns_register_as_nothing(value):
    frame = two_cameras()
    empty = replace(frame, depth_raw=np.full(frame.depth_raw.shape, value, np.uint16))
    assert not registered_depth(empty).any()


def test_only_believed_depth_is_registered():
    registered = registered_depth(two_cameras(), DepthRange(0.5, 2.0))
    assert 0 < registered.max() <= 2.05
    with pytest.raises(BadFrame):
        DepthRange(2.0, 0.5)


def _hidden(frame, points, pixel):
    """Points of the colour image that something nearer hides from the depth camera, or that a step leaves in doubt."""
    measured, _ = cast(frame.depth_intrinsics, frame.T_world_depth)
    z = pose.apply(pose.inverse(frame.T_color_depth), points)[:, 2]
    u, v = np.clip(np.rint(np.nan_to_num(pixel.reshape(-1, 2))), 0, (159, 119)).astype(int).T
    return (np.abs(measured[v, u] - z) > 0.05 * z) | steep(measured)[v, u]
