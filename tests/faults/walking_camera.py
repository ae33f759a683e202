"""A camera for tests that walks there and back along given frames, and has the faults of a scripted one.

The capturing process imports this: no more than a camera needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tests.runtime.scripted_camera import HURRIED, Life, ScriptedCamera

from scene_r1.frame import RgbdFrame
from scene_r1.live import CameraInfo, LiveSource, Patience, RawFrame
from scene_r1_engines.intrinsics import Intrinsics


class WalkingCamera(ScriptedCamera):
    """frames_at: a file of `packed`. It walks there and back, so that no step is a jump."""

    def __init__(self, frames_at: str, folder: str, lives: tuple[Life, ...]) -> None:
        super().__init__(folder, lives)
        self._frames_at = frames_at

    def open(self, serial: str | None = None) -> CameraInfo:
        with np.load(self._frames_at) as stored:
            self._color, self._depth, self._poses = stored["color"], stored["depth"], stored["poses"]
            fx, fy, cx, cy = stored["pinhole"].tolist()
        info, (height, width) = super().open(serial), self._depth.shape[1:]
        camera = Intrinsics(fx, fy, cx, cy, width, height)
        return replace(info, color_intrinsics=camera, depth_intrinsics=camera, has_poses=True)

    def _frame(self, n: int, size: tuple[int, int] | None = None) -> RawFrame:
        raw, place = super()._frame(n, size), there_and_back(self._life.first_number + n, len(self._poses))
        return replace(
            raw, color=self._color[place], depth_raw=self._depth[place], T_world_camera=self._poses[place]
        )  # fmt: skip


def there_and_back(number: int, count: int) -> int:
    """0 1 2 1 0 1 2 1 ... for count = 3."""
    place = number % (2 * count - 2)
    return min(place, 2 * count - 2 - place)


def packed(frames: Sequence[RgbdFrame], path: Path) -> str:
    """The frames, of one pinhole camera, as a file for WalkingCamera."""
    camera = frames[0].color_intrinsics
    np.savez(
        path,
        color=np.stack([frame.color for frame in frames]),
        depth=np.stack([frame.depth_raw for frame in frames]),
        poses=np.stack([frame.T_world_camera for frame in frames]),
        pinhole=np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
    )
    return str(path)


@contextmanager
def walking(frames_at: str, folder: Path, *lives: Life, patience: Patience = HURRIED) -> Iterator[LiveSource]:
    """A live source over a walking camera. folder: a new one for each."""
    counted = folder / "openings"
    counted.mkdir()
    with LiveSource(partial(WalkingCamera, frames_at, str(counted), lives), "walking", 64, patience) as source:
        yield source
