"""The lift's parts: the plane below, the spread, and the voxel kernels against plain twins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csgraph
from scipy.spatial.transform import Rotation
from tests.runtime.analytic_scene import CAMERA, NOISE, TABLE, Block, around, looking, seen, with_depth

from scene_r1 import pose
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.lift import MaskedView
from scene_r1.lift.grid import VoxelGrid
from scene_r1.lift.spread import disagreement, jackknife, percentile_box
from scene_r1.lift.support import fit_plane, ring
from scene_r1_engines.intrinsics import Intrinsics

CRATE = Block((-0.1, -0.07, 0.0), (0.1, 0.07, 0.15))


# --- the plane below -------------------------------------------------------------------------------------------------


def ring_points(view: MaskedView) -> NDArray[np.float64]:
    """World points around the mask, by the plain formula."""
    frame = view.frame
    assert frame.T_world_camera is not None
    v, u = np.nonzero(ring(view.mask) & (frame.depth_raw > 0))
    xy = frame.depth_intrinsics.rays(np.stack([u, v], axis=1))
    z = frame.depth_raw[v, u] * frame.depth_scale
    return pose.apply(frame.T_world_camera, np.concatenate([xy, np.ones((len(xy), 1))], axis=1) * z[:, None])


def test_the_plane_around_a_thing_on_a_table_is_the_table() -> None:
    for i, T in enumerate(around(4, CRATE.box.center)):
        view = seen([CRATE, TABLE], T, i, NOISE)
        plane = fit_plane(ring_points(view), 0.012, view.frame.T_world_depth[:3, 3])
        assert plane is not None
        assert np.degrees(np.arccos(plane.normal[2])) < 2.0  # upwards: to the side of the cameras
        assert abs(plane.offset) < 0.005
        points = np.array([[0.0, 0.0, 0.1], [0.1, 0.1, -0.2]])
        assert np.allclose(plane.height(points), points[:, 2], atol=0.01)
        assert np.allclose(plane.height(plane.foot(points)), 0.0, atol=1e-12)


def test_clutter_is_no_plane() -> None:
    cloud = np.random.default_rng(0).uniform(-0.3, 0.3, (500, 3))
    assert fit_plane(cloud, 0.01, np.array([0.0, 0.0, 1.0])) is None


@pytest.mark.parametrize("n", [0, 1, 3, 59])
def test_few_points_are_no_plane(n: int) -> None:
    flat = np.random.default_rng(0).uniform(-1.0, 1.0, (n, 3)) * (1.0, 1.0, 0.0)
    assert fit_plane(flat, 0.01, np.array([0.0, 0.0, 1.0])) is None


def test_points_on_a_line_or_all_the_same_are_no_crash() -> None:
    eye = np.array([0.0, 0.0, 1.0])
    assert fit_plane(np.ones((200, 3)), 0.01, eye) is None
    line = fit_plane(np.linspace(0.0, 1.0, 200)[:, None] * (1.0, 0.5, 0.0), 0.01, eye)
    assert line is None or np.all(np.isfinite([*line.normal, line.offset]))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), outliers=st.floats(0.0, 0.35))
def test_a_plane_is_found_among_outliers_whichever_way_it_lies(seed: int, outliers: float) -> None:
    rng = np.random.default_rng(seed)
    R = Rotation.random(random_state=seed).as_matrix()
    points = rng.uniform(-0.5, 0.5, (400, 3)) * (1.0, 1.0, 0.0) + rng.normal(0.0, 0.002, (400, 3)) * (0.0, 0.0, 1.0)
    off = rng.random(400) < outliers
    points[off, 2] += rng.uniform(0.05, 0.5, off.sum())
    plane = fit_plane(points @ R.T, 0.006, R @ (0.0, 0.0, 2.0))
    assert plane is not None
    assert np.degrees(np.arccos(min(1.0, plane.normal @ R[:, 2]))) < 1.0
    assert abs(plane.offset) < 0.005


@settings(max_examples=40, deadline=None)
@given(
    x0=st.integers(0, 60), y0=st.integers(0, 40), w=st.integers(1, 64), h=st.integers(1, 48), hole=st.booleans()
)  # fmt: skip
def test_the_ring_goes_around_the_mask_and_never_into_it(x0: int, y0: int, w: int, h: int, hole: bool) -> None:
    mask = np.zeros((48, 64), np.bool_)
    mask[y0 : y0 + h, x0 : x0 + w] = True
    if hole:
        mask[y0 + h // 2 : y0 + h // 2 + 1, x0 + w // 2 :] = False
        mask[y0, x0] = True
    around_it = ring(mask)
    distance = ndimage.distance_transform_cdt(~mask, "chessboard")
    assert not np.any(around_it & (distance <= 1))
    if np.any(distance > 6):
        assert around_it.any()


# --- spread ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000), n=st.integers(2, 300), views=st.integers(2, 6), percentile=st.sampled_from([0.0, 2.0])
)
def test_the_jackknife_is_that_of_boxes_without_one_view(seed: int, n: int, views: int, percentile: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    seen_by = [rng.random(n) < 0.6 for _ in range(views)]
    boxes = []
    for view in range(views):
        left = np.any([s for i, s in enumerate(seen_by) if i != view], axis=0) | ~np.any(seen_by, axis=0)
        if np.count_nonzero(left) < 2:
            continue
        ordered = np.sort(points[left], axis=0)
        cut = int(percentile / 100.0 * (len(ordered) - 1))
        boxes.append(np.concatenate([ordered[cut], ordered[len(ordered) - 1 - cut]]))
    expected = np.sqrt(((views - 1) * np.var(boxes, axis=0)).mean()) if len(boxes) > 1 else 0.0
    if len(boxes) == views:
        assert jackknife(points, seen_by, percentile) == pytest.approx(expected, abs=1e-9)
    else:
        assert jackknife(points, seen_by, percentile) >= 0.0


def test_views_that_saw_the_same_points_have_no_jackknife_spread() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    everything = np.ones(50, np.bool_)
    assert jackknife(points, [everything] * 3, 1.0) == 0.0
    assert jackknife(points, [everything], 1.0) == 0.0
    assert jackknife(points, [], 1.0) == 0.0


def test_views_that_measure_one_surface_apart_disagree_by_so_much() -> None:
    rng = np.random.default_rng(0)
    offsets = rng.normal(0.0, 0.005, (4, 500)).astype(np.float32)
    offsets[:, ::7] = np.nan
    kept = np.ones(500, np.bool_)
    assert disagreement(offsets, kept) < 0.001  # noise of single pixels is no disagreement
    offsets[0] += 0.02
    assert disagreement(offsets, kept) == pytest.approx(0.01, abs=0.001)  # one of four: 0.02 / sqrt(4)
    assert disagreement(offsets[:1], kept) == 0.0
    assert disagreement(np.full((3, 500), np.nan, np.float32), kept) == 0.0


def test_the_percentile_box_leaves_the_outliers_out() -> None:
    points = np.concatenate([np.random.default_rng(0).uniform(0.0, 1.0, (1000, 3)), [[50.0] * 3, [-50.0] * 3]])
    low, high = percentile_box(points, 1.0)
    assert np.all((low > 0.0) & (low < 0.05))
    assert np.all((high < 1.0) & (high > 0.95))
    assert np.array_equal(percentile_box(points, 0.0)[1], [50.0] * 3)


# --- kernels against plain twins -------------------------------------------------------------------------------------


def filled_grid(
    clouds: Sequence[NDArray[np.float32]], voxel_m: float, T: NDArray[np.float64], noise: float = NOISE
) -> VoxelGrid:
    return gathered(clouds, voxel_m, T, noise)[0]


def gathered(
    clouds: Sequence[NDArray[np.float32]], voxel_m: float, T: NDArray[np.float64], noise: float = NOISE
) -> tuple[VoxelGrid, list[NDArray[np.int32]]]:
    grid = VoxelGrid(max(1, sum(map(len, clouds))), voxel_m, noise)
    return grid, [grid.add(cloud, T) for cloud in clouds]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(0, 200), min_size=1, max_size=4),
    voxel_m=st.sampled_from([0.01, 0.05, 0.3]),
)
def test_voxels_gather_weighted_means(seed: int, sizes: list[int], voxel_m: float) -> None:
    rng = np.random.default_rng(seed)
    T = looking((1.0, 2.0, 1.5), (0.0, 0.0, 0.0))
    clouds = [rng.uniform(-0.3, 0.3, (n, 3)).astype(np.float32) for n in sizes]
    grid, rows = gathered(clouds, voxel_m, T)
    every = np.concatenate(clouds).astype(np.float64)
    cells, row = np.unique(np.floor(every / voxel_m).astype(np.int64), axis=0, return_inverse=True)
    row = row.ravel()
    depth = (every - T[:3, 3]) @ T[:3, 2]
    weight = 1.0 / (voxel_m**2 / 12.0 + (NOISE * depth**2) ** 2)
    total = np.bincount(row, weight, len(cells))
    means = np.stack([np.bincount(row, weight * every[:, i], len(cells)) for i in range(3)], axis=1) / total[:, None]

    assert len(grid) == len(cells)
    place = np.concatenate(rows)
    assert np.array_equal(np.unique(place), np.arange(len(cells)))
    of_cell = np.empty(len(cells), np.int64)
    of_cell[row] = place
    assert np.array_equal(place, of_cell[row])  # points share a voxel exactly when they share a cell
    assert np.abs(grid.means[of_cell] - means).max(initial=0.0) < 1e-9


def test_points_outside_the_place_are_left_out() -> None:
    cloud = np.array([[0.05, 0.05, 0.05], [-0.05, 0.0, 0.0], [0.05, 0.05, 0.5]], np.float32)
    grid = VoxelGrid(3, 0.1, NOISE)
    rows = grid.add(cloud, np.eye(4), (np.array([0.0, 0.0, 0.0]), np.array([0.1, 0.1, 0.1])))
    assert rows.tolist() == [0, -1, -1]
    assert len(grid) == 1
    assert grid.add(cloud, np.eye(4)).tolist() == [0, 1, 2]


def partition(label: NDArray[np.integer]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(label == value).tolist()) for value in np.unique(label)}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000), share=st.floats(0.02, 0.6), dropped=st.floats(0.0, 0.5), reach=st.sampled_from([1, 2])
)
def test_components_are_those_of_scipy(seed: int, share: float, dropped: float, reach: int) -> None:
    rng = np.random.default_rng(seed)
    filled = rng.random((9, 8, 7)) < share
    cells = np.argwhere(filled)
    cells = cells[rng.permutation(len(cells))]
    offset = (-4, 3, -2)  # on both sides of zero
    grid = filled_grid([((cells + offset + 0.5) * 0.02).astype(np.float32)], 0.02, looking((1, 1, 1), (0, 0, 0)))
    kept = rng.random(len(cells)) >= dropped
    label = grid.components(kept, reach)
    assert np.all(label[~kept] == -1)
    rest = np.flatnonzero(kept)
    near = np.abs(cells[rest][:, None] - cells[rest][None]).max(axis=2) <= reach
    _, expected = csgraph.connected_components(near)
    assert partition(label[rest]) == partition(expected)
    if reach == 1:
        volume = np.zeros(filled.shape, np.bool_)
        volume[tuple(cells[rest].T)] = True
        numbered, _ = ndimage.label(volume, np.ones((3, 3, 3)))
        assert partition(label[rest]) == partition(numbered[tuple(cells[rest].T)])


def plain_votes(
    frame: RgbdFrame, mask: NDArray[np.bool_], points: NDArray[np.float64], noise: float, voxel_m: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What one view says of each voxel, votes and offsets, as `kernels.vote` explains it."""
    lowest, highest = DepthRange().counts(frame.depth_scale)
    in_depth = pose.apply(pose.inverse(frame.T_world_depth), points)
    in_color = pose.apply(frame.T_color_depth, in_depth)

    def pixels(camera: Intrinsics, p: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        uv = np.floor(np.nan_to_num(camera.project(p), nan=-9.0) + 0.5).astype(np.int64)
        return (p[:, 2] > 0.05) & np.all((uv >= 0) & (uv < (camera.width, camera.height)), axis=1), uv

    votes = np.zeros(len(points))
    offsets = np.full(len(points), np.nan)
    ok_depth, at_depth = pixels(frame.depth_intrinsics, in_depth)
    ok_color, at_color = pixels(frame.color_intrinsics, in_color)
    for i in np.flatnonzero(ok_depth):
        count = int(frame.depth_raw[at_depth[i, 1], at_depth[i, 0]])
        if not lowest <= count <= highest:
            continue
        measured = count * frame.depth_scale
        sigma = noise * measured**2
        reach = 1.5 * voxel_m + 2.5 * sigma
        weight = 1.0 / (1.0 + (sigma / voxel_m) ** 2)
        if in_depth[i, 2] > measured + reach:
            continue  # hidden
        if in_depth[i, 2] < measured - reach:
            votes[i] = -weight  # free space
        elif ok_color[i]:
            votes[i] = weight if mask[at_color[i, 1], at_color[i, 0]] else -weight
            offsets[i] = measured - in_depth[i, 2]
    return votes, offsets


@pytest.mark.parametrize("cameras", ["one", "two", "distorted"])
@pytest.mark.parametrize("seed", [0, 1])
def test_votes_are_those_of_the_plain_twin(cameras: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    T_color_depth = np.eye(4)
    T_color_depth[:3, 3] = (0.02, -0.01, 0.005)
    color, depth = CAMERA, Intrinsics(180.0, 182.0, 99.0, 76.0, 200, 150)
    if cameras == "distorted":
        color = Intrinsics(290.0, 288.0, 161.0, 118.0, 320, 240, "brown_conrady", (0.05, -0.06, 0.001, -0.0008, 0.02))
        depth = Intrinsics(
            180.0, 182.0, 99.0, 76.0, 200, 150, "inverse_brown_conrady", (-0.05, 0.06, 0.001, 0.001, 0.0)
        )
    T = looking((0.8, 0.5, 0.6), (0.0, 0.0, 0.05))
    view = (
        seen([CRATE, TABLE], T, seed, NOISE)
        if cameras == "one"
        else seen([CRATE, TABLE], T, seed, NOISE, color, depth, T_color_depth)
    )

    def holes(raw: NDArray[np.uint16]) -> None:
        raw[rng.random(raw.shape) < 0.1] = 0
        raw[rng.random(raw.shape) < 0.05] = 65535

    view = with_depth(view, holes)
    near = rng.uniform((-0.4, -0.4, -0.1), (0.4, 0.4, 0.3), (3000, 3))
    on = rng.uniform((-0.12, -0.09, 0.0), (0.12, 0.09, 0.17), (1500, 3))
    behind = T[:3, 3] + (T[:3, 3] - near[:100])  # at the camera's back
    points = np.concatenate([near, on, behind]).astype(np.float32)
    voxel_m = 0.012
    grid = filled_grid([points], voxel_m, T)
    votes, offsets = np.empty((2, len(grid)), np.float32)
    grid.vote(view.frame, view.mask, DepthRange(), votes, offsets)
    expected, expected_offsets = plain_votes(view.frame, view.mask, grid.means, NOISE, voxel_m)
    assert np.mean(np.isnan(offsets) != np.isnan(expected_offsets)) <= 0.002
    both = np.isfinite(offsets) & np.isfinite(expected_offsets)
    assert np.mean(np.abs(offsets[both] - expected_offsets[both]) > 1e-5) <= 0.01
    # float rounding may tip a voxel over a pixel's border or over the reach
    assert np.mean(np.abs(votes - expected) > 1e-5) <= 0.002
    assert np.count_nonzero(votes > 0) > 50
    assert np.count_nonzero(votes < 0) > 50
    assert np.count_nonzero(votes == 0) > 50
