"""Run every kernel once on a tiny scene, so that it is compiled and in numba's cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from scene_r1.backproject import BackProjector
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.lift import Lifter, MaskedView
from scene_r1.registration import view_of
from scene_r1.reproject import reproject
from scene_r1.tracking.visual.rehearsal import rehearse
from scene_r1_engines.intrinsics import Intrinsics


def warm_up() -> Iterator[tuple[str, float]]:
    """Yields (stage, seconds it took) stage by stage; a fraction of a second each when all was compiled before."""
    one, two = _frame(two_cameras=False), _frame(two_cameras=True)
    mask = np.zeros(one.color.shape[:2], np.bool_)
    mask[20:40, 20:44] = True
    selector = KeyframeSelector(2)
    stages: list[tuple[str, Callable[[], object]]] = [
        ("backproject", lambda: [BackProjector(voxel_m=v)(f, mask) for v in (None, 0.02) for f in (one, two)]),
        ("keyframes", lambda: [selector.offer(frame) for frame in (one, two)]),
        ("registration", lambda: view_of(two)),
        ("reproject", lambda: reproject(BackProjector()(one, mask).xyz, two)),
        ("tracking", rehearse),
        ("lift", lambda: Lifter()([MaskedView(one, mask), MaskedView(two, mask)])),
    ]
    for name, work in stages:
        start = time.perf_counter()
        work()
        yield name, time.perf_counter() - start


def _frame(two_cameras: bool) -> RgbdFrame:
    """A block on a wall, 64 x 48."""
    camera = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
    depth = np.full((48, 64), 1500, np.uint16)
    depth[20:40, 20:44] = 1300
    color = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    shifted = np.eye(4)
    shifted[0, 3] = 0.015
    return RgbdFrame(
        index=int(two_cameras),
        timestamp_ns=int(two_cameras),
        color=color,
        color_intrinsics=camera,
        depth_raw=depth,
        depth_scale=0.001,
        depth_intrinsics=camera,
        T_color_depth=shifted if two_cameras else np.eye(4),
        T_world_camera=np.eye(4),
    )
