"""What a walk through a room has shown of it: all that questions are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.model.room import Room
from scene_r1.rooms.render.visibility import Visibility
from scene_r1_engines.intrinsics import Intrinsics


@dataclass(frozen=True, slots=True, eq=False)
class SeenWalk:
    """A recording's truth. poses: (N, 4, 4) float64 T_world_camera. times_s: (N,) seconds since the first frame.
    instance: N images, (H, W) int16, what each colour pixel shows (ids as in Truth). visible: of each object, in the
    order of their ids, how much of it the walk has seen."""

    room: Room
    intrinsics: Intrinsics
    poses: NDArray[np.float64]
    times_s: NDArray[np.float64]
    instance: Sequence[NDArray[np.int16]]
    visible: tuple[Visibility, ...]
