"""The tracker of whoever names none: the host's poses where they come with the frames, else the built-in one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1.tracking.tracker import PoseTracker, Tracked, open_tracker
from scene_r1_engines.errors import BadState


class AutoTracker:
    """Becomes `host` or `visual` with the first frame, by whether that frame has a pose, and stays what it is."""

    def __init__(self) -> None:
        self._chosen: PoseTracker | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """Of the one that was chosen; `auto` before the first frame."""
        return "auto" if self._chosen is None else self._chosen.name

    @property
    def revision(self) -> int:
        return 0 if self._chosen is None else self._chosen.revision

    def track(self, frame: RgbdFrame) -> Tracked:
        """As the chosen one. Raises BadState after close()."""
        if self._closed:
            raise BadState("this tracker was closed: open another one")
        if self._chosen is None:
            self._chosen = open_tracker("visual" if frame.T_world_camera is None else "host")
        return self._chosen.track(frame)

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        return None if self._chosen is None else self._chosen.T_world_anchor(anchor)

    def close(self) -> None:
        self._closed = True
        if self._chosen is not None:
            self._chosen.close()

    def __enter__(self) -> AutoTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
