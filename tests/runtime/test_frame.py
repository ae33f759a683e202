import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, SMALL_DEPTH, H, W

from scene_r1.frame import IDENTITY, DepthRange, RgbdFrame, depth_counts
from scene_r1_engines.errors import BadFrame, BadInput
from scene_r1_engines.intrinsics import Intrinsics


def frame_with(**fields):
    color, depth = fields.get("color_intrinsics", CAMERA), fields.get("depth_intrinsics", CAMERA)
    given = {
        "index": 4,
        "timestamp_ns": 1,
        "color": np.zeros((color.height, color.width, 3), np.uint8),
        "color_intrinsics": color,
        "depth_raw": np.ones((depth.height, depth.width), np.uint16),
        "depth_scale": 0.001,
        "depth_intrinsics": depth,
        "T_world_camera": np.eye(4),
    }
    return RgbdFrame(**{**given, **fields})


def shifted(by):
    T = np.eye(4)
    T[:3, 3] = by
    return T


def changed(where, value):
    T = np.eye(4)
    T[where] = value
    return T


@pytest.mark.parametrize(
    ("field", "bad", "said"),
    [
        ("color", np.zeros((H, W, 3), np.float32), r"color must be \(12, 16, 3\) uint8 .* got .* float32"),
        ("color", np.zeros((H, W, 3), np.int8), "got .* int8"),
        ("color", np.zeros((H, W), np.uint8), r"got \(12, 16\) uint8"),
        ("color", np.zeros((H, W, 4), np.uint8), r"got \(12, 16, 4\)"),
        ("color", np.zeros((W, H, 3), np.uint8), r"got \(16, 12, 3\)"),
        ("color", np.zeros((3, H, W), np.uint8), r"got \(3, 12, 16\)"),
        ("color", np.zeros((0, 0, 3), np.uint8), r"got \(0, 0, 3\)"),
        ("color", np.zeros((H, W, 3)).tolist(), "color must be a numpy array, got list"),
        ("color", None, "color must be a numpy array, got NoneType"),
        ("depth_raw", np.ones((H, W), np.float32), r"depth_raw must be \(12, 16\) uint16 .* got .* float32"),
        ("depth_raw", np.full((H, W), np.nan), "got .* float64"),
        ("depth_raw", np.ones((H, W), np.int16), "got .* int16"),
        ("depth_raw", np.ones((H, W), ">u2"), "got .* >u2"),
        ("depth_raw", np.ones((H, W, 1), np.uint16), r"got \(12, 16, 1\)"),
        ("depth_raw", np.ones((2 * H, 2 * W), np.uint16), r"got \(24, 32\)"),
        ("depth_raw", b"", "got bytes"),
        ("depth_scale", 0.0, "depth_scale must be .* got 0.0"),
        ("depth_scale", -0.001, "depth_scale must be .* got -0.001"),
        ("depth_scale", np.nan, "depth_scale must be .* got nan"),
        ("depth_scale", np.inf, "depth_scale must be .* got inf"),
        ("depth_scale", 1000.0, "depth_scale must be .* got 1000.0"),
        ("depth_scale", 1e-7, "depth_scale"),
        ("depth_scale", "0.001", "depth_scale must be .* got '0.001'"),
        ("depth_scale", None, "depth_scale must be .* got None"),
        ("index", -1, "index"),
        ("index", 1.5, "index"),
        ("index", None, "index"),
        ("T_world_camera", np.full((4, 4), np.nan), "T_world_camera has NaN"),
        ("T_world_camera", np.eye(3), "T_world_camera must be a 4x4"),
        ("T_world_camera", 2.0 * np.eye(4), "T_world_camera must end"),
        ("T_world_camera", changed((0, 0), -1.0), "T_world_camera mirrors"),
        ("T_world_camera", changed((0, 0), 1.01), "T_world_camera is not rigid"),
        ("T_world_camera", changed((0, 1), 0.1), "T_world_camera is not rigid"),
        ("T_color_depth", changed((0, 3), np.inf), "T_color_depth has NaN"),
        ("T_color_depth", changed((2, 2), -1.0), "T_color_depth mirrors"),
        ("T_color_depth", None, "T_color_depth must be a 4x4"),
    ],
)
def test_a_bad_frame_is_refused_saying_which_and_what(field, bad, said):
    with pytest.raises(BadFrame, match=said) as caught:
        frame_with(**{field: bad})
    assert isinstance(caught.value, BadInput)
    assert caught.value.exit_code == 2
    assert field == "index" or "frame 4" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 20), min_size=0, max_size=4).map(tuple),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int32, np.float16, np.float32, np.bool_, np.complex64]),
    field=st.sampled_from(["color", "depth_raw"]),
)
def test_an_array_of_any_other_shape_or_dtype_is_a_value_error(shape, dtype, field):
    right = {"color": ((H, W, 3), np.uint8), "depth_raw": ((H, W), np.uint16)}[field]
    array = np.zeros(shape, dtype)
    if (shape, dtype) == right:
        frame_with(**{field: array})
    else:
        with pytest.raises(ValueError, match=f"{field} must be"):
            frame_with(**{field: array})


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 0.00025, 0.001, np.float32(0.001), np.float64(0.001), 0.1])
def test_any_camera_s_depth_scale_is_honoured(scale):
    frame = frame_with(depth_scale=scale, depth_raw=np.full((H, W), 5000, np.uint16))
    assert frame.depth_m[0, 0] == pytest.approx(5000 * float(scale), rel=1e-6)
    assert frame.depth_m.dtype == np.float32


def test_no_return_is_zero_metres():
    raw = np.zeros((H, W), np.uint16)
    raw[0, :3] = (65535, 65534, 1)
    depth = frame_with(depth_raw=raw).depth_m
    np.testing.assert_allclose(depth[0, :4], (0.0, 65.534, 0.001, 0.0), rtol=1e-6)


def test_contiguous_arrays_are_held_and_others_copied_once():
    color, depth = np.zeros((H, W, 3), np.uint8), np.ones((H, W), np.uint16)
    frame = frame_with(color=color, depth_raw=depth)
    assert frame.color is color
    assert frame.depth_raw is depth
    bgr = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    rgb = bgr[:, :, ::-1]
    wide = np.random.default_rng(1).integers(0, 60000, (2 * H, 2 * W), dtype=np.uint16)
    strided = wide[::2, ::2]
    copied = frame_with(color=rgb, depth_raw=strided)
    assert copied.color.flags.c_contiguous
    assert copied.depth_raw.flags.c_contiguous
    assert np.array_equal(copied.color, rgb)
    assert np.array_equal(copied.depth_raw, strided)
    again = replace(copied, index=5)
    assert again.color is copied.color
    assert again.depth_raw is copied.depth_raw


def test_nothing_in_a_frame_can_be_written():
    frame = frame_with(T_color_depth=shifted((0.02, 0, 0)))
    for array in (frame.color, frame.depth_raw, frame.T_color_depth, frame.T_world_camera, IDENTITY):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    with pytest.raises(AttributeError):
        frame.index = 3


def test_a_rounded_pose_is_repaired_and_the_callers_left_alone():
    T = np.round(np.array([[0.36, 0.48, -0.8, 1], [-0.8, 0.6, 0, 2], [0.48, 0.64, 0.6, 3], [0, 0, 0, 1]]) + 4e-5, 4)
    T[3] = (0, 0, 0, 1)
    frame = frame_with(T_world_camera=T)
    rotation = frame.T_world_camera[:3, :3]
    assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-14
    assert T.flags.writeable


def test_one_camera_is_the_same_camera_in_the_same_place():
    assert frame_with().one_camera
    assert not frame_with(T_color_depth=shifted((1e-3, 0, 0))).one_camera
    assert not frame_with(depth_intrinsics=SMALL_DEPTH).one_camera
    assert not frame_with(depth_intrinsics=replace(CAMERA, fx=CAMERA.fx + 0.5)).one_camera


def test_the_depth_camera_stands_where_the_transforms_say():
    frame = frame_with(T_color_depth=shifted((0.1, 0, 0)), T_world_camera=shifted((1, 2, 3)))
    assert np.allclose(frame.T_world_depth[:3, 3], (1.1, 2, 3))
    with pytest.raises(BadFrame, match="frame 4: the camera's pose is unknown"):
        frame_with(T_world_camera=None).T_world_depth  # noqa: B018


def test_a_frame_survives_pickling():
    frame = pickle.loads(pickle.dumps(frame_with(depth_scale=1e-4)))
    assert frame.depth_scale == 1e-4
    assert np.array_equal(frame.T_world_camera, np.eye(4))
    dot = Intrinsics(1.0, 1.0, 0.0, 0.0, 1, 1)
    assert frame_with(color_intrinsics=dot, depth_intrinsics=dot).depth_m.shape == (1, 1)


@settings(max_examples=200, deadline=None)
@given(
    near=st.floats(1e-3, 20.0),
    more=st.floats(1e-3, 100.0),
    scale=st.sampled_from([1e-6, 1e-4, 0.00025, 0.001, float(np.float32(0.001)), 0.005, 0.1]),
)
def test_counts_are_those_whose_metres_lie_in_the_range(near, more, scale):
    lowest, highest = DepthRange(near, near + more).counts(scale)
    every = np.arange(65536)
    metres = every * scale
    slack = 2e-6 * scale
    inside = (metres >= near - slack) & (metres <= near + more + slack) & (every > 0) & (every < 65535)
    assert np.array_equal((every >= lowest) & (every <= highest), inside)
    assert not lowest <= 0 <= highest
    assert not lowest <= 65535 <= highest


@pytest.mark.parametrize(
    ("near", "far", "scale", "counts"),
    [
        (0.2, 10.0, 0.001, (200, 10000)),
        (0.2, 10.0, float(np.float32(0.001)), (200, 9999)),
        (1e-9, 1e9, 0.001, (1, 65534)),
        (0.07, 0.5, 1e-4, (700, 5000)),
        (1.0101, 1.0109, 0.001, (1, 0)),
        (70.0, 80.0, 0.001, (1, 0)),
        (1.0, 2.0, 1e-5, (1, 0)),
        (0.3, 0.30001, 0.001, (300, 300)),
    ],
)
def test_ends_of_the_range_count_and_an_empty_range_is_one_to_zero(near, far, scale, counts):
    assert DepthRange(near, far).counts(scale) == counts


@pytest.mark.parametrize("bad", [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.1, np.inf)])
def test_an_impossible_range_is_refused(bad):
    with pytest.raises(BadFrame, match="near_m < far_m"):
        DepthRange(*bad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_metres_become_counts_and_what_is_no_depth_becomes_zero(dtype):
    metres = np.array(
        [[1.2344, 1.2346, 0.0, -1.0, np.nan, np.inf, -np.inf, 3e38, 65.534, 65.535, 0.0004, 0.0006]], dtype
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = depth_counts(metres, 0.001)
    assert counts.dtype == np.uint16
    assert counts.tolist() == [[1234, 1235, 0, 0, 0, 0, 0, 0, 65534, 0, 0, 1]]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-4, 0.00025, 0.001, 0.005]))
def test_counts_survive_metres(seed, scale):
    raw = np.random.default_rng(seed).integers(0, 65535, (H, W), dtype=np.uint16)
    assert np.array_equal(depth_counts(frame_with(depth_raw=raw, depth_scale=scale).depth_m, scale), raw)
