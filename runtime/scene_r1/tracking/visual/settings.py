"""The dials of the built-in tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scene_r1_engines.errors import BadConfig


@dataclass(frozen=True, slots=True)
class VisualSettings:
    """Defaults are for a hand-held RGB-D camera indoors, 640x480 or 320x240 at 15 to 60 Hz.

    near_m, far_m: which depths make landmarks. relative_sigma: a depth's sigma is this times z squared (an active
    stereo camera at 640 px: 0.005 per metre). pixel_sigma: of a landmark's place in the picture. plane_weight: as how
    many independent measurements one depth point counts against a keyframe's surface: neighbours err alike.
    window: keyframes in the local map and in its adjustment. landmarks: new ones of a keyframe, at the most, counted
    with those it shares. tracked: looked for in a frame, at the most.
    keyframes: held in the map; beyond it the one that adds least goes. anchors: poses of keyframes that went, still
    answered for.
    apart_m, apart_deg: a keyframe is taken this far from the last (metres at a depth of 1 m, degrees), or where fewer
    than `few` of the last keyframe's landmarks are left.
    least, enough: landmarks with which a pose counts as degraded, and as tracked. share: of those looked for.
    new_map_after_s: a new part of the map is begun when nothing was recognised for so long; None: stay lost.
    """

    near_m: float = 0.25
    far_m: float = 6.0
    relative_sigma: float = 0.005
    pixel_sigma: float = 1.4
    plane_weight: float = 1.0
    window: int = 10
    landmarks: int = 220
    tracked: int = 260
    keyframes: int = 150
    anchors: int = 4096
    apart_m: float = 0.09
    apart_deg: float = 10.0
    few: float = 0.6
    least: int = 15
    enough: int = 30
    share: float = 0.2
    loops: bool = True
    new_map_after_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("near_m", "far_m", "relative_sigma", "pixel_sigma", "apart_m", "apart_deg", "few", "share"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise BadConfig(f"{name} must be above 0, got {value!r}")
        if not (math.isfinite(self.plane_weight) and self.plane_weight >= 0.0):
            raise BadConfig(f"plane_weight must be 0 or more, got {self.plane_weight!r}")
        if self.near_m >= self.far_m:
            raise BadConfig(f"near_m must be below far_m, got {self.near_m} and {self.far_m}")
        if not (self.few < 1.0 and self.share < 1.0):
            raise BadConfig(f"few and share are shares below 1, got {self.few} and {self.share}")
        for name, low in (("window", 2), ("landmarks", 20), ("tracked", 20), ("anchors", 0), ("least", 8)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise BadConfig(f"{name} must be a whole number, {low} or more; got {value!r}")
        # The local map, the newest and the oldest keyframe stay: one more, so that there is always one that may go.
        if not self.window + 2 <= self.keyframes <= 2000:
            raise BadConfig(f"keyframes must be window + 2 ({self.window + 2}) to 2000, got {self.keyframes}")
        if self.enough < self.least:
            raise BadConfig(f"enough must not be below least, got {self.enough} and {self.least}")
        after = self.new_map_after_s
        if after is not None and not (math.isfinite(after) and after >= 0.0):
            raise BadConfig(f"new_map_after_s must be 0 or more seconds, or left out; got {after!r}")
