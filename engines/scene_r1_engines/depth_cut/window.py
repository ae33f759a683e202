"""The part of a view that a prompt is about, at the size it is worked on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.view import View

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole pixels of an image, x0 <= u < x1 and y0 <= v < y1, shrunk to (height, width) pixels.

    A cut costs time with its area, so a large object is cut small and its outline is refined at full size.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    height: int
    width: int

    @classmethod
    def around(
        cls, xyxy: tuple[float, float, float, float], margin_px: float, image_hw: tuple[int, int], longest_px: int
    ) -> Window:
        """The window that holds a box and a margin, within the image, its longer side at most `longest_px`."""
        x0, y0 = max(0, math.floor(xyxy[0] - margin_px)), max(0, math.floor(xyxy[1] - margin_px))
        x1, y1 = min(image_hw[1], math.ceil(xyxy[2] + margin_px)), min(image_hw[0], math.ceil(xyxy[3] + margin_px))
        scale = min(1.0, longest_px / max(x1 - x0, y1 - y0))
        return cls(x0, y0, x1, y1, max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale)))

    @property
    def rows_columns(self) -> tuple[slice, slice]:
        """Index of the window in an image."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def full_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the image."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def scale(self) -> float:
        """Working pixels for each pixel of the image, at most 1."""
        return math.sqrt(self.height * self.width / (self.full_hw[0] * self.full_hw[1]))

    def columns(self) -> NDArray[np.float64]:
        """(width,) u of the working pixels' centres, pixels of the image (pixel centres at whole numbers)."""
        return self.x0 - 0.5 + (np.arange(self.width, dtype=np.float64) + 0.5) * (self.full_hw[1] / self.width)

    def rows(self) -> NDArray[np.float64]:
        """(height,) v of the working pixels' centres, pixels of the image."""
        return self.y0 - 0.5 + (np.arange(self.height, dtype=np.float64) + 0.5) * (self.full_hw[0] / self.height)

    def shrink_color(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 of an image (H, W, 3)."""
        crop = np.ascontiguousarray(image[self.rows_columns])
        if self.full_hw == (self.height, self.width):
            return crop
        return np.asarray(cv2.resize(crop, (self.width, self.height), interpolation=cv2.INTER_AREA), np.uint8)

    def pick(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """(height, width) values of a single-channel image (H, W) at the nearest pixels: depths are never mixed."""
        return image[np.ix_(np.rint(self.rows()).astype(np.intp), np.rint(self.columns()).astype(np.intp))]

    def rays(self, view: View) -> NDArray[np.float64]:
        """(height, width, 2) directions of the working pixels, x and y at z = 1, camera frame of the view."""
        u, v = np.meshgrid(self.columns(), self.rows())
        return view.intrinsics.rays(np.stack([u.ravel(), v.ravel()], axis=1)).reshape(self.height, self.width, 2)


def disc(radius_px: float) -> NDArray[np.uint8]:
    """Structuring element of a disc."""
    r = max(0, round(radius_px))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)), np.uint8)


def grown(mask: Mask, radius_px: float) -> Mask:
    """The mask with everything within `radius_px` of it; beyond the border of the array there is nothing."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc(radius_px)) > 0)


def shrunk(mask: Mask, radius_px: float) -> Mask:
    """The mask without what lies within `radius_px` of its outside; the border of the array is no outside."""
    return np.asarray(cv2.erode(mask.astype(np.uint8), disc(radius_px)) > 0)


def distance_to(mask: Mask) -> NDArray[np.float32]:
    """Distance in pixels of each pixel to the nearest True one; 1e4 where there is none."""
    if not mask.any():
        return np.full(mask.shape, 1e4, np.float32)
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3), np.float32)
