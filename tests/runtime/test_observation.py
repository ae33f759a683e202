from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.box_room import CAMERA, SMALL, frame_at, look, turn

from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.keyframes.observation import FULL, Observation, ObservationSettings, Observer
from scene_r1.keyframes.quality import BRIGHT, DARK, FLOOR, QualityMeter
from scene_r1.voxels import AXIS_BITS, AXIS_MASK
from scene_r1_engines.errors import BadConfig, BadFrame
from scene_r1_engines.intrinsics import Intrinsics

LENS = (0.08, -0.1, 0.001, -0.0005, 0.02)
AT = look((0.2, -1.4, 1.4), (-0.3, 1.0, 0.7))


def twin(frame, s):
    """The same voxels and weights in plain float64: {(i, j, k): q in [0, 1]}."""
    h, w = frame.depth_raw.shape
    stride = max(1, round(w / s.samples))
    v, u = np.mgrid[:h:stride, :w:stride]
    rays = frame.depth_intrinsics.rays(np.stack([u, v], axis=-1).reshape(-1, 2)).reshape(*u.shape, 2)
    counts = frame.depth_raw[::stride, ::stride].astype(np.int64)
    z = counts * frame.depth_scale
    points = np.concatenate([rays * z[..., None], z[..., None]], axis=-1)
    lowest, highest = DepthRange(s.near_m, s.far_m).counts(frame.depth_scale)
    valid = (counts >= lowest) & (counts <= highest) & np.isfinite(points).all(axis=-1)
    c, right, below = counts[:-1, :-1], counts[:-1, 1:], counts[1:, :-1]
    used = valid[:-1, :-1] & valid[:-1, 1:] & valid[1:, :-1]
    used &= (np.abs(right - c) <= s.edge_ratio * c) & (np.abs(below - c) <= s.edge_ratio * c)
    p = points[:-1, :-1]
    normal = np.cross(points[:-1, 1:] - p, points[1:, :-1] - p)
    depth = z[:-1, :-1]
    weight = np.interp(depth, [s.near_m, *s.full_range_m, s.far_m], [0.0, 1.0, 1.0, 0.0])
    rows, columns = u.shape
    vv, uu = np.mgrid[: rows - 1, : columns - 1] + 0.5
    border = np.minimum(np.minimum(vv, rows - vv) / rows, np.minimum(uu, columns - uu) / columns)
    weight = weight * np.where(border < s.margin, s.margin_floor + (1 - s.margin_floor) * border / s.margin, 1.0)
    T = frame.T_world_depth
    cells = np.floor((p @ T[:3, :3].T + T[:3, 3]) / s.voxel_m).astype(int)
    sums, hits = {}, {}
    for cell, n, point, value in zip(cells[used].tolist(), normal[used], p[used], weight[used], strict=True):
        key = tuple(cell)
        sums[key] = sums.get(key, 0.0) + np.array([*n, *point, value])
        hits[key] = hits.get(key, 0) + 1
    out = {}
    for key, total in sums.items():
        n, point = total[:3], total[3:6]
        facing = abs(n @ point) / (np.linalg.norm(n) * np.linalg.norm(point))
        out[key] = facing * total[6] / hits[key] if hits[key] >= s.min_hits else 0.0
    return out


def unpacked(observation):
    fields = np.stack([observation.keys >> (2 * AXIS_BITS), observation.keys >> AXIS_BITS, observation.keys], axis=1)
    ijk = fields & AXIS_MASK
    ijk = np.where(ijk >= 1 << (AXIS_BITS - 1), ijk - (1 << AXIS_BITS), ijk)
    return {tuple(cell): q / FULL for cell, q in zip(ijk.tolist(), observation.q.tolist(), strict=True)}


def assert_agrees(frame, s=None):
    s = s or ObservationSettings()
    fast = unpacked(Observer(s)(frame))
    wanted = twin(frame, s)
    keys = set(fast) | {key for key, q in wanted.items() if q > 1e-3}
    assert len(keys) > 100
    # a sample on the border of two voxels may fall to either side of it in float32
    close = [abs(fast.get(key, 0.0) - wanted.get(key, 0.0)) < 2e-3 for key in keys]
    assert np.mean(close) > 0.97
    assert np.mean([abs(fast.get(key, 0.0) - wanted.get(key, 0.0)) < 0.1 for key in keys]) > 0.99
    assert sum(fast.values()) == pytest.approx(sum(wanted.values()), rel=2e-3)


@pytest.mark.parametrize("camera", [CAMERA, SMALL, CAMERA.scaled(333, 251)])
def test_voxels_and_weights_agree_with_the_plain_twin(camera):
    rng = np.random.default_rng(0)
    assert_agrees(frame_at(0, AT, camera))
    assert_agrees(frame_at(0, AT, camera, noise=rng), ObservationSettings(voxel_m=0.07, min_hits=1, samples=64))


def test_holes_edges_and_a_finer_depth_scale_agree_with_the_twin():
    frame = frame_at(0, AT, depth_scale=0.0002)
    raw = frame.depth_raw.copy()
    rng = np.random.default_rng(1)
    raw[rng.random(raw.shape) < 0.1] = 0
    raw[rng.random(raw.shape) < 0.05] = 65535
    assert_agrees(replace(frame, depth_raw=raw))


@pytest.mark.parametrize("model", ["brown_conrady", "inverse_brown_conrady"])
def test_a_distorted_depth_camera_agrees_with_the_twin(model):
    assert_agrees(frame_at(0, AT, replace(CAMERA, model=model, coefficients=LENS)))


def test_a_depth_camera_of_its_own_is_placed_through_the_extrinsics():
    beside = look((0.05, 0.0, 0.0), (0.06, 1.0, 0.0)) @ np.linalg.inv(look((0, 0, 0), (0, 1, 0)))
    assert_agrees(frame_at(0, AT, CAMERA, SMALL.scaled(140, 100), beside))


def test_the_same_room_elsewhere_has_the_same_voxels_moved():
    frame = frame_at(0, AT)
    here = unpacked(Observer()(frame))
    for shift in ((-300, 0, 0), (0, -41, 7), (100_000, -100_000, 12)):
        T = AT.copy()
        T[:3, 3] += 0.1 * np.array(shift)
        moved = unpacked(Observer()(replace(frame, T_world_camera=T)))
        back = {tuple(np.subtract(key, shift).tolist()): q for key, q in moved.items()}
        assert len(set(back) & set(here)) > 0.98 * len(here)
        assert sum(back.values()) == pytest.approx(sum(here.values()), rel=2e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), quality=st.floats(0.0, 1.0), h=st.integers(1, 20), w=st.integers(1, 40))
def test_any_depth_image_gives_each_voxel_once_with_a_weight_up_to_one(seed, quality, h, w):
    rng = np.random.default_rng(seed)
    camera = Intrinsics(30.0, 30.0, w / 2 - 0.5, h / 2 - 0.5, w, h)
    base = rng.integers(300, 5000)
    raw = np.clip(base + rng.normal(scale=rng.integers(0, 100), size=(h, w)), 0, 65535).astype(np.uint16)
    raw[rng.random((h, w)) < 0.1] = rng.choice([0, 65535, 1, 65534])
    color = np.zeros((h, w, 3), np.uint8)
    seen = Observer()(RgbdFrame(0, 0, color, camera, raw, 0.001, camera, T_world_camera=AT), quality)
    assert seen.keys.dtype == np.int64
    assert seen.q.dtype == np.uint16
    assert len(np.unique(seen.keys)) == len(seen.keys) == len(seen.q)
    assert (seen.keys >= 0).all()
    assert ((seen.q > 0) & (seen.q <= FULL)).all()
    assert seen.weight == int(seen.q.astype(int).sum())


def test_quality_scales_every_weight():
    frame = frame_at(0, AT)
    observe = Observer()
    whole, half, none = observe(frame), observe(frame, 0.5), observe(frame, 0.0)
    assert half.weight == pytest.approx(0.5 * whole.weight, rel=1e-3)
    assert (none.weight, len(none.keys)) == (0, 0)


def test_an_observer_remembers_nothing_of_the_frame_before():
    observe = Observer()
    frames = [frame_at(i, T, CAMERA if i % 2 else SMALL) for i, T in enumerate(turn(6))]
    first = [observe(frame) for frame in frames]
    for frame, seen in zip(frames, first, strict=True):
        alone = Observer()(frame)
        assert np.array_equal(alone.keys, seen.keys)
        assert np.array_equal(alone.q, seen.q)


@pytest.mark.parametrize("value", [0, 65535, 1, 249, 5001])
def test_depth_that_is_not_believed_is_not_seen(value):
    frame = frame_at(0, AT)
    seen = Observer()(replace(frame, depth_raw=np.full(frame.depth_raw.shape, value, np.uint16)))
    assert (len(seen.keys), seen.weight) == (0, 0)


@pytest.mark.parametrize("end", ["near", "far"])
def test_a_range_without_a_ramp_keeps_what_lies_exactly_on_its_end(end):
    """Counts times scale may fall a rounding beyond an end: that sample weighs nothing, its voxel keeps the others."""
    for millimetres in range(301, 400, 7):
        frame = frame_at(0, AT, SMALL)
        raw = np.full(frame.depth_raw.shape, millimetres, np.uint16)
        raw[:, 1::2] = millimetres + (1 if end == "near" else -1)
        at = millimetres / 1000.0
        s = ObservationSettings(near_m=at, full_range_m=(at, 3.0)) if end == "near" else ObservationSettings(
            near_m=0.1, full_range_m=(0.1, at), far_m=at
        )  # fmt: skip
        assert Observer(s)(replace(frame, depth_raw=raw)).weight > 0


def test_the_count_for_no_return_is_nobodys_neighbour():
    """At 0.05 mm a count, 65535 is within a tenth of a surface at 3.1 m."""
    frame = frame_at(0, AT, SMALL)
    flat = np.full(frame.depth_raw.shape, 62000, np.uint16)
    striped = flat.copy()
    striped[:, 1::2] = 65535
    observe = Observer()
    assert observe(replace(frame, depth_raw=flat, depth_scale=5e-5)).weight > 0
    assert observe(replace(frame, depth_raw=striped, depth_scale=5e-5)).weight == 0


def test_a_frame_without_a_pose_is_refused():
    with pytest.raises(BadFrame, match="frame 2: the camera's pose is unknown"):
        Observer()(frame_at(2, AT, posed=False))


@pytest.mark.parametrize(
    "bad",
    [
        {"near_m": 0.0},
        {"near_m": 0.6},
        {"full_range_m": (3.0, 3.0)},
        {"far_m": 1.0},
        {"far_m": float("inf")},
        {"near_m": float("nan")},
        {"voxel_m": 0.0},
        {"voxel_m": float("nan")},
        {"samples": 4},
        {"min_hits": 0},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(BadConfig):
        ObservationSettings(**bad)


def test_an_empty_observation_weighs_nothing():
    assert Observation(np.empty(0, np.int64), np.empty(0, np.uint16)).weight == 0


def picture(color, depth=1000):
    h, w = color.shape[:2]
    camera = Intrinsics(float(w), float(w), (w - 1) / 2, (h - 1) / 2, w, h)
    return RgbdFrame(0, 0, color, camera, np.full((h, w), depth, np.uint16), 0.001, camera)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), h=st.integers(3, 60), w=st.integers(3, 800))
def test_sharpness_is_the_variance_of_opencvs_laplacian(seed, h, w):
    color = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    step = -(-w // 320)
    rows, columns = h // step, w // step
    if min(rows, columns) < 3:
        return
    green = color[: rows * step, : columns * step, 1].astype(np.float64)
    blocks = green.reshape(rows, step, columns, step).mean(axis=(1, 3))
    laplacian = cv2.Laplacian(blocks, cv2.CV_64F, ksize=1)[1:-1, 1:-1]
    quality = QualityMeter()(picture(color))
    assert quality.sharpness == pytest.approx(laplacian.var(), rel=1e-4, abs=1e-2)
    shown = 1.0 - np.mean((blocks >= BRIGHT) | (blocks <= DARK))
    assert quality.exposure == pytest.approx(shown, abs=2.0 / blocks.size)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 640), (640, 1), (3, 3), (2, 1281), (9, 9)])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_the_smallest_pictures_have_a_quality(size, value):
    quality = QualityMeter()(picture(np.full((*size, 3), value, np.uint8)))
    assert quality.sharpness == 0.0
    assert FLOOR**3 - 1e-12 <= quality.score <= 1.0
    assert np.isfinite(quality.relative_sharpness)
    assert 0.0 <= quality.exposure <= 1.0


def test_blur_lowers_the_score_more_the_more_it_is():
    meter = QualityMeter()
    sharp = frame_at(0, AT)
    for _ in range(20):
        good = meter(sharp)
    little, much = (meter(frame_at(0, AT, blur_px=px)) for px in (1.0, 3.0))
    assert good.score > 0.9
    assert good.sharpness > little.sharpness > much.sharpness
    assert good.score > little.score > much.score


@pytest.mark.parametrize("value", [0, 255])
def test_a_badly_exposed_picture_scores_lower(value):
    frame = frame_at(0, AT)
    half = frame.color.copy()
    half[:, :80] = value
    assert QualityMeter()(replace(frame, color=half)).score < 0.7 * QualityMeter()(frame).score


def test_a_lack_of_depth_costs_only_below_a_half():
    frame = frame_at(0, AT)
    scores = []
    for share in (1.0, 0.7, 0.25, 0.0):
        raw = frame.depth_raw.copy()
        raw[round(share * 120) :] = 0
        scores.append(QualityMeter()(replace(frame, depth_raw=raw)).score)
    assert scores[0] == scores[1] > scores[2] > scores[3] > 0.0
    assert scores[3] == pytest.approx(FLOOR * scores[0])


def test_sharpness_is_judged_against_the_last_frames_only():
    meter = QualityMeter(window=5)
    sharp, soft = frame_at(0, AT), frame_at(0, AT, blur_px=2.0)
    for _ in range(5):
        meter(sharp)
    assert meter(soft).relative_sharpness < 0.5
    for _ in range(5):
        last = meter(soft)
    assert last.relative_sharpness == pytest.approx(1.0)
    with pytest.raises(BadConfig, match="window"):
        QualityMeter(window=0)
