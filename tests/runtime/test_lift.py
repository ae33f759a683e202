"""Masks in posed RGB-D frames -> one box, on scenes whose truth is exact."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation
from tests.runtime.analytic_scene import NOISE, TABLE, Ball, Block, Solid, around, looking, seen, with_depth

from scene_r1.box import Box3D, iou
from scene_r1.lift import Lifted, Lifter, LiftSettings, MaskedView
from scene_r1_engines.errors import BadConfig, BadFrame
from scene_r1_engines.intrinsics import Intrinsics

CRATE = Block((-0.1, -0.07, 0.0), (0.1, 0.07, 0.15))
BALL = Ball((0.02, 0.01, 0.1), 0.1)
OTHER = Block((0.35, 0.1, 0.0), (0.5, 0.3, 0.2))


@pytest.fixture(scope="module")
def lift() -> Lifter:
    return Lifter()


@cache
def views_of(target: Solid, n: int, noise: float = NOISE, distance: float = 1.0, *others: Solid) -> list[MaskedView]:
    """n views of a thing on a table, and of other things."""
    poses = around(n, target.box.center, distance)
    return [seen([target, TABLE, *others], T, i, noise) for i, T in enumerate(poses)]


def shifted(view: MaskedView, by: ArrayLike) -> MaskedView:
    """The same pictures from a camera that says it is elsewhere by so many metres."""
    assert view.frame.T_world_camera is not None
    T = np.array(view.frame.T_world_camera)
    T[:3, 3] += np.asarray(by, np.float64)
    return MaskedView(replace(view.frame, T_world_camera=T), view.mask)


def box_of(lifted: Lifted) -> Box3D:
    assert lifted.box is not None
    assert len(lifted.xyz) == len(lifted.rgb) > 0
    assert np.all(np.isfinite(lifted.xyz))
    assert lifted.box.supporting_views == len(lifted.used)
    return lifted.box


def faces(box: Box3D) -> NDArray[np.float64]:
    return np.concatenate([box.low, box.high])


def apart(a: Box3D, b: Box3D) -> float:
    """Metres between the faces of two boxes that differ most."""
    return float(np.abs(faces(a) - faces(b)).max())


# --- clean scenes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "noise"), [(4, 0.0), (7, NOISE)], ids=["clean", "noisy"])
@pytest.mark.parametrize(
    "target", [CRATE, Block((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08)), Block((-0.3, -0.2, 0.0), (0.3, 0.2, 0.4))]
)
def test_a_box_on_a_table_is_found_to_a_centimetre_and_a_half(
    target: Block, n: int, noise: float, lift: Lifter
) -> None:
    lifted = lift(views_of(target, n, noise))
    box = box_of(lifted)
    assert apart(box, target.box) < 0.015
    assert lifted.used == tuple(range(n))
    assert 0.0 < box.spread_m < 0.02
    inside = np.all((lifted.xyz > target.box.low - 0.04) & (lifted.xyz < target.box.high + 0.04), axis=1)
    assert inside.mean() > 0.99


def test_without_noise_a_box_is_found_to_less_than_a_pixel(lift: Lifter) -> None:
    assert apart(box_of(lift(views_of(CRATE, 4, 0.0))), CRATE.box) < 0.003  # of 4 mm


@pytest.mark.parametrize("noise", [0.0, NOISE], ids=["clean", "noisy"])
def test_a_ball_is_found_to_a_centimetre_and_a_half_where_cameras_see_it(noise: float, lift: Lifter) -> None:
    error = faces(box_of(lift(views_of(BALL, 6, noise)))) - faces(BALL.box)
    assert np.abs(np.delete(error, 2)).max() < 0.015
    assert -0.015 < error[2] < 0.06  # the underside is out of the cameras' sight


def test_a_thing_in_the_air_needs_no_support(lift: Lifter) -> None:
    floating = Ball((0.0, 0.0, 0.6), 0.1)
    poses = [
        looking(eye, floating.center)
        for eye in ((1.0, 0.0, 0.9), (-1.0, 0.1, 0.9), (0.1, 1.0, 0.3), (0.0, -1.0, 0.3), (0.8, 0.7, 0.1))
    ]
    box = box_of(lift([seen([floating, TABLE], T, i) for i, T in enumerate(poses)]))
    assert apart(box, floating.box) < 0.015


def test_one_view_is_enough_for_what_it_sees(lift: Lifter) -> None:
    (view,) = views_of(CRATE, 1)
    lifted = lift([view])
    box = box_of(lifted)
    assert box.supporting_views == 1
    assert box.spread_m > 0.0
    assert apart(box, CRATE.box) < 0.03
    assert iou(box, CRATE.box) > 0.6


@pytest.mark.parametrize("thickness", [0.001, 0.02], ids=["rug", "book"])
@pytest.mark.parametrize("n", [1, 6])
def test_a_flat_thing_is_not_taken_for_the_table_it_lies_on(thickness: float, n: int, lift: Lifter) -> None:
    flat = Block((-0.3, -0.2, 0.0), (0.3, 0.2, thickness))
    box = box_of(lift(views_of(flat, n, NOISE, 1.2)))
    assert np.abs(faces(box) - faces(flat.box))[[0, 1, 3, 4]].max() < 0.03
    assert abs(box.low[2]) < 0.02
    assert abs(box.high[2] - thickness) < 0.025


# --- what goes wrong in the field ------------------------------------------------------------------------------------


def swollen(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """A mask made larger by a share of its longer side."""
    side = max(np.ptp(np.flatnonzero(mask.any(axis=0))), np.ptp(np.flatnonzero(mask.any(axis=1)))) + 1
    reach = round(share * side / 2.0)
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)).astype(np.bool_)


@pytest.mark.parametrize("target", [CRATE, BALL], ids=["crate", "ball"])
@pytest.mark.parametrize("wrong", ["another thing", "shifted", "nothing", "everything"])
def test_one_wrong_mask_in_five_hardly_moves_the_box(target: Solid, wrong: str, lift: Lifter) -> None:
    views = views_of(target, 10, NOISE, 1.1, OTHER)
    spoiled = list(views)
    for i in (2, 6):
        frame, mask = views[i].frame, views[i].mask
        assert frame.T_world_camera is not None
        replacement = {
            "another thing": lambda T=frame.T_world_camera: seen([OTHER, TABLE, target], T).mask,
            "shifted": lambda mask=mask: np.roll(mask, 60, axis=1),
            "nothing": lambda mask=mask: np.zeros_like(mask),
            "everything": lambda mask=mask: np.ones_like(mask),
        }[wrong]()
        spoiled[i] = MaskedView(frame, replacement)
    clean, lifted = box_of(lift(views)), lift(spoiled)
    box = box_of(lifted)
    assert apart(box, clean) < 0.03
    assert iou(box, target.box) >= 0.5
    if wrong != "everything":
        assert not {2, 6} & set(lifted.used)


@pytest.mark.parametrize("target", [CRATE, BALL], ids=["crate", "ball"])
def test_masks_a_tenth_too_large_hardly_move_the_box(target: Solid, lift: Lifter) -> None:
    views = views_of(target, 6)
    large = [MaskedView(view.frame, swollen(view.mask, 0.1)) for view in views]
    assert all(np.count_nonzero(b.mask) > 1.1 * np.count_nonzero(a.mask) for a, b in zip(views, large, strict=True))
    box = box_of(lift(large))
    assert apart(box, box_of(lift(views))) < 0.03
    assert iou(box, target.box) >= 0.5


def test_views_in_which_it_is_hidden_do_not_eat_into_the_box(lift: Lifter) -> None:
    screen = Block((0.4, -0.45, 0.0), (0.42, 0.09, 0.6))
    free, hidden = views_of(CRATE, 8), views_of(CRATE, 8, NOISE, 1.0, screen)
    shares = [np.count_nonzero(b.mask) / np.count_nonzero(a.mask) for a, b in zip(free, hidden, strict=True)]
    assert min(shares) == 0.0
    assert any(0.2 < share < 0.9 for share in shares)
    assert apart(box_of(lift(hidden)), box_of(lift(free))) < 0.015


def test_two_things_in_the_masks_give_the_one_that_more_of_them_show(lift: Lifter) -> None:
    views = views_of(CRATE, 6, NOISE, 1.1, OTHER)
    both = [
        MaskedView(view.frame, view.mask | other.mask) if i < 2 else view
        for i, (view, other) in enumerate(zip(views, views_of(OTHER, 6, NOISE, 1.1, CRATE), strict=True))
    ]
    assert apart(box_of(lift(both)), CRATE.box) < 0.03


def test_stray_depths_on_the_object_do_not_widen_the_box(lift: Lifter) -> None:
    def spoil(depth: NDArray[np.uint16]) -> None:
        rng = np.random.default_rng(5)
        stray = rng.random(depth.shape) < 0.05
        depth[stray] = rng.choice([0, 300, 5000, 65535], stray.sum())

    views = views_of(CRATE, 6)
    assert apart(box_of(lift([with_depth(view, spoil) for view in views])), CRATE.box) < 0.025


# --- nothing to lift -------------------------------------------------------------------------------------------------


def emptied(mask: NDArray[np.bool_]) -> Callable[[NDArray[np.uint16]], None]:
    def change(depth: NDArray[np.uint16]) -> None:
        depth[mask] = 0

    return change


def no_return(depth: NDArray[np.uint16]) -> None:
    depth[:] = 65535


def too_near(depth: NDArray[np.uint16]) -> None:
    depth[:] = 100


@pytest.mark.parametrize(
    "spoil",
    [
        lambda view: MaskedView(view.frame, np.zeros_like(view.mask)),
        lambda view: with_depth(view, emptied(view.mask)),
        lambda view: with_depth(view, emptied(np.ones_like(view.mask))),
        lambda view: with_depth(view, no_return),
        lambda view: with_depth(view, too_near),
        lambda view: MaskedView(view.frame, view.mask & (np.cumsum(view.mask).reshape(view.mask.shape) == 1)),
    ],
    ids=["empty mask", "no depth in the mask", "no depth", "no returns", "too near", "mask of one pixel"],
)
@pytest.mark.parametrize("n", [1, 4])
def test_without_depth_in_the_masks_there_is_no_box_and_no_warning(
    spoil: Callable[[MaskedView], MaskedView], n: int, lift: Lifter
) -> None:
    views = [spoil(view) for view in views_of(CRATE, n)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lifted = lift(views)
    assert lifted.box is None
    assert lifted.used == ()
    assert lifted.xyz.shape == (0, 3)
    assert lifted.rgb.shape == (0, 3)


def test_no_views_give_no_box(lift: Lifter) -> None:
    assert lift([]).box is None


def test_views_of_different_things_agree_on_at_most_one_of_them(lift: Lifter) -> None:
    crate, other = views_of(CRATE, 4, NOISE, 1.1, OTHER)[0], views_of(OTHER, 4, NOISE, 1.1, CRATE)[2]
    lifted = lift([crate, other])
    assert len(lifted.used) <= 1
    if lifted.box is not None:
        assert max(iou(lifted.box, CRATE.box), iou(lifted.box, OTHER.box)) > 0.3


def test_masks_of_whole_images_are_no_crash(lift: Lifter) -> None:
    views = [MaskedView(view.frame, np.ones_like(view.mask)) for view in views_of(CRATE, 4)]
    for box in (lift(views).box, lift(views[:1]).box):
        assert box is None or max(box.size) > 1.0


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((120, 160), np.bool_),
        np.ones((240, 320), np.uint8),
        np.ones((240, 320, 1), np.bool_),
        np.ones(5, np.bool_),
    ],
    ids=["size", "dtype", "axes", "flat"],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_mask_that_is_not_of_the_image_is_refused(mask: NDArray[np.bool_], place: int, lift: Lifter) -> None:
    views = list(views_of(CRATE, 4))
    views[place] = MaskedView(views[place].frame, mask)
    with pytest.raises(BadFrame, match=r"mask must be \(240, 320\) bool"):
        lift(views)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("place", range(4))
def test_a_mask_of_numbers_is_refused_in_whichever_view(dtype: type, place: int, lift: Lifter) -> None:
    views = list(views_of(CRATE, 4))
    views[place] = MaskedView(views[place].frame, views[place].mask.astype(dtype))
    with pytest.raises(BadFrame, match=rf"mask must be .* bool .*, got \(240, 320\) {np.dtype(dtype)}"):
        lift(views)


def test_a_frame_without_a_pose_is_refused_by_its_number(lift: Lifter) -> None:
    views = list(views_of(CRATE, 4))
    views[2] = MaskedView(replace(views[2].frame, T_world_camera=None), views[2].mask)
    with pytest.raises(BadFrame, match="frame 2: the camera's pose is unknown"):
        lift(views)


def test_a_lifter_works_on_after_a_refusal(lift: Lifter) -> None:
    views = views_of(CRATE, 4)
    before = box_of(lift(views))
    with pytest.raises(BadFrame):
        lift([MaskedView(views[0].frame, np.ones((1, 1), np.bool_))])
    assert box_of(lift(views)) == before


@pytest.mark.parametrize(
    "bad",
    [
        {"agreement": 0.0}, {"agreement": 1.5}, {"agreement": float("nan")}, {"percentile": 50.0}, {"percentile": -1.0},
        {"voxel_m": (0.02, 0.01)}, {"voxel_m": (0.0, 0.01)}, {"voxels_across": 3}, {"erode_px": -1},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_nothing_can_be_lifted_with_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        LiftSettings(**bad)  # type: ignore[arg-type]


# --- what must not matter, and what must -----------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_views_does_not_matter(order: list[int]) -> None:
    views = views_of(CRATE, 6)
    lifter = Lifter()
    straight, mixed = lifter(views), lifter([views[i] for i in order])
    assert apart(box_of(straight), box_of(mixed)) < 1e-6
    assert box_of(straight).spread_m == pytest.approx(box_of(mixed).spread_m, abs=1e-6)
    assert {order[i] for i in mixed.used} == set(straight.used)


@settings(max_examples=8, deadline=None)
@given(by=st.tuples(*[st.floats(-5.0, 5.0)] * 3))
def test_a_world_moved_moves_the_box_with_it(by: tuple[float, float, float]) -> None:
    views = views_of(CRATE, 4)
    lifter = Lifter()
    here, there = box_of(lifter(views)), box_of(lifter([shifted(view, by) for view in views]))
    # voxel borders lie elsewhere on the object, so faces may differ by a part of a voxel
    assert np.abs(faces(there) - faces(here) - (*by, *by)).max() < 0.008


def test_the_same_views_give_the_same_bits() -> None:
    first, second = (Lifter()(views_of(BALL, 6)) for _ in range(2))
    assert first.box == second.box
    assert first.voxel_m == second.voxel_m
    assert first.used == second.used
    assert first.xyz.tobytes() == second.xyz.tobytes()


def test_what_was_lifted_before_does_not_matter(lift: Lifter) -> None:
    fresh = box_of(Lifter()(views_of(CRATE, 4)))
    lift(views_of(BALL, 6))
    assert box_of(lift(views_of(CRATE, 4))) == fresh


@pytest.mark.parametrize("model", ["none", "brown_conrady", "inverse_brown_conrady"])
def test_depth_from_a_camera_of_its_own_gives_the_same_box(model: str, lift: Lifter) -> None:
    lens = (0.0,) * 5 if model == "none" else (-0.055, 0.064, -0.0009, 0.0006, -0.02)
    color = Intrinsics(310.0, 308.0, 158.0, 121.0, 320, 240, model, lens)  # type: ignore[arg-type]
    depth = Intrinsics(230.0, 230.0, 160.0, 118.0, 320, 240)
    T_color_depth = np.eye(4)
    T_color_depth[:3, :3] = Rotation.from_rotvec((0.01, -0.005, 0.004)).as_matrix()
    T_color_depth[:3, 3] = (0.015, 0.001, 0.0003)
    poses = around(4, CRATE.box.center)
    views = [seen([CRATE, TABLE], T, i, 0.0, color, depth, T_color_depth) for i, T in enumerate(poses)]
    assert not views[0].frame.one_camera
    assert apart(box_of(lift(views)), box_of(lift(views_of(CRATE, 4, 0.0)))) < 0.01


@pytest.mark.parametrize(("target", "n"), [(CRATE, 2), (BALL, 4)], ids=["two views", "four views"])
def test_spread_grows_when_one_view_disagrees(target: Solid, n: int, lift: Lifter) -> None:
    first, *rest = views_of(target, n)
    agreeing = box_of(lift([first, *rest])).spread_m
    disagreeing = box_of(lift([shifted(first, (0.03, 0.02, 0.01)), *rest])).spread_m
    assert disagreeing > 1.5 * agreeing


def test_spread_grows_with_distance(lift: Lifter) -> None:
    near, middle, far = (box_of(lift(views_of(CRATE, 4, NOISE, distance))).spread_m for distance in (1.0, 2.0, 3.0))
    assert near < middle < far


def test_a_box_three_metres_away_is_wrong_by_no_more_than_its_spread_says(lift: Lifter) -> None:
    box = box_of(lift(views_of(CRATE, 4, NOISE, 3.0)))
    assert apart(box, CRATE.box) < 2.0 * box.spread_m
