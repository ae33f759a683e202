"""Synthetic rooms: what is claimed to be exact is exact, and the noise is the noise that is stated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.rooms import (
    BACKGROUND,
    FIRST_FURNITURE,
    Room,
    SyntheticRecording,
    Truth,
    camera_path,
    make_room,
    noisy_depth,
    realsense_cameras,
    render,
    survey,
)
from scene_r1.rooms.render.raycast import ray_caster
from scene_r1.sources.source import FrameSource
from scene_r1_engines.errors import BadFrame, BadInput, BadIntrinsics, BadRecording, MissingExtra
from scene_r1_engines.intrinsics import Intrinsics

SMALL = (320, 240)


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [make_room(seed) for seed in range(10)]


@pytest.fixture(scope="module")
def walk() -> Iterator[tuple[SyntheticRecording, list[Truth]]]:
    """Half a minute through room 0, its truth known in every frame."""
    pytest.importorskip("embreex")
    with SyntheticRecording(0, 60, SMALL, rate_hz=2.0) as recording:
        yield recording, [recording.truth(i) for i in range(len(recording))]


def points_of(truth: Truth, recording: SyntheticRecording, index: int) -> np.ndarray:
    """(h, w, 3) world points of a depth image."""
    _, depth, T_color_depth = recording.cameras
    v, u = np.mgrid[: depth.height, : depth.width]
    rays = depth.rays(np.stack([u.ravel(), v.ravel()], axis=1))
    camera = np.column_stack([rays, np.ones(len(rays))]) * truth.depth_m.reshape(-1, 1).astype(np.float64)
    return pose.apply(recording.poses[index] @ T_color_depth, camera).reshape(*truth.depth_m.shape, 3)


def test_the_same_seed_gives_the_same_room_path_and_frames_and_another_seed_another() -> None:
    a, b, c = make_room(3), make_room(3), make_room(4)
    assert [thing.name for thing in a.objects] == [thing.name for thing in b.objects]
    assert all(np.array_equal(x.mesh.vertices, y.mesh.vertices) for x, y in zip(a.objects, b.objects, strict=True))
    assert [thing.box for thing in a.objects] != [thing.box for thing in c.objects]
    np.testing.assert_array_equal(camera_path(a, 20, 1), camera_path(b, 20, 1))
    assert not np.array_equal(camera_path(a, 20, 1), camera_path(a, 20, 2))
    pytest.importorskip("embreex")
    cameras = realsense_cameras((160, 120))
    one, two = (render(room, camera_path(room, 1)[0], *cameras) for room in (a, b))
    np.testing.assert_array_equal(one.color, two.color)
    np.testing.assert_array_equal(one.depth_m, two.depth_m)
    np.testing.assert_array_equal(one.instance, two.instance)


def test_a_longer_path_begins_as_a_shorter_one_of_the_same_seed(rooms: list[Room]) -> None:
    short, long = camera_path(rooms[0], 60), camera_path(rooms[0], 90)
    assert short.shape == (60, 4, 4)
    assert np.linalg.norm(short[0, :3, 3] - long[0, :3, 3]) < 0.05


def test_the_camera_walks_smoothly_upright_and_never_inside_anything(rooms: list[Room]) -> None:
    for room in rooms:
        path = camera_path(room, 450)
        at = path[:, :3, 3]
        assert not room.inside_things(at, 0.05).any()
        assert at[:, 2].min() > 1.1
        assert at[:, 2].max() < 1.85
        assert np.linalg.norm(np.diff(at, axis=0), axis=1).max() * 30.0 < 1.0
        turns = [pose.angle_deg(a, b) for a, b in pairwise(path)]
        assert max(turns) * 30.0 < 200.0
        assert np.all(path[:, 2, 1] < 0.0), "the image's y axis points down"
        for T in path[::50]:
            np.testing.assert_allclose(pose.rigid(T), T, atol=1e-12)


def test_most_objects_are_seen_from_near_and_from_several_sides(
    walk: tuple[SyntheticRecording, list[Truth]],
) -> None:
    recording, truths = walk
    seen = recording.visible_fraction()
    assert [v.id for v in seen] == [thing.id for thing in recording.room.objects]
    assert np.mean([0.6 <= v.nearest_m <= 2.0 for v in seen]) > 0.6
    assert np.mean([v.fraction >= 0.5 for v in seen]) > 0.5
    assert all(v.fraction <= 0.999 or v.nearest_m < 2.0 for v in seen)
    for v in seen:
        pixels = sum(int(truth.mask(v.id).sum()) for truth in truths)
        assert (v.fraction > 0.0) == (pixels > 0) or pixels < 40
    fewer = recording.visible_fraction([0, 1])
    assert all(a.fraction <= b.fraction for a, b in zip(fewer, seen, strict=True))


def test_truth_boxes_hold_every_rendered_surface_point_and_are_touched_by_them(
    walk: tuple[SyntheticRecording, list[Truth]],
) -> None:
    recording, truths = walk
    low = np.full((len(recording.room.objects), 3), np.inf)
    high = -low
    for index, truth in enumerate(truths):
        points = points_of(truth, recording, index)
        for id in np.unique(truth.depth_instance[truth.depth_instance >= 0]):
            if id >= FIRST_FURNITURE:
                continue
            mine = points[truth.depth_instance == id]
            low[id], high[id] = np.minimum(low[id], mine.min(axis=0)), np.maximum(high[id], mine.max(axis=0))
    gaps = []
    for thing, v in zip(recording.room.objects, recording.visible_fraction(), strict=True):
        assert np.all(low[thing.id] >= np.asarray(thing.box.low) - 0.001), thing.name
        assert np.all(high[thing.id] <= np.asarray(thing.box.high) + 0.001), thing.name
        if v.fraction > 0.6 and v.nearest_m < 2.0:
            gaps.append(np.concatenate([low[thing.id] - thing.box.low, thing.box.high - high[thing.id]]))
    # A pixel of the depth camera covers about 1 cm at 2 m, and the side of a ball that faces the wall is not seen.
    assert len(gaps) >= 4
    assert np.max(gaps) < 0.05
    assert np.mean(np.array(gaps) < 0.012) > 0.85


def test_the_floor_is_rendered_where_geometry_says(walk: tuple[SyntheticRecording, list[Truth]]) -> None:
    recording, truths = walk
    _, depth, T_color_depth = recording.cameras
    compared = 0
    for index in range(0, len(truths), 9):
        T = recording.poses[index] @ T_color_depth
        v, u = np.mgrid[: depth.height, : depth.width]
        rays = depth.rays(np.stack([u.ravel(), v.ravel()], axis=1))
        down = (T[2, :2] * rays).sum(axis=1) + T[2, 2]
        with np.errstate(divide="ignore"):
            expected = (-T[2, 3] / down).reshape(depth.height, depth.width)
        at = T[:2, 3] + (rays @ T[:2, :2].T + T[:2, 2]) * expected.reshape(-1, 1)
        half = np.array(recording.room.size_m[:2]) / 2 - 0.1
        on_floor = (expected > 0) & np.all(np.abs(at) < half, axis=1).reshape(expected.shape)
        on_floor &= truths[index].depth_instance == BACKGROUND
        error = np.abs(truths[index].depth_m - expected)[on_floor]
        compared += len(error)
        assert np.all((error < 2e-6 * expected[on_floor]) | (truths[index].depth_m < expected)[on_floor])
        assert np.mean(error < 1e-5) > 0.999  # the rest: the lower ends of what hangs on the walls
    assert compared > 20_000


def test_colour_and_depth_cameras_agree_on_what_they_see(walk: tuple[SyntheticRecording, list[Truth]]) -> None:
    recording, truths = walk
    color, _, _ = recording.cameras
    same = total = 0
    for index in range(0, len(truths), 6):
        points = points_of(truths[index], recording, index).reshape(-1, 3)
        uv = np.rint(color.project(pose.apply(pose.inverse(recording.poses[index]), points)))
        with np.errstate(invalid="ignore"):
            inside = np.all((uv >= 0) & (uv < (color.width, color.height)), axis=1)
        u, v = uv[inside].astype(int).T
        agree = truths[index].instance[v, u] == truths[index].depth_instance.reshape(-1)[inside]
        same, total = same + int(agree.sum()), total + len(agree)
    assert total > 100_000
    assert same / total >= 0.97


def test_with_one_camera_depth_is_registered_to_colour(walk: tuple[SyntheticRecording, list[Truth]]) -> None:
    room = walk[0].room
    color, depth, T_color_depth = realsense_cameras(SMALL, one_camera=True)
    T = camera_path(room, 1)[0]
    view = render(room, T, color)
    two = survey(room, T, color, depth, T_color_depth)
    assert view.depth_instance is view.instance
    np.testing.assert_array_equal(view.depth_m, two.depth_m)
    np.testing.assert_array_equal(view.instance, two.instance)
    frame = next(SyntheticRecording(0, 1, SMALL, one_camera=True, noise=False).frames())
    assert frame.one_camera
    assert np.abs(frame.depth_m - view.depth_m).max() <= 0.0005 + 1e-6


def test_pictures_have_light_colour_and_contrast(walk: tuple[SyntheticRecording, list[Truth]]) -> None:
    recording, truths = walk
    red = green = 0
    for index in range(0, len(truths), 15):
        image = recording.frame(index).color
        assert 60 < image.mean() < 200
        assert image.std() > 20
        assert np.mean(np.all(image > 250, axis=2)) < 0.35, "not washed out"
        for thing in recording.room.objects:
            mask = truths[index].mask(thing.id)
            if mask.sum() > 300 and thing.color in ("green", "blue"):
                mean = image[mask].mean(axis=0)
                green += 1
                assert np.argmax(mean) == ("red", "green", "blue").index(thing.color), thing.name
            red += int(mask.any())
    assert red > 5


def wall(z: float, intrinsics: Intrinsics) -> np.ndarray:
    return np.full((intrinsics.height, intrinsics.width), z, np.float32)


@pytest.mark.parametrize(("width", "z"), [(640, 1.0), (640, 2.5), (320, 1.5)])
def test_depth_noise_on_a_wall_is_as_stated_and_unbiased(width: int, z: float) -> None:
    _, depth, _ = realsense_cameras((width, width * 3 // 4))
    rng = np.random.default_rng(7)
    raw = np.concatenate([noisy_depth(wall(z, depth), depth, rng)[:, 60:] for _ in range(3)])
    assert np.mean(raw == 0) < 0.01
    measured = raw[raw > 0] * 0.001
    sigma = 0.1 * z * z / (385.0 * width / 640.0 * 0.05)
    assert np.std(measured) == pytest.approx(sigma, rel=0.1)
    assert abs(np.mean(measured) - z) < 0.1 * sigma + 0.0003
    left, right = raw[:, :-1] * 0.001 - z, raw[:, 1:] * 0.001 - z
    both = (raw[:, :-1] > 0) & (raw[:, 1:] > 0)
    assert 0.3 < np.mean(left[both] * right[both]) / sigma**2 < 0.95, "neighbours err alike, but not as one"


def test_depth_noise_scales_and_comes_in_steps_of_disparity() -> None:
    _, depth, _ = realsense_cameras()
    quiet = noisy_depth(wall(3.0, depth), depth, np.random.default_rng(0), scale=0.0)
    step = 3.0**2 / (385.0 * 0.05 * 32)
    assert len(np.unique(quiet[quiet > 0])) == 1
    assert abs(float(quiet.max()) * 0.001 - 3.0) <= step / 2 + 0.001
    twice = noisy_depth(wall(2.0, depth), depth, np.random.default_rng(0), scale=2.0)[:, 60:]
    assert np.std(twice[twice > 0] * 0.001) == pytest.approx(2 * 0.1 * 4.0 / (385.0 * 0.05), rel=0.1)


def test_depth_has_no_return_too_near_too_far_and_at_grazing_incidence() -> None:
    _, depth, _ = realsense_cameras()
    rng = np.random.default_rng(0)
    assert not noisy_depth(wall(0.2, depth), depth, rng).any()
    assert not noisy_depth(wall(12.0, depth), depth, rng).any()
    assert not noisy_depth(wall(0.0, depth), depth, rng).any()
    v = (np.arange(depth.height)[:, None] - depth.cy) / depth.fy
    for height, few, many in ((0.15, 0.8, 1.0), (1.5, 0.0, 0.1)):  # a table top seen from 15 cm above it, from 1.5 m
        with np.errstate(divide="ignore"):
            z = np.broadcast_to(np.where(v > 0.02, height / v, 0.0), depth_shape(depth)).astype(np.float32)
        z = np.where((z > 1.3) & (z < 3.5), z, 0.0).astype(np.float32)
        inside = z[2:] * z[:-2] > 0
        holes = noisy_depth(z, depth, rng)[1:-1, 150:][inside[:, 150:]] == 0
        assert few <= holes.mean() <= many


def depth_shape(intrinsics: Intrinsics) -> tuple[int, int]:
    return intrinsics.height, intrinsics.width


def test_steps_in_depth_have_holes_flying_pixels_and_a_shadow_on_their_left() -> None:
    _, depth, _ = realsense_cameras()
    z = wall(3.0, depth)
    z[100:380, 250:400] = 1.0
    raw = noisy_depth(z, depth, np.random.default_rng(0))
    measured = raw * 0.001
    shadow = 385.0 * 0.05 * (1 / 1.0 - 1 / 3.0)  # 12.8 px
    assert np.mean(raw[110:370, 250 - int(shadow) + 2 : 248] == 0) > 0.95
    assert np.mean(raw[110:370, 403:420] == 0) < 0.02
    beside = measured[110:370, 398:402]
    assert 0.1 < np.mean(beside == 0) < 0.6
    assert 0.01 < np.mean((beside > 1.15) & (beside < 2.2)) < 0.4
    assert np.mean(np.abs(measured[110:370, 255:390] - 1.0) < 0.03) > 0.99


def test_a_recording_is_a_source_of_frames_with_exact_poses(walk: tuple[SyntheticRecording, list[Truth]]) -> None:
    recording, _ = walk
    assert isinstance(recording, FrameSource)
    assert recording.info.frames == 60
    assert recording.info.has_poses
    frames = recording.frames()
    first, second = next(frames), next(frames)
    assert isinstance(first, RgbdFrame)
    assert (first.index, second.index) == (0, 1)
    assert second.timestamp_ns - first.timestamp_ns == round(1e9 / 2.0)
    assert second.T_world_camera is not None
    np.testing.assert_allclose(second.T_world_camera, recording.poses[1], atol=1e-12)
    np.testing.assert_array_equal(recording.frame(1).depth_raw, second.depth_raw)
    assert 0.005 < np.mean(first.depth_raw == 0) < 0.25


def test_a_closed_recording_refuses_to_be_read() -> None:
    recording = SyntheticRecording(0, 2, SMALL)
    recording.close()
    recording.close()
    with pytest.raises(BadInput, match="closed"):
        next(recording.frames())
    with pytest.raises(BadInput, match="closed"):
        recording.frame(0)


def test_a_cached_recording_is_whole_or_absent_and_the_same(tmp_path: Path) -> None:
    pytest.importorskip("embreex")

    def opened(**more: object) -> SyntheticRecording:
        arguments: dict[str, object] = {"frames": 3, "size": (160, 120), "rate_hz": 1.0, "cache_dir": tmp_path, **more}
        return SyntheticRecording(0, **arguments)  # type: ignore[arg-type]

    partly = opened().frames()
    next(partly)
    partly.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    made = list(opened().frames())
    (path,) = tmp_path.iterdir()
    read = list(opened().frames())
    for a, b in zip(made, read, strict=True):
        np.testing.assert_array_equal(a.color, b.color)
        np.testing.assert_array_equal(a.depth_raw, b.depth_raw)
        assert (a.index, a.timestamp_ns) == (b.index, b.timestamp_ns)
    for other in ({"noise": False}, {"path_seed": 1}, {"one_camera": True}, {"noise_scale": 2.0}, {"rate_hz": 2.0}):
        list(opened(**other).frames())
    assert len(list(tmp_path.iterdir())) == 6
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadRecording, match="remove it"):
        list(opened().frames())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"seed": -1}, BadInput),
        ({"seed": 0.5}, BadInput),
        ({"frames": 0}, BadInput),
        ({"frames": True}, BadInput),
        ({"rate_hz": 0.0}, BadInput),
        ({"rate_hz": float("nan")}, BadInput),
        ({"path_seed": -1}, BadInput),
        ({"noise_scale": -1.0}, BadInput),
        ({"size": (640,)}, BadInput),
        ({"size": (0, 480)}, BadIntrinsics),
        ({"size": (640, 1.5)}, BadIntrinsics),
    ],
)
def test_impossible_arguments_of_a_recording_are_refused(arguments: dict[str, object], error: type[BadInput]) -> None:
    with pytest.raises(error):
        SyntheticRecording(**{"seed": 0, "frames": 2, **arguments})  # type: ignore[arg-type]


def test_impossible_arguments_elsewhere_are_refused(walk: tuple[SyntheticRecording, list[Truth]]) -> None:
    room, (color, depth, T_color_depth) = walk[0].room, realsense_cameras(SMALL)
    outside = np.eye(4)
    outside[:3, 3] = (10.0, 0.0, 1.5)
    with pytest.raises(BadInput, match="outside"):
        render(room, outside, color, depth, T_color_depth)
    with pytest.raises(BadFrame, match="not rigid"):
        render(room, np.diag([2.0, 2.0, 2.0, 1.0]), color)
    with pytest.raises(BadInput, match="together"):
        render(room, camera_path(room, 1)[0], color, depth)
    with pytest.raises(BadInput, match="objects 0"):
        room.object(99)
    for bad in (np.zeros((10, 10), np.float32), np.zeros((240, 320))):
        with pytest.raises(BadInput, match="depth_m must be"):
            noisy_depth(bad, depth, np.random.default_rng(0))
    with pytest.raises(BadInput, match="scale"):
        noisy_depth(np.zeros((240, 320), np.float32), depth, np.random.default_rng(0), scale=-1.0)
    recording = SyntheticRecording(0, 2, SMALL)
    for index in (-1, 2):
        with pytest.raises(BadInput, match=r"frames 0\.\.1"):
            recording.truth(index)


def test_without_a_ray_caster_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("embreex", "embreex.rtcore_scene", "embreex.mesh_construction", "open3d"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="rooms"):
        ray_caster(np.eye(3), np.array([[0, 1, 2]]))


def test_a_ray_caster_finds_the_first_triangle_and_stops_at_its_reach() -> None:
    pytest.importorskip("embreex")
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0]], np.float64)
    caster = ray_caster(
        np.concatenate([square + np.array([0, 0, 2]), square + np.array([0, 0, 1])]), np.arange(6).reshape(2, 3)
    )
    origins = np.array([[0.5, 0, 0], [0.5, 0, 1.5], [5, 5, 0]], np.float32)
    directions = np.tile(np.array([[0, 0, 1]], np.float32), (3, 1))
    assert caster.first_hit(origins, directions).tolist() == [1, 0, -1]
    assert caster.blocked(origins, directions, np.full(3, 0.6, np.float32)).tolist() == [False, True, False]
    assert caster.blocked(origins, 2 * directions, np.full(3, 0.6, np.float32)).tolist() == [True, True, False]
