import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene_r1.backproject import BackProjector, backproject_reference
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1_engines.errors import BadFrame
from scene_r1_engines.intrinsics import Intrinsics


def transform(rng, shift=2.0, angle=3.0):
    t = np.eye(4)
    t[:3, :3] = Rotation.from_rotvec(rng.uniform(-angle, angle, 3)).as_matrix()
    t[:3, 3] = rng.uniform(-shift, shift, 3)
    return t


def surface(rng, h, w, scale):
    """A slanted, bumpy depth image with holes, returns of 65535, steps and values out of range."""
    v, u = np.mgrid[:h, :w]
    depth = 1.5 + 0.8 * u / w + 0.3 * np.sin(v / 9.0) + 0.7 * (u > w // 2)
    raw = np.clip(depth / scale, 0, 60000).astype(np.uint16)
    raw[rng.random((h, w)) < 0.05] = 0
    raw[rng.random((h, w)) < 0.03] = 65535
    raw[rng.random((h, w)) < 0.02] = 30
    return raw


def frame_of(seed, h=37, w=53, scale=0.001, color=None, T_color_depth=None, depth_intrinsics=None):
    rng = np.random.default_rng(seed)
    one = depth_intrinsics or Intrinsics(0.9 * w, 0.95 * w, w / 2 - 0.7, h / 2 + 0.4, w, h)
    color = color or one
    return RgbdFrame(
        index=0,
        timestamp_ns=0,
        color=rng.integers(0, 256, (color.height, color.width, 3), dtype=np.uint8),
        color_intrinsics=color,
        depth_raw=surface(rng, h, w, scale),
        depth_scale=scale,
        depth_intrinsics=one,
        T_color_depth=np.eye(4) if T_color_depth is None else T_color_depth,
        T_world_camera=transform(rng),
    )


def two_cameras(seed, model="none", coefficients=(0.0,) * 5, h=60, w=80):
    rng = np.random.default_rng(seed)
    color = Intrinsics(130.0, 128.0, 61.0, 44.0, 120, 90, model, coefficients)
    T = transform(rng, 0.03, 0.02)
    return frame_of(seed, h, w, color=color, T_color_depth=T)


def assert_same(fast, reference):
    points, colors = reference
    assert len(fast) == len(points)
    assert np.abs(fast.xyz - points).max(initial=0.0) < 1e-5
    assert np.array_equal(fast.rgb, colors)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    h=st.integers(2, 40),
    w=st.integers(2, 70),
    scale=st.sampled_from([0.001, 0.0002, 0.0001]),
    edge=st.sampled_from([0.0, 0.02, 0.2]),
    masked=st.booleans(),
)
def test_registered_depth_agrees_with_the_float64_twin(seed, h, w, scale, edge, masked):
    frame = frame_of(seed, h, w, scale)
    mask = np.random.default_rng(seed).random((h, w)) < 0.7 if masked else None
    projector = BackProjector(edge_ratio=edge)
    assert_same(projector(frame, mask), backproject_reference(frame, mask, edge_ratio=edge))


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("none", (0.0,) * 5),
        ("brown_conrady", (0.05, -0.06, 0.001, -0.0008, 0.02)),
        ("inverse_brown_conrady", (-0.055, 0.064, -0.0009, 0.0006, -0.02)),
    ],
)
def test_colour_and_mask_are_looked_up_through_the_extrinsics(model, coefficients):
    for seed in range(4):
        frame = two_cameras(seed, model, coefficients)
        mask = np.zeros((90, 120), bool)
        mask[20:70, 30:100] = True
        points, colors = backproject_reference(frame, mask)
        fast = BackProjector()(frame, mask)
        # a pixel within float32's reach of a border between two colour pixels may fall on either side
        assert abs(len(fast) - len(points)) <= 0.002 * len(points)
        lookup = {tuple(p): tuple(c) for p, c in zip(np.round(points, 4), colors, strict=True)}
        same = [lookup.get(tuple(np.round(p.astype(float), 4))) == tuple(c) for p, c in zip(*fields(fast), strict=True)]
        assert np.mean(same) > 0.99
        assert len(points) > 500


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 50), two=st.booleans(), data=st.data())
def test_a_small_mask_gives_the_same_points_as_in_the_whole_picture(seed, two, data):
    frame = two_cameras(seed, "brown_conrady", (0.05, -0.06, 0.001, -0.0008, 0.02)) if two else frame_of(seed)
    h, w = frame.color.shape[:2]
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    mask = np.zeros((h, w), bool)
    mask[top : data.draw(st.integers(top, h)) + 1, left : data.draw(st.integers(left, w)) + 1] = True
    few = BackProjector()(frame, mask).copy()
    everywhere = BackProjector()
    every = everywhere(frame).copy()
    wanted = everywhere(frame, mask | corners_of(mask)).copy()  # a mask as wide as the picture: nothing is cut out
    at_corners = everywhere(frame, corners_of(mask) & ~mask).copy()
    assert len(few) + len(at_corners) == len(wanted)
    assert {p.tobytes() for p in few.xyz} <= {p.tobytes() for p in every.xyz}
    assert {p.tobytes() for p in few.xyz} | {p.tobytes() for p in at_corners.xyz} == {p.tobytes() for p in wanted.xyz}


def corners_of(mask):
    corners = np.zeros_like(mask)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return corners


def fields(points):
    return points.xyz, points.rgb


def test_a_distorted_depth_camera_uses_its_own_rays():
    lens = Intrinsics(60.0, 61.0, 39.0, 28.0, 80, 60, "brown_conrady", (0.08, -0.05, 0.001, 0.002, 0.01))
    frame = frame_of(3, 60, 80, depth_intrinsics=lens)
    assert_same(BackProjector()(frame), backproject_reference(frame))


@pytest.mark.parametrize("cameras", ["one", "two"])
@pytest.mark.parametrize("voxel_m", [0.02, 0.1])
def test_deduplication_keeps_one_point_for_each_voxel(cameras, voxel_m):
    frame = frame_of(5, 90, 120) if cameras == "one" else two_cameras(5)
    every = BackProjector()(frame).copy()
    kept = BackProjector(voxel_m=voxel_m)(frame)
    voxels = np.unique(np.floor(kept.xyz / np.float32(voxel_m)).astype(int), axis=0)
    wanted, _ = backproject_reference(frame, voxel_m=voxel_m)
    assert len(voxels) >= 0.999 * len(kept)
    assert abs(len(kept) - len(wanted)) <= 0.005 * len(wanted) + 2
    whole = {p.tobytes() for p in every.xyz}
    assert all(p.tobytes() in whole for p in kept.xyz)


def test_deduplication_forgets_the_frame_before():
    projector = BackProjector(voxel_m=0.05)
    frames = [frame_of(seed) for seed in (1, 2, 1)]
    first, _, again = (projector(frame).copy() for frame in frames)
    assert np.array_equal(first.xyz, again.xyz)


def test_a_voxel_table_that_gets_too_full_is_grown():
    projector = BackProjector(voxel_m=0.001, edge_ratio=0.0)
    frame = frame_of(9, 300, 300, scale=0.0001)
    small = len(projector._table)
    assert len(projector(frame)) > small // 2
    assert len(projector._table) > small


def test_no_valid_depth_gives_no_points():
    frame = frame_of(1)
    empty = RgbdFrame(
        0, 0, frame.color, frame.color_intrinsics, np.zeros_like(frame.depth_raw), 0.001, frame.depth_intrinsics,
        T_world_camera=frame.T_world_camera,
    )  # fmt: skip
    assert len(BackProjector()(empty)) == 0
    assert len(BackProjector(voxel_m=0.02)(empty)) == 0


def test_only_depth_in_range_is_believed():
    frame = frame_of(1)
    near = DepthRange(0.2, 2.0)
    points = BackProjector(near, edge_ratio=0.0)(frame)
    in_camera = (points.xyz - frame.T_world_camera[:3, 3]) @ frame.T_world_camera[:3, :3]
    assert in_camera[:, 2].max() <= 2.0 + 1e-5
    assert len(points) > 0


def test_a_range_between_two_counts_believes_nothing():
    frame = frame_of(1, scale=0.1 / 3)
    assert len(BackProjector(DepthRange(1.01, 1.02), edge_ratio=0.0)(frame)) == 0


def test_buffers_are_reused_and_grown_for_larger_frames():
    projector = BackProjector()
    small, large = frame_of(1, 20, 30), frame_of(2, 50, 60)
    before = projector(small).copy()
    assert_same(projector(large), backproject_reference(large))
    assert np.array_equal(projector(small).xyz, before.xyz)


@pytest.mark.parametrize("mask", [np.ones((3, 3), bool), np.ones((37, 53), np.uint8)])
def test_a_mask_of_another_shape_or_dtype_is_refused(mask):
    with pytest.raises(BadFrame, match="mask must be"):
        BackProjector()(frame_of(1), mask)


def test_a_frame_without_a_pose_is_refused():
    frame = frame_of(1)
    lost = RgbdFrame(4, 0, frame.color, frame.color_intrinsics, frame.depth_raw, 0.001, frame.depth_intrinsics)
    with pytest.raises(BadFrame, match="frame 4: the camera's pose is unknown"):
        BackProjector()(lost)


@pytest.mark.parametrize("arguments", [{"edge_ratio": -1.0}, {"edge_ratio": np.nan}, {"voxel_m": 0.0}])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(BadFrame):
        BackProjector(**arguments)
