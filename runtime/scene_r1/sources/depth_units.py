"""Depth counts of one unit written in another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import NO_RETURN_HIGH

SAME_UNIT = 1e-6
"""Relative. Devices report their scale as float32 (0.0010000000475); 65535 counts of the difference are 0.07 counts."""


class DepthUnits:
    """Brings depth counts to one unit, and keeps account of what that costs.

    unit_m: metres per count of the result. max_rounding_m: the largest change of any depth so far, in metres.
    overflowed_px: pixels so far whose depth does not fit the new unit; they became 0 (no return).
    """

    def __init__(self, unit_m: float) -> None:
        self.unit_m = unit_m
        self.max_rounding_m = 0.0
        self.overflowed_px = 0
        self._table_of: float | None = None
        self._counts = np.zeros(0, dtype=np.uint16)
        self._rounding_m = np.zeros(0)
        self._overflows = np.zeros(0, dtype=np.bool_)

    def convert(self, depth_raw: NDArray[np.uint16], depth_scale: float) -> NDArray[np.uint16]:
        """(h, w) uint16 counts of `unit_m`. The very same counts, 65535 included, where the units agree."""
        if math.isclose(depth_scale, self.unit_m, rel_tol=SAME_UNIT):
            return depth_raw
        if depth_scale != self._table_of:
            self._tabulate(depth_scale)
        self.max_rounding_m = max(self.max_rounding_m, float(self._rounding_m[depth_raw].max()))
        self.overflowed_px += int(np.count_nonzero(self._overflows[depth_raw]))
        return self._counts[depth_raw]

    def _tabulate(self, depth_scale: float) -> None:
        """Every possible count once; a frame is then three look-ups."""
        old = np.arange(NO_RETURN_HIGH + 1)
        depth_m = old * depth_scale
        new = np.rint(depth_m / self.unit_m)
        kept = (new < NO_RETURN_HIGH) & (old != NO_RETURN_HIGH)
        self._overflows = ~kept & (old != NO_RETURN_HIGH)
        self._counts = np.where(kept, new, 0).astype(np.uint16)
        rounding_m = np.abs(new * self.unit_m - depth_m)
        # Differences below a nanometre are those of the doubles here, not of the counts.
        self._rounding_m = np.where(kept & (rounding_m > 1e-9), rounding_m, 0.0)
        self._table_of = depth_scale
