"""Box3D and how two boxes compare."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.box import EDGES, Box3D, iou
from scene_r1_engines.errors import BadInput

meters = st.floats(-50.0, 50.0)
sides = st.floats(1e-3, 20.0)
boxes = st.builds(
    Box3D,
    center=st.tuples(meters, meters, meters),
    size=st.tuples(sides, sides, sides),
    spread_m=st.floats(0.0, 1.0),
    supporting_views=st.integers(0, 64),
)
cells = st.tuples(st.integers(0, 5), st.integers(1, 4))
"""(first cell, number of cells) along one axis."""


@settings(max_examples=100, deadline=None)
@given(a=boxes, b=boxes)
def test_iou_is_symmetric_and_between_0_and_1(a: Box3D, b: Box3D) -> None:
    value = iou(a, b)
    assert 0.0 <= value <= 1.0
    assert iou(b, a) == pytest.approx(value, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(box=boxes)
def test_a_box_overlaps_itself_wholly(box: Box3D) -> None:
    assert iou(box, box) == 1.0


@settings(max_examples=100, deadline=None)
@given(a=st.tuples(cells, cells, cells), b=st.tuples(cells, cells, cells))
def test_iou_of_boxes_on_a_grid_is_that_of_counted_cells(
    a: tuple[tuple[int, int], ...], b: tuple[tuple[int, int], ...]
) -> None:
    filled, given_boxes = [], []
    for box in (a, b):
        first, count = np.array(box).T
        grid = np.zeros((10, 10, 10), np.bool_)
        grid[tuple(slice(f, f + n) for f, n in box)] = True
        filled.append(grid)
        given_boxes.append(Box3D.from_corners(0.25 * first, 0.25 * (first + count)))
    expected = np.count_nonzero(filled[0] & filled[1]) / np.count_nonzero(filled[0] | filled[1])
    assert iou(*given_boxes) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(a=boxes, b=boxes, shift=st.tuples(meters, meters, meters), scale=st.floats(0.1, 10.0))
def test_iou_depends_on_neither_place_nor_unit(
    a: Box3D, b: Box3D, shift: tuple[float, float, float], scale: float
) -> None:
    def moved(box: Box3D) -> Box3D:
        return Box3D.from_corners(scale * box.low + shift, scale * box.high + shift)

    # sides of 1 mm at 500 m lose about 1e-10 of their length in rounding
    assert iou(moved(a), moved(b)) == pytest.approx(iou(a, b), abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(box=boxes, axis=st.integers(0, 2), share=st.floats(0.01, 0.99))
def test_a_part_of_a_box_overlaps_it_by_its_share(box: Box3D, axis: int, share: float) -> None:
    high = box.high
    high[axis] = box.low[axis] + share * box.size[axis]
    assert iou(Box3D.from_corners(box.low, high), box) == pytest.approx(share, abs=1e-8)


def test_boxes_that_touch_or_lie_apart_do_not_overlap() -> None:
    a = Box3D.from_corners((0, 0, 0), (1, 1, 1))
    assert iou(a, Box3D.from_corners((1, 0, 0), (2, 1, 1))) == 0.0
    assert iou(a, Box3D.from_corners((3, 3, 3), (4, 4, 4))) == 0.0
    assert iou(a, Box3D.from_corners((0, 0, 5), (1, 1, 6))) == 0.0  # above one another: two axes overlap


def test_boxes_too_small_for_a_volume_still_compare() -> None:
    speck = Box3D((0.0, 0.0, 0.0), (1e-150, 1e-150, 1e-150), 0.0, 1)
    far = Box3D((1e9, 0.0, 0.0), (1e-9, 1e-9, 1e-9), 0.0, 1)  # its two faces are one number
    assert iou(speck, speck) == 1.0
    assert iou(far, far) == 1.0
    assert iou(speck, far) == 0.0


def test_boxes_in_different_frames_are_not_compared() -> None:
    a = Box3D((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, 1)
    b = Box3D((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, 1, "map-2")
    with pytest.raises(BadInput, match="'world' and 'map-2'"):
        iou(a, b)


@settings(max_examples=60, deadline=None)
@given(box=boxes)
def test_corners_span_the_box_and_are_numbered_by_bits(box: Box3D) -> None:
    corners = box.corners
    assert corners.shape == (8, 3)
    assert len({tuple(corner) for corner in corners}) == 8
    assert np.array_equal(corners[0], box.low)
    assert np.array_equal(corners[7], box.high)
    for i, corner in enumerate(corners):
        for axis in range(3):
            assert corner[axis] == (box.high if i >> axis & 1 else box.low)[axis]
    assert np.allclose(corners.mean(axis=0), box.center, atol=1e-9)


def test_the_twelve_edges_run_along_the_axes_four_each() -> None:
    box = Box3D((1.0, -2.0, 0.5), (0.3, 0.5, 0.7), 0.0, 1)
    assert len(EDGES) == 12
    assert len({frozenset(edge) for edge in EDGES}) == 12
    along = []
    for a, b in EDGES:
        difference = np.abs(box.corners[a] - box.corners[b])
        (axis,) = np.flatnonzero(difference > 1e-12)
        assert difference[axis] == pytest.approx(box.size[axis])
        along.append(int(axis))
    assert sorted(along) == [0] * 4 + [1] * 4 + [2] * 4


@settings(max_examples=60, deadline=None)
@given(box=boxes)
def test_json_is_plain_and_right_to_a_tenth_of_a_millimetre(box: Box3D) -> None:
    said = json.loads(json.dumps(box.to_json(), allow_nan=False))
    assert np.allclose(said["center"], box.center, atol=0.51e-4)
    assert np.allclose(said["size"], box.size, atol=0.51e-4)
    assert said["spread_m"] == pytest.approx(box.spread_m, abs=0.51e-4)
    assert said["supporting_views"] == box.supporting_views
    assert said["frame_id"] == "world"
    assert said["rotation"] == np.eye(3).tolist()


def test_corners_as_numpy_arrays_of_any_number_type_become_plain_numbers() -> None:
    box = Box3D.from_corners(np.zeros(3, np.float32), np.array([1, 2, 3]), 0.01, 3)
    assert box.center == (0.5, 1.0, 1.5)
    assert box.size == (1.0, 2.0, 3.0)
    assert all(type(v) is float for v in (*box.center, *box.size))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["center", "size", "spread_m"])
def test_numbers_that_are_not_finite_make_no_box(which: str, bad: float) -> None:
    values: dict[str, object] = {"center": (0.0, 0.0, 0.0), "size": (1.0, 1.0, 1.0), "spread_m": 0.0}
    values[which] = bad if which == "spread_m" else (0.0, bad, 0.0)
    with pytest.raises(BadInput):
        Box3D(supporting_views=1, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("high", [(1, 1, 0), (1, -1, 1), (0, 0, 0)])
def test_a_box_without_extent_along_an_axis_is_refused(high: tuple[float, float, float]) -> None:
    with pytest.raises(BadInput, match="size above 0"):
        Box3D.from_corners((0, 0, 0), high)


def test_a_negative_spread_is_refused() -> None:
    with pytest.raises(BadInput):
        Box3D((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), -0.001, 1)
