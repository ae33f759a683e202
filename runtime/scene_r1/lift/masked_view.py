"""What the lift is given of each view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame


@dataclass(frozen=True, slots=True, eq=False)
class MaskedView:
    """One frame and the object's mask in it. mask: (H, W) bool, pixels of the frame's colour image."""

    frame: RgbdFrame
    mask: NDArray[np.bool_]
