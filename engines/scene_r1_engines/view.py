"""What engines speak: a view of the world, a prompt in it, and masks out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadFrame, BadPrompt
from scene_r1_engines.intrinsics import Intrinsics

FOUND_BY = ("prompt", "memory", "hint", "")
"""By what a mask was found: a prompt for this view; what the engine remembers of other views; a hint for this view
where its memory was not sure; "" where the engine does not say or found nothing."""


def read_only(array: NDArray[np.generic]) -> None:
    """Mark an array as not to be written through this reference (values inside frozen dataclasses)."""
    array.flags.writeable = False


@dataclass(frozen=True, slots=True)
class View:
    """One picture with what is known about it.

    image: (H, W, 3) uint8, RGB.
    depth_m: (H, W) float32, metres along the optical axis, registered to `image`; 0 = no return. None: no depth.
    intrinsics: of `image` (and so of `depth_m`).
    T_world_camera: (4, 4) float64, `p_world = T_world_camera @ p_camera`, OpenCV axes. None: pose unknown.

    Raises BadFrame when shapes or dtypes differ from these.
    """

    id: int
    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    intrinsics: Intrinsics
    T_world_camera: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        h, w = self.intrinsics.height, self.intrinsics.width
        self._check("image", self.image, (h, w, 3), np.dtype(np.uint8))
        if self.depth_m is not None:
            self._check("depth_m", self.depth_m, (h, w), np.dtype(np.float32))
        if self.T_world_camera is not None:
            self._check("T_world_camera", self.T_world_camera, (4, 4), np.dtype(np.float64))

    def _check(self, name: str, array: object, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        if isinstance(array, np.ndarray) and array.shape == shape and array.dtype == dtype:
            return
        got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BadFrame(f"view {self.id}: {name} must be {shape} {dtype} as its intrinsics say, got {got}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where the object is in one view.

    xyxy: (x0, y0, x1, y1) pixels of the view's image, x1 > x0 and y1 > y0; continuous coordinates in which pixel
        (u, v) covers [u, u + 1) x [v, v + 1). None when a mask or points say it.
    points_xy: (P, 2) float32 pixels and points_label: (P,) int8 (1 = on the object, 0 = beside it), or both None.
    mask: (H, W) bool, a coarse guess to be refined (an object reprojected from another view), or None.

    Raises BadPrompt when nothing is said, or a box is empty or not finite.
    """

    xyxy: tuple[float, float, float, float] | None = None
    points_xy: NDArray[np.float32] | None = None
    points_label: NDArray[np.int8] | None = None
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.xyxy is None and self.points_xy is None and self.mask is None:
            raise BadPrompt("a prompt needs a box (xyxy), points or a mask; got none of them")
        if self.xyxy is not None:
            if len(self.xyxy) != 4:
                raise BadPrompt(f"xyxy must be four numbers, got {self.xyxy}")
            if not np.all(np.isfinite(self.xyxy)):
                raise BadPrompt(f"xyxy must be finite, got {self.xyxy}")
            x0, y0, x1, y1 = self.xyxy
            if x1 <= x0 or y1 <= y0:
                raise BadPrompt(f"xyxy must be x0 y0 x1 y1 with x1 > x0 and y1 > y0, got {self.xyxy}")
        if self.points_xy is not None:
            if self.points_xy.ndim != 2 or self.points_xy.shape[1] != 2:
                raise BadPrompt(f"points_xy must be (P, 2), got {self.points_xy.shape}")
            if not np.all(np.isfinite(self.points_xy)):
                raise BadPrompt(f"points_xy must be finite, got {self.points_xy.tolist()}")
            if self.points_label is None or self.points_label.shape != (len(self.points_xy),):
                raise BadPrompt(f"points_label must be ({len(self.points_xy)},), one label for each point")
        elif self.points_label is not None:
            raise BadPrompt("points_label is given without points_xy")
        if self.mask is not None and (self.mask.ndim != 2 or self.mask.dtype != np.bool_):
            raise BadPrompt(f"a mask prompt must be (H, W) bool, got {self.mask.shape} {self.mask.dtype}")


@dataclass(frozen=True, slots=True)
class Masks:
    """Masks of one view, one for each prompt in their order.

    masks: (N, H, W) bool, pixels of the view's image. scores: (N,) float32 in [0, 1]; 0 = nothing found, and then
    the mask is empty. N = 0 is legal. found_by: for each mask one of FOUND_BY; () says "" of all of them.

    Raises BadFrame when these differ from one another.
    """

    view_id: int
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    found_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise BadFrame(f"masks must be (N, H, W) bool, got {self.masks.shape} {self.masks.dtype}")
        if self.scores.shape != (len(self.masks),):
            raise BadFrame(f"scores must be ({len(self.masks)},), got {self.scores.shape}")
        found_by = self.found_by or ("",) * len(self.masks)
        if len(found_by) != len(self.masks) or not set(found_by) <= set(FOUND_BY):
            raise BadFrame(f"found_by must be {len(self.masks)} of {', '.join(map(repr, FOUND_BY))}, got {found_by}")
        object.__setattr__(self, "found_by", found_by)

    def __len__(self) -> int:
        return len(self.masks)
