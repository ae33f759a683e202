"""The parts of the ROS reader: pixels, cameras, transforms, pairing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, H, W, make_frames, random_pose
from tests.runtime.ros_writer import (
    COLOR,
    COLOR_FRAME,
    COLOR_INFO,
    DEPTH,
    DEPTH_INFO,
    Bag,
    compressed_depth,
    png,
)

from scene_r1 import pose
from scene_r1.sources.association import associate
from scene_r1.sources.ros import RosBag
from scene_r1.sources.ros.camera_info import intrinsics_from_info
from scene_r1.sources.ros.pairing import StampPairing
from scene_r1.sources.ros.transforms import BETWEEN_NS, MAX_FRAMES, TransformBuffer
from scene_r1_engines.errors import BadFrame, BadRecording

FRAME = make_frames(1)[0]
RGB, BGR = FRAME.color, FRAME.color[:, :, ::-1]
ALPHA = np.full((H, W, 1), 7, dtype=np.uint8)
GRAY = np.repeat(RGB[:, :, :1], 3, axis=2)
FLAT = np.full((H, W, 2), 128, dtype=np.uint8)  # of one colour, which halving its resolution leaves as it is
FLAT[:, :, 1] = 60
UYVY_GRAY = cv2.cvtColor(FLAT, cv2.COLOR_YUV2RGB_UYVY)


def read_one(path: Path) -> Any:
    with RosBag(path) as source:
        (frame,) = source.frames()
        return frame


def one_image(folder: Path, color: Any = None, depth: Any = None) -> Path:
    """A bag of one frame; color, depth: (array, encoding) or (bytes, format) instead of the plain ones."""
    with Bag(folder) as bag:
        bag.info(COLOR_INFO, 1, COLOR_FRAME, CAMERA)
        bag.info(DEPTH_INFO, 1, COLOR_FRAME, CAMERA)
        for topic, given_, transport in (
            (COLOR, color or (RGB, "rgb8"), "/compressed"),
            (DEPTH, depth or (FRAME.depth_raw, "16UC1"), "/compressedDepth"),
        ):
            if isinstance(given_[0], bytes):
                bag.compressed(topic + transport, 1, COLOR_FRAME, *given_)
            else:
                bag.image(topic, 1, COLOR_FRAME, *given_)
    return bag.path


@pytest.mark.parametrize(
    ("stored", "encoding", "wanted"),
    [
        (RGB, "rgb8", RGB),
        (BGR, "bgr8", RGB),
        (np.concatenate([RGB, ALPHA], axis=2), "rgba8", RGB),
        (np.concatenate([BGR, ALPHA], axis=2), "bgra8", RGB),
        (RGB[:, :, 0], "mono8", GRAY),
        (FLAT, "yuv422", UYVY_GRAY),
        (FLAT[:, :, ::-1], "yuv422_yuy2", UYVY_GRAY),
        (png(RGB), "rgb8; png compressed bgr8", RGB),
    ],
    ids=lambda one: one.split(";")[0] if isinstance(one, str) else "",
)
def test_colour_of_every_encoding_becomes_rgb(tmp_path: Path, stored: Any, encoding: str, wanted: np.ndarray) -> None:
    assert np.array_equal(read_one(one_image(tmp_path / "room", color=(stored, encoding))).color, wanted)


def test_jpeg_colour_is_read(tmp_path: Path) -> None:
    smooth = cv2.resize(RGB[:2, :2], (W, H), interpolation=cv2.INTER_LINEAR)
    jpeg = bytes(cv2.imencode(".jpg", smooth[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1])
    got = read_one(one_image(tmp_path / "room", color=(jpeg, "bgr8; jpeg compressed bgr8"))).color
    assert np.abs(got.astype(int) - smooth).mean() < 12


def test_depth_in_metres_keeps_a_quarter_millimetre_and_knows_no_return(tmp_path: Path) -> None:
    depth_m = np.linspace(0.3, 12.0, W * H, dtype=np.float32).reshape(H, W)
    depth_m[0, :4] = (np.nan, np.inf, -1.0, 0.0)
    frame = read_one(one_image(tmp_path / "room", depth=(depth_m, "32FC1")))
    assert frame.depth_scale == 0.00025
    assert not frame.depth_raw[0, :4].any()
    np.testing.assert_allclose(frame.depth_m.ravel()[4:], depth_m.ravel()[4:], atol=0.000126)


def test_big_endian_and_padded_rows_are_read(tmp_path: Path) -> None:
    with Bag(tmp_path / "room") as bag:
        bag.info(COLOR_INFO, 1, COLOR_FRAME, CAMERA)
        bag.info(DEPTH_INFO, 1, COLOR_FRAME, CAMERA)
        padded = np.concatenate([RGB.reshape(H, -1), np.zeros((H, 5), np.uint8)], axis=1)
        bag.image(COLOR, 1, COLOR_FRAME, RGB, "rgb8", step=3 * W + 5, data=padded.ravel())
        swapped = FRAME.depth_raw.byteswap().view(np.uint8).ravel()
        bag.image(DEPTH, 1, COLOR_FRAME, FRAME.depth_raw, "16UC1", is_bigendian=1, data=swapped)
    frame = read_one(bag.path)
    assert np.array_equal(frame.color, RGB)
    assert np.array_equal(frame.depth_raw, FRAME.depth_raw)


def test_compressed_depth_is_read_as_it_was_and_inverse_depth_as_metres(tmp_path: Path) -> None:
    plain = (compressed_depth(FRAME.depth_raw), "16UC1; compressedDepth png")
    assert np.array_equal(read_one(one_image(tmp_path / "plain", depth=plain)).depth_raw, FRAME.depth_raw)
    depth_m = np.linspace(0.5, 8.0, W * H).reshape(H, W)
    a, b = 5000.0, -200.0  # count = a / depth + b
    counts = np.rint(a / depth_m + b).astype(np.uint16)
    inverse = (compressed_depth(counts, a, b), "32FC1; compressedDepth")
    got = read_one(one_image(tmp_path / "inverse", depth=inverse)).depth_m
    kept = counts > 0
    assert kept.sum() > 150
    np.testing.assert_allclose(got[kept], (a / (counts - b))[kept], atol=0.000126)
    assert not got[~kept].any()


@pytest.mark.parametrize(
    ("color", "depth", "words"),
    [
        ((RGB[:, :, 0], "bayer_rggb8"), None, "encoded as 'bayer_rggb8'; read are rgb8"),
        ((RGB[1:], "rgb8"), None, "is 16x11 pixels, but its camera_info is of 16x12"),
        ((png(RGB[1:]), "png"), None, "16x11 pixels"),
        ((png(RGB)[:-20], "png"), None, "cut short"),
        ((b"", "png"), None, "neither a PNG nor a JPEG"),
        (None, (FRAME.depth_raw.astype(np.float64), "64FC1"), "encoded as '64fc1'; read are 16UC1 and 32FC1"),
        (None, (compressed_depth(FRAME.depth_raw)[:11], "16UC1; compressedDepth png"), "only 11 bytes"),
        (None, (bytes(40), "16UC1; compressedDepth rvl"), "compressed as '16UC1; compressedDepth rvl'; read is png"),
        (None, (compressed_depth(FRAME.depth_raw)[:-3], "16UC1; compressedDepth png"), "cut short"),
    ],
)
def test_an_image_that_is_none_names_its_frame_and_what_is_wrong(
    tmp_path: Path, color: Any, depth: Any, words: str
) -> None:
    with RosBag(one_image(tmp_path / "room", color, depth)) as source, pytest.raises(BadRecording) as caught:
        list(source.frames())
    assert caught.value.frame == 0
    assert words in caught.value.reason


def info(**other: Any) -> SimpleNamespace:
    """A CameraInfo: 64x48, f 60, with P of a camera rectified to f 50."""
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    K, P = [60.0, 0, 31, 0, 61, 23, 0, 0, 1], [50.0, 0, 30, 0, 0, 51, 22, 0, 0, 0, 1, 0]
    fields = {"width": 64, "height": 48, "distortion_model": "plumb_bob", "d": [], "k": K, "p": P}
    return SimpleNamespace(**(fields | {"binning_x": 0, "binning_y": 1, "roi": roi} | other))


@pytest.mark.parametrize(
    ("given_", "model", "coefficients"),
    [
        ({}, "none", (0.0,) * 5),
        ({"d": [0.0] * 5}, "none", (0.0,) * 5),
        ({"distortion_model": ""}, "none", (0.0,) * 5),
        ({"d": [0.1, -0.2, 0.003, 0.004]}, "brown_conrady", (0.1, -0.2, 0.003, 0.004, 0.0)),
        ({"d": [0.1, -0.2, 0.003, 0.004, 0.05]}, "brown_conrady", (0.1, -0.2, 0.003, 0.004, 0.05)),
        (
            {"d": [0.1, -0.2, 0.003, 0.004, 0.05, 0.0, 0.0, 0.0], "distortion_model": "rational_polynomial"},
            "brown_conrady",
            (0.1, -0.2, 0.003, 0.004, 0.05),
        ),
    ],
)
def test_a_camera_info_becomes_our_camera(given_: Any, model: str, coefficients: tuple[float, ...]) -> None:
    for upper in (False, True):  # ROS 2 writes k, d, p and ROS 1 K, D, P
        message = info(**given_)
        if upper:
            for name in "kdp":
                setattr(message, name.upper(), message.__dict__.pop(name))
        got = intrinsics_from_info(message, "/info", False, "a.mcap")
        assert (got.fx, got.fy, got.cx, got.cy, got.width, got.height) == (60.0, 61.0, 31.0, 23.0, 64, 48)
        assert (got.model, got.coefficients) == (model, coefficients)


def test_rectified_images_have_the_projection_and_no_distortion() -> None:
    got = intrinsics_from_info(info(d=[0.1, 0, 0, 0, 0]), "/info", True, "a.mcap")
    assert (got.fx, got.fy, got.cx, got.cy, got.model) == (50.0, 51.0, 30.0, 22.0, "none")
    without_p = intrinsics_from_info(info(d=[0.1, 0, 0, 0, 0], p=[0.0] * 12), "/info", True, "a.mcap")
    assert (without_p.fx, without_p.model) == (60.0, "none")


@pytest.mark.parametrize(
    "wrong",
    [
        {"distortion_model": "equidistant", "d": [0.0] * 4},
        {"distortion_model": "rational_polynomial", "d": [0.1] * 8},
        {"d": [0.1, 0.2]},
        {"d": [float("nan")] * 5},
        {"k": [0.0] * 9},
        {"k": [60.0, 0, 31]},
        {"width": 0},
        {"width": 2**32 - 1},
        {"binning_x": 2},
        {"roi": SimpleNamespace(x_offset=4, y_offset=0, width=60, height=48, do_rectify=False)},
    ],
    ids=str,
)
def test_a_lens_or_a_size_that_is_not_read_is_refused_by_topic(wrong: Any) -> None:
    with pytest.raises(BadRecording, match="/cam/camera_info is no camera read here"):
        intrinsics_from_info(info(**wrong), "/cam/camera_info", False, "a.mcap")


# -- transforms -------------------------------------------------------------------------------------------------------


def row(T: np.ndarray) -> tuple[float, ...]:
    return (*T[:3, 3], *pose.to_quaternion(T))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_chain_composes_to_the_camera_and_back(seed: int, length: int, moving: int) -> None:
    rng = np.random.default_rng(seed)
    buffer, wanted = TransformBuffer(), np.eye(4)
    for i in range(length):
        T = random_pose(rng)
        wanted = wanted @ T
        buffer.add(f"f{i}", f"/f{i + 1}", 1000, row(T), static=i != moving)
    got = buffer.at("f0", f"f{length}", 1000)
    assert got is not None
    np.testing.assert_allclose(got, wanted, atol=1e-9)
    assert buffer.ancestors(f"f{length}") == [f"f{i}" for i in reversed(range(length))]
    back = buffer.static_between(f"f{length}", "f0")
    assert (back is None) == (moving < length)
    assert back is None or np.allclose(back @ wanted, np.eye(4), atol=1e-9)


def test_two_cameras_on_one_mount_are_joined_through_it() -> None:
    rng = np.random.default_rng(1)
    T_link_a, T_link_b = random_pose(rng), random_pose(rng)
    buffer = TransformBuffer()
    buffer.add("map", "link", 5, row(random_pose(rng)), static=False)
    buffer.add("link", "a", 0, row(T_link_a), static=True)
    buffer.add("link", "b", 0, row(T_link_b), static=True)
    np.testing.assert_allclose(buffer.static_between("a", "b"), pose.inverse(T_link_a) @ T_link_b, atol=1e-12)
    assert buffer.static_between("a", "map") is None
    assert buffer.static_between("a", "elsewhere") is None


def test_transforms_too_far_apart_are_not_bridged_and_old_ones_are_let_go() -> None:
    buffer = TransformBuffer()
    still = row(np.eye(4))
    for stamp_ns in (0, BETWEEN_NS, 3 * BETWEEN_NS):
        buffer.add("map", "cam", stamp_ns, still, static=False)
    assert buffer.at("map", "cam", BETWEEN_NS // 2) is not None
    assert buffer.at("map", "cam", 2 * BETWEEN_NS) is None
    assert buffer.settled("map", "cam", 3 * BETWEEN_NS)
    assert not buffer.settled("map", "cam", 3 * BETWEEN_NS + 1)
    for i in range(20_000):  # 20 s
        buffer.add("map", "cam", (10_000 + i) * 1_000_000, still, static=False)
    assert buffer.at("map", "cam", 3 * BETWEEN_NS) is None
    assert buffer.at("map", "cam", 29_000 * 1_000_000) is not None


def test_a_ring_of_frames_and_lost_or_impossible_transforms_do_no_harm() -> None:
    buffer, still = TransformBuffer(), row(np.eye(4))
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.add(parent, child, 0, still, static=False)
    assert set(buffer.ancestors("a")) <= {"b", "c"}
    assert buffer.at("map", "a", 0) is None
    buffer.add("map", "lost", 0, (float("nan"), *still[1:]), static=False)
    assert buffer.ancestors("lost") == []
    for parent, child, values in (("", "x", still), ("x", "x", still), ("x", "y", (0, 0, 0, 0, 0, 0, 2.0))):
        with pytest.raises(BadFrame):
            buffer.add(parent, child, 0, values, static=False)
    for i in range(MAX_FRAMES - 3):
        buffer.add("map", f"frame{i}", 0, still, static=False)
    with pytest.raises(BadFrame, match="frames are named"):
        buffer.add("map", "one more", 0, still, static=False)


# -- pairing ----------------------------------------------------------------------------------------------------------


def paired(color: list[int], depth: list[int], max_dt: int) -> tuple[list[tuple[int, int]], int]:
    """Feed both streams in the order of their stamps; pairs of stamps, and how many were left alone."""
    pairing: StampPairing[int] = StampPairing(max_dt)
    found = []
    for stamp, stream in sorted([(s, "color") for s in color] + [(s, "depth") for s in depth]):
        found += [(c, d) for _, c, d in pairing.add(stream, stamp, stamp)]
    found += [(c, d) for _, c, d in pairing.end()]
    return found, pairing.unpaired + pairing.late


@given(
    st.lists(st.integers(25, 60), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(-18, 18), st.booleans()), min_size=40, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_streams_pair_as_whole_lists_do(steps: list[int], offsets: list[tuple[int, bool]]) -> None:
    color = np.cumsum(steps).tolist()
    depth = sorted({c + d for c, (d, kept) in zip(color, offsets, strict=False) if kept})
    found, left = paired(color, depth, 20)
    wanted = [(color[i], depth[j]) for i, j in associate(color, depth, 20)]
    assert found == wanted
    assert left == len(color) + len(depth) - 2 * len(wanted)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2000)), max_size=300), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_any_order_of_stamps_gives_increasing_pairs_each_image_once(
    images: list[tuple[bool, int]], max_dt: int
) -> None:
    pairing: StampPairing[tuple[bool, int]] = StampPairing(max_dt)
    found = []
    for number, (is_color, stamp) in enumerate(images):
        found += list(pairing.add("color" if is_color else "depth", stamp, (is_color, number)))
    found += list(pairing.end())
    stamps = [stamp for stamp, _, _ in found]
    assert all(b > a for a, b in pairwise(stamps))
    used = [n for _, c, d in found for _, n in (c, d)]
    assert len(set(used)) == len(used)
    for stamp, (color_is, c), (depth_is, d) in found:
        assert (color_is, depth_is, images[c][1]) == (True, False, stamp)
        assert abs(images[d][1] - stamp) < max_dt
    assert len(used) + pairing.unpaired + pairing.late == len(images)


def test_a_stream_that_stops_does_not_fill_memory() -> None:
    pairing: StampPairing[int] = StampPairing(20)
    for n in range(1000):
        assert not list(pairing.add("color", n * 33, n))
    assert pairing.unpaired == 1000 - 32
