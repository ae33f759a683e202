from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.textured_room import CAMERA, shot, swing

from scene_r1 import pose
from scene_r1.backproject.projector import RayTables
from scene_r1.frame import DepthRange
from scene_r1.tracking import twist
from scene_r1.tracking.visual.keyframe import MapKeyframe, corners, make_keyframe
from scene_r1.tracking.visual.link import Link
from scene_r1.tracking.visual.local_view import LocalView
from scene_r1.tracking.visual.patches import find_patches, patches_at
from scene_r1.tracking.visual.picture import Picture, picture_of
from scene_r1.tracking.visual.places import PlaceFinder
from scene_r1.tracking.visual.pose_graph import solve_graph
from scene_r1.tracking.visual.refine import refine
from scene_r1.tracking.visual.settings import VisualSettings
from scene_r1.tracking.visual.sparse_map import SparseMap
from scene_r1.tracking.visual.surface import STEP, surface_of

POSES = swing(4, 12.0, 0.15)
RANGE = DepthRange(0.25, 6.0)
numbers = st.floats(-1.0, 1.0, allow_nan=False)
twists = st.tuples(*[numbers] * 6).map(lambda t: np.array(t) * [1.0, 1.0, 1.0, 1.7, 1.7, 1.7])


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    rays = RayTables()
    return [picture_of(shot(i, T), RANGE, rays) for i, T in enumerate(POSES)]


def keyframe(number: int, picture: Picture, T: np.ndarray) -> MapKeyframe:
    surface = surface_of(picture.frame, RANGE, RayTables())
    place = PlaceFinder().place_of(picture)
    return make_keyframe(number, picture, surface, T, np.empty((0, 2)), place, VisualSettings())


@given(twists)
@settings(max_examples=60, deadline=None)
def test_the_logarithm_of_a_motion_is_the_twist_it_came_from(t: np.ndarray) -> None:
    T = twist.exp(t)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(twist.log(T), t, atol=1e-8)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, -0.6, 0.8), (-0.577, 0.577, 0.578)])
def test_half_a_turn_has_a_twist_of_that_angle(axis: tuple[float, ...]) -> None:
    w = np.pi * (1 - 1e-9) * np.array(axis) / np.linalg.norm(axis)
    back = twist.log(twist.exp(np.array([0.1, 0.2, 0.3, *w])))
    np.testing.assert_allclose(twist.exp(back), twist.exp(np.array([0.1, 0.2, 0.3, *w])), atol=1e-6)


@given(twists, twists)
@settings(max_examples=40, deadline=None)
def test_the_adjoint_carries_a_twist_from_one_frame_to_the_other(t: np.ndarray, small: np.ndarray) -> None:
    T, A = twist.exp(t), np.empty((6, 6))
    twist.adjoint(T, A)
    np.testing.assert_allclose(T @ twist.exp(small) @ pose.inverse(T), twist.exp(A @ small), atol=1e-8)


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_pose_is_found_again_from_landmarks_though_a_third_of_them_are_wrong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    T = twist.exp(rng.uniform(-0.5, 0.5, 6))
    p = np.column_stack([rng.uniform(-1, 1, (120, 2)), rng.uniform(1.0, 4.0, 120)])
    seen = p[:, :2] / p[:, 2:] + rng.normal(0.0, 0.5 / 500, (120, 2))
    seen[:40] += rng.uniform(0.02, 0.2, (40, 2))
    depth = np.where(rng.random(120) < 0.5, p[:, 2] + rng.normal(0.0, 0.005, 120), 0.0)
    start = T @ twist.exp(rng.normal(0.0, 0.01, 6))
    found = refine(start, pose.apply(T, p), seen, np.full(120, 0.7 / 500), depth, np.full(120, 0.01))
    assert np.linalg.norm(found.T_world_camera[:3, 3] - T[:3, 3]) < 0.006
    assert pose.angle_deg(found.T_world_camera, T) < 0.15
    assert not found.inlier[:40].any()
    assert found.inlier[40:].mean() > 0.95


def test_depth_alone_lays_one_surface_onto_another(pictures: list[Picture]) -> None:
    reference = surface_of(pictures[0].frame, RANGE, RayTables())
    start = POSES[1] @ twist.exp(np.array([0.01, -0.01, 0.015, 0.004, -0.005, 0.006]))
    none = (np.empty((0, 3)), np.empty((0, 2)), np.empty(0))
    found = refine(
        start, *none, points=pictures[1].depth_points(), reference=reference, T_world_reference=POSES[0],
        plane_weight=1.0, steps=15,
    )  # fmt: skip
    assert found.plane_share > 0.9
    assert np.linalg.norm(found.T_world_camera[:3, 3] - POSES[1][:3, 3]) < 0.006
    assert pose.angle_deg(found.T_world_camera, POSES[1]) < 0.25


def test_a_surface_lies_where_the_depth_says_and_faces_the_camera(pictures: list[Picture]) -> None:
    surface = surface_of(pictures[0].frame, RANGE, RayTables())
    known = np.isfinite(surface.normals[..., 0])
    assert known.mean() > 0.5
    n, p = surface.normals[known], surface.points[known]
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1.0, atol=1e-5)
    assert ((n * p).sum(axis=1) < 0.0).all()
    rows, columns = np.nonzero(known)
    centre = np.stack([columns, rows], axis=1) * STEP + 0.5 * (STEP - 1)
    np.testing.assert_allclose(CAMERA.project(p), centre, atol=0.02)


def test_a_patch_is_found_to_a_tenth_of_a_pixel_when_the_light_has_changed() -> None:
    grey = shot(0, POSES[0]).color[..., 0]
    brighter = np.clip(1.2 * grey.astype(float) + 12.0, 0, 255).astype(np.uint8)
    v, u = np.mgrid[40:200:20, 40:280:20]
    pixels = np.stack([u.ravel(), v.ravel()], axis=1).astype(float)
    warps = np.tile(np.eye(2), (len(pixels), 1, 1))
    off = np.random.default_rng(0).uniform(-1.0, 1.0, pixels.shape)
    found, score = find_patches(brighter, patches_at(grey, pixels), warps, pixels + off, steps=15)
    good = score > 0.9
    assert good.mean() > 0.7
    assert np.median(np.abs(found - pixels)[good]) < 0.05
    assert (np.abs(found - pixels)[good].max(axis=1) < 0.1).mean() > 0.9


def test_a_patch_that_would_lie_outside_is_not_found_and_nothing_is_read_there() -> None:
    grey = shot(0, POSES[0]).color[..., 0].copy()
    start = np.array([[-50.0, 10.0], [1e9, 5.0], [np.nan, 4.0], [0.0, 0.0], [319.0, 239.0]])
    patches = patches_at(grey, np.full((5, 2), 60.0))
    _, score = find_patches(grey, patches, np.tile(np.eye(2), (5, 1, 1)), start)
    assert (score == 0.0).all()
    _, score = find_patches(grey, patches, np.full((5, 2, 2), np.nan), np.full((5, 2), 60.0))
    assert (score == 0.0).all()


def test_new_corners_keep_away_from_those_there_are(pictures: list[Picture]) -> None:
    first = corners(pictures[0], np.empty((0, 2)), 60)
    second = corners(pictures[0], first, 200)
    assert len(first) == 60
    assert not {tuple(p) for p in first} & {tuple(p) for p in second}


def test_landmarks_are_expected_where_they_are_seen(pictures: list[Picture]) -> None:
    view = LocalView([keyframe(0, pictures[0], POSES[0])])
    expected = view.expected(POSES[2], CAMERA, 300)
    found, score = find_patches(
        pictures[2].grey, view.patches[expected.rows], expected.warps, expected.pixels, steps=12
    )  # fmt: skip
    good = score > 0.8
    assert good.mean() > 0.7
    assert np.median(np.abs(found - expected.pixels)[good]) < 0.5


def test_a_place_is_recognised_from_another_side_and_another_room_is_not(pictures: list[Picture]) -> None:
    finder = PlaceFinder()
    known, seen = finder.place_of(pictures[0]), finder.place_of(pictures[3])
    T_known_seen = finder.match(known, seen)
    assert T_known_seen is not None
    T = POSES[0] @ T_known_seen
    assert np.linalg.norm(T[:3, 3] - POSES[3][:3, 3]) < 0.05
    strange = finder.place_of(picture_of(shot(9, POSES[0], texture=0.37), RANGE, RayTables()))
    assert finder.match(known, strange) is None


def test_a_square_of_keyframes_that_does_not_close_is_made_to_close() -> None:
    side = twist.exp(np.array([1.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2]))
    drifted = side @ twist.exp(np.array([0.02, 0.01, 0.0, 0.0, 0.01, 0.03]))
    poses = {0: np.eye(4)}
    for i in range(3):
        poses[i + 1] = poses[i] @ drifted
    information = np.diag([1e4] * 3 + [4e4] * 3)
    links = [Link(i, i + 1, drifted, information) for i in range(3)] + [Link(3, 0, side, 1e3 * information)]
    solved = solve_graph(poses, links, fixed=0)
    np.testing.assert_array_equal(solved[0], np.eye(4))
    closing = twist.log(pose.inverse(side) @ pose.inverse(solved[3]) @ solved[0])
    before = twist.log(pose.inverse(side) @ pose.inverse(poses[3]) @ poses[0])
    assert np.linalg.norm(closing) < 0.01 * np.linalg.norm(before)
    unlinked = solve_graph(poses, [Link(7, 8, side, information)], fixed=0)
    assert all((unlinked[i] == poses[i]).all() for i in poses)


def test_the_keyframe_that_adds_least_goes_and_its_anchor_hangs_on_its_neighbour(pictures: list[Picture]) -> None:
    one = keyframe(0, pictures[0], np.eye(4))
    held = SparseMap(3, anchors=2)
    places = {0: 0.0, 1: 1.0, 2: 1.1, 3: 3.0, 4: 3.05, 5: 3.5}
    gone = []
    for number, x in places.items():
        T = np.eye(4)
        T[0, 3] = x
        fields = {name: getattr(one, name) for name in MapKeyframe.__slots__ if name not in ("id", "T_world_camera")}
        out = held.insert(MapKeyframe(id=number, T_world_camera=T, **fields))
        gone += [] if out is None else [out.id]
    assert len(gone) == 3
    assert gone[0] == 2  # of the near pair 1 and 2 the older stays
    assert len(held) == 3
    for number in gone[-2:]:
        T_world_anchor = held.T_world_anchor(number)
        assert T_world_anchor is not None
        assert T_world_anchor[0, 3] == pytest.approx(places[number])
    assert held.T_world_anchor(gone[0]) is None  # more than the two anchors that are kept
    for one in held:
        one.T_world_camera = twist.exp(np.array([0.0, 0.5, 0.0, 0.0, 0.0, 0.0])) @ one.T_world_camera
    moved = held.T_world_anchor(gone[-1])
    assert moved is not None
    assert moved[1, 3] == pytest.approx(0.5)  # it goes where its neighbour goes
