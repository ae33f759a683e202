from __future__ import annotations

import numpy as np
import pytest

from scene_r1.depth_noise import SIGMA_PER_Z2
from scene_r1.frame import IDENTITY, DepthRange, RgbdFrame
from scene_r1.lift import MaskedView
from scene_r1.lift.denoise import LEFT, denoised
from scene_r1.rooms.capture.depth_noise import noisy_depth
from scene_r1_engines.intrinsics import Intrinsics

W, H = 640, 480
CAMERA = Intrinsics(385.0, 385.0, (W - 1) / 2, (H - 1) / 2, W, H)
THING = (slice(160, 320), slice(240, 400))


def view(depth_raw: np.ndarray, part: tuple[slice, slice] = THING) -> MaskedView:
    mask = np.zeros((H, W), np.bool_)
    mask[part] = True
    color = np.zeros((H, W, 3), np.uint8)
    frame = RgbdFrame(0, 0, color, CAMERA, depth_raw, 0.001, CAMERA, IDENTITY, np.eye(4))
    return MaskedView(frame, mask)


def noisy(depth_m: np.ndarray, seed: int = 0) -> np.ndarray:
    return noisy_depth(depth_m.astype(np.float32), CAMERA, np.random.default_rng(seed))


@pytest.mark.parametrize("z", [0.8, 1.5, 3.0])
def test_of_the_noise_on_a_wall_no_more_is_left_than_is_said(z):
    before = view(noisy(np.full((H, W), z)))
    after = denoised(before, SIGMA_PER_Z2, DepthRange(), 0.02)
    left = []
    for one in (before, after):
        counts = one.frame.depth_raw[THING].astype(float)
        left.append(np.std(counts[counts > 0]))
    assert 0.6 * LEFT * left[0] <= left[1] <= 1.1 * LEFT * left[0]
    counts = after.frame.depth_raw[THING]
    assert abs(counts[counts > 0].mean() - 1000.0 * z) < 0.1 * left[0] + 0.5


def test_a_step_that_is_an_edge_stays_where_it_is_and_as_high():
    depth = np.full((H, W), 2000, np.uint16)
    depth[THING] = 1500
    depth[200:260, 280:340] = 1000
    after = denoised(view(depth), SIGMA_PER_Z2, DepthRange(), 0.02).frame.depth_raw
    assert np.array_equal(after, depth)


def test_what_flies_between_two_surfaces_becomes_a_hole_and_a_thin_thing_does_not():
    depth = np.full((H, W), 2000, np.uint16)
    depth[THING] = 1500
    depth[200, 260:380:4] = 1750
    depth[220:300, 300:302] = 1000
    after = denoised(view(depth), SIGMA_PER_Z2, DepthRange(), 0.02).frame.depth_raw
    assert not after[200, 260:380:4].any()
    assert np.all(after[220:300, 300:302] == 1000)


def test_what_lies_outside_the_mask_lends_nothing_to_what_lies_inside():
    depth = np.full((H, W), 1530, np.uint16)  # nearer than the noise would tell apart
    depth[THING] = 1500
    after = denoised(view(depth), SIGMA_PER_Z2, DepthRange(), 0.02).frame.depth_raw
    assert np.array_equal(after, depth)


def test_a_slanted_surface_is_not_bent():
    slope = np.linspace(1.0, 2.0, W)[None].repeat(H, axis=0)
    depth = np.rint(1000.0 * slope).astype(np.uint16)
    after = denoised(view(depth), SIGMA_PER_Z2, DepthRange(), 0.02).frame.depth_raw
    assert np.abs(after.astype(int) - depth).max() <= 1


def test_holes_stay_holes_and_spoil_nothing_beside_them():
    depth = np.full((H, W), 1500, np.uint16)
    depth[200:220, 300:320] = 0
    expected = depth.copy()
    depth[240, 300] = 65535  # no return either
    expected[240, 300] = 0
    after = denoised(view(depth), SIGMA_PER_Z2, DepthRange(), 0.02).frame.depth_raw
    assert np.array_equal(after, expected)


def test_what_is_far_from_the_object_is_as_it_was_and_the_frame_is_not_written_to():
    depth = noisy(np.full((H, W), 2.0))
    kept = depth.copy()
    after = denoised(view(depth), SIGMA_PER_Z2, DepthRange(), 0.02).frame.depth_raw
    assert np.array_equal(depth, kept)
    assert np.array_equal(after[:, :150], kept[:, :150])
    assert np.array_equal(after[400:], kept[400:])
    assert not np.array_equal(after[THING], kept[THING])


def test_a_mask_with_nothing_in_it_leaves_the_view_alone():
    empty = view(np.full((H, W), 1500, np.uint16), (slice(0, 0), slice(0, 0)))
    assert denoised(empty, SIGMA_PER_Z2, DepthRange(), 0.02) is empty
