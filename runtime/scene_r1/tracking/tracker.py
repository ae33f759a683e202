"""Where the camera is: what a pose tracker is, what it says of a frame, and the trackers there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1_engines.errors import BadConfig


class TrackState(str, Enum):
    """TRACKING: sure. DEGRADED: the pose holds, on little evidence. LOST: no pose. RELOCALISED: a pose again after
    LOST, or after a jump: what is seen now is not joined to what was seen just before."""

    TRACKING = "tracking"
    DEGRADED = "degraded"
    LOST = "lost"
    RELOCALISED = "relocalised"


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """What a tracker says of one frame.

    T_world_camera: (4, 4) float64 of the colour camera, read-only; None exactly when LOST.
    anchor: id of the keyframe of the tracker's map that the pose hangs on, -1 when lost. T_anchor_camera: (4, 4), so
    that `T_world_anchor(anchor) @ T_anchor_camera` is the camera's pose also after the map was corrected.
    revision: of the map, at this frame.
    """

    state: TrackState
    T_world_camera: NDArray[np.float64] | None
    anchor: int
    T_anchor_camera: NDArray[np.float64] | None
    revision: int

    def __post_init__(self) -> None:
        for T in (self.T_world_camera, self.T_anchor_camera):
            if T is not None:
                T.flags.writeable = False


@runtime_checkable
class PoseTracker(Protocol):
    """Says where each frame's camera was. A context manager; `close()` twice is fine, `track` after it raises.

    `revision` goes up by one with each correction of the map (a loop closed, a jump, another part of the map): a caller
    that keeps (anchor, T_anchor_camera) with what it holds then asks `T_world_anchor` anew and moves it. Frames that
    are LOST are not for the map. One object for one thread, frames in the order they were taken.
    """

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> int: ...

    def track(self, frame: RgbdFrame) -> Tracked: ...

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        """Pose of an anchor, (4, 4), as the map stands now; None when it is no longer held."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> PoseTracker: ...

    def __exit__(self, *exc: object) -> None: ...


TRACKERS = {
    "auto": "scene_r1.tracking.auto:AutoTracker",
    "host": "scene_r1.tracking.host:HostTracker",
    "visual": "scene_r1.tracking.visual:VisualTracker",
    "cuvslam": "scene_r1.tracking.cuvslam:CuvslamTracker",
}
"""By name, imported on use. auto: host or visual, by the first frame. host: the pose that comes with each frame.
visual: built in, on the CPU. cuvslam: NVIDIA's library, which is installed by hand."""


def open_tracker(name: str, **settings: Any) -> PoseTracker:
    """The tracker of that name. settings: of its constructor.

    Raises BadConfig for a name that is not known, or settings that it does not have; MissingExtra where its package is
    absent.
    """
    if name not in TRACKERS:
        raise BadConfig(f"unknown tracker {name!r}; known: {', '.join(TRACKERS)}")
    module, attribute = TRACKERS[name].split(":")
    make: Callable[..., PoseTracker] = getattr(import_module(module), attribute)
    try:
        return make(**settings)
    except TypeError as error:
        raise BadConfig(f"tracker {name!r}: {error}") from error


def lost(revision: int) -> Tracked:
    """What is said of a frame whose pose is unknown."""
    return Tracked(TrackState.LOST, None, -1, None, revision)
