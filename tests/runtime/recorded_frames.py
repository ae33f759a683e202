"""Small random frames that tests of sources and sinks write and read back."""

from __future__ import annotations

import numpy as np

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

W, H = 16, 12
CAMERA = Intrinsics(20.0, 21.0, 7.5, 5.5, W, H)
DISTORTED = Intrinsics(31.5, 30.25, 7.1, 5.3, W, H, "inverse_brown_conrady", (0.1, -0.05, 0.001, -0.002, 0.01))
SMALL_DEPTH = Intrinsics(11.0, 11.5, 4.0, 3.0, 10, 8, "brown_conrady", (0.05, -0.01, 0.0, 0.0, 0.0))


def random_pose(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    return pose.from_quaternion(rng.uniform(-5, 5, 3), q / np.linalg.norm(q))


def make_frames(
    count: int,
    seed: int = 0,
    color: Intrinsics = CAMERA,
    depth: Intrinsics = CAMERA,
    T_color_depth: np.ndarray | None = None,
    depth_scale: float = 0.001,
    lost: tuple[int, ...] = (),
) -> list[RgbdFrame]:
    rng = np.random.default_rng(seed)
    extra = {} if T_color_depth is None else {"T_color_depth": T_color_depth}
    return [
        RgbdFrame(
            index=i,
            timestamp_ns=1_700_000_000_000_000_000 + i * 33_333_333 + int(rng.integers(0, 1_000_000)),
            color=rng.integers(0, 256, (color.height, color.width, 3), dtype=np.uint8),
            color_intrinsics=color,
            depth_raw=rng.integers(0, 65536, (depth.height, depth.width), dtype=np.uint16),
            depth_scale=depth_scale,
            depth_intrinsics=depth,
            T_world_camera=None if i in lost else random_pose(rng),
            **extra,
        )
        for i in range(count)
    ]


def same(a: RgbdFrame, b: RgbdFrame, color: bool = True) -> None:
    assert (a.index, a.timestamp_ns) == (b.index, b.timestamp_ns)
    assert np.array_equal(a.depth_raw, b.depth_raw)
    if color:
        assert np.array_equal(a.color, b.color)
    assert (a.color_intrinsics, a.depth_intrinsics) == (b.color_intrinsics, b.depth_intrinsics)
    np.testing.assert_allclose(a.T_color_depth, b.T_color_depth, atol=1e-12, rtol=0)
    assert (a.T_world_camera is None) == (b.T_world_camera is None)
    if a.T_world_camera is not None:
        np.testing.assert_allclose(a.T_world_camera, b.T_world_camera, atol=1e-9, rtol=0)
