"""The metric 3D box of an answer, and how two boxes compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1_engines.errors import BadInput


@dataclass(frozen=True, slots=True)
class Box3D:
    """A box aligned with the axes of its frame (ScanRefer's metric), so its rotation is the identity.

    center, size: metres, in `frame_id`; size > 0 along x, y, z. spread_m: one standard deviation of a face's position
    (depth noise and disagreement between views). supporting_views: how many views saw the object and agreed.

    Raises BadInput for numbers that no box has.
    """

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    spread_m: float
    supporting_views: int
    frame_id: str = "world"

    def __post_init__(self) -> None:
        numbers = (*self.center, *self.size, self.spread_m)
        if not np.all(np.isfinite(numbers)) or min(self.size) <= 0.0 or self.spread_m < 0.0:
            raise BadInput(f"a box needs finite numbers and a size above 0, got {self.center}, {self.size}")

    @classmethod
    def from_corners(cls, low: ArrayLike, high: ArrayLike, spread_m: float = 0.0, supporting_views: int = 0) -> Box3D:
        """From the two corners (3,) in metres, world frame."""
        a, b = np.asarray(low, np.float64), np.asarray(high, np.float64)
        center, size = (a + b) / 2.0, b - a
        return cls(_three(center), _three(size), spread_m, supporting_views)

    @property
    def low(self) -> NDArray[np.float64]:
        """(3,) the corner with the smallest coordinates."""
        return np.subtract(self.center, np.multiply(self.size, 0.5))

    @property
    def high(self) -> NDArray[np.float64]:
        """(3,) the corner with the largest coordinates."""
        return np.add(self.center, np.multiply(self.size, 0.5))

    @property
    def corners(self) -> NDArray[np.float64]:
        """(8, 3) corners; corner i has the high x, y, z where bit 0, 1, 2 of i is set."""
        bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
        return np.where(bits, self.high, self.low)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, rounded to 0.1 mm."""
        return {
            "center": [round(x, 4) for x in self.center],
            "size": [round(x, 4) for x in self.size],
            "rotation": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            "frame_id": self.frame_id,
            "spread_m": round(self.spread_m, 4),
            "supporting_views": self.supporting_views,
        }


EDGES = tuple((i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit)
"""The 12 edges of a box, as pairs of indices into `Box3D.corners`."""


def iou(a: Box3D, b: Box3D) -> float:
    """Intersection over union of two axis-aligned boxes, in [0, 1]. Raises BadInput when their frames differ."""
    if a.frame_id != b.frame_id:
        raise BadInput(f"boxes in different frames cannot be compared: {a.frame_id!r} and {b.frame_id!r}")
    overlap = np.clip(np.minimum(a.high, b.high) - np.maximum(a.low, b.low), 0.0, None)
    common = float(np.prod(overlap))
    # volumes from the corners, as the overlap is: from the sizes, rounding lets the quotient exceed 1
    union = float(np.prod(a.high - a.low)) + float(np.prod(b.high - b.low)) - common
    return common / union if union > 0.0 else float(a.center == b.center and a.size == b.size)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
