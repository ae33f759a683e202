"""A frame of a running camera: an RgbdFrame that knows how it was captured."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """How a frame was captured.

    number: the camera's own count. device_ns: the camera's own time, on the clock that `domain` names; the frame's
    `timestamp_ns` is this, moved by a constant for each segment so that it never goes backwards.
    segment: counts the clocks seen: one up after each jump. Differences of times mean something within one segment.
    lag_ns: how much longer this frame took to the host than the fastest of late.
    gravity: (3,) unit vector that points down, in the colour camera; None without an IMU.
    """

    number: int = -1
    device_ns: int = 0
    domain: str = ""
    segment: int = 0
    lag_ns: int = 0
    gravity: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame(RgbdFrame):
    """See RgbdFrame. `index` counts what was captured, so a gap is a frame that was dropped unread."""

    capture: Capture = field(default_factory=Capture)

    def age_ms(self, now_ns: int) -> float:
        """How old it is at `now_ns` (host monotonic): since it came in, and what it lagged until then."""
        return (now_ns - self.received_ns + self.capture.lag_ns) / 1e6
