"""World points with colour, as back-projection returns them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """xyz: (N, 3) float32 metres, world frame. rgb: (N, 3) uint8."""

    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.xyz)

    def copy(self) -> Points:
        """Points of their own, for keeping beyond the projector's next call."""
        return Points(self.xyz.copy(), self.rgb.copy())
