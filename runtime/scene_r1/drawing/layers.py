"""What lies over a colour image: masks, boxes in the picture, boxes in space, tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.box import Box3D
from scene_r1.drawing import lines, text
from scene_r1.drawing.palette import BOX_2D, HALO, MASK, Color
from scene_r1.drawing.wireframe import strokes
from scene_r1.frame import RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

XYXY = tuple[float, float, float, float]
TINT = 0.38
TAG_OPACITY = 0.7
FINE_BELOW_PX = 90
"""Things less than this across in the picture get lines of half the width, or these would hide them."""


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A copy of an RGB image at another size."""
    if image.shape[:2] == (height, width):
        return np.array(image)
    way = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=way), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A part of a frame's colour image, enlarged or reduced, to draw on.

    part: x0, y0, x1, y1 whole pixels of the frame. image: (h, w, 3) uint8 RGB, drawn on in place. camera: the frame's
    colour camera at the plate's scale, of the whole frame. thickness: of solid lines, pixels.
    """

    frame: RgbdFrame
    part: tuple[int, int, int, int]
    image: NDArray[np.uint8]
    camera: Intrinsics
    thickness: int

    @classmethod
    def of(cls, frame: RgbdFrame, part: tuple[int, int, int, int], width: int, thing_px: float) -> Plate:
        """The part `width` pixels wide. thing_px: how large the thing shown is in the frame, which sets the lines."""
        x0, y0, x1, y1 = part
        scale = width / (x1 - x0)
        own = frame.color_intrinsics
        camera = own.scaled(max(1, round(own.width * scale)), max(1, round(own.height * scale)))
        image = resized(frame.color[y0:y1, x0:x1], width, max(1, round((y1 - y0) * scale)))
        return cls(frame, part, image, camera, 1 if thing_px * scale < FINE_BELOW_PX else 2)

    def placed(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) continuous coordinates of the frame (pixel u covers [u, u + 1)) as pixel centres of the plate."""
        own = self.frame.color_intrinsics
        scale = np.array((self.camera.width / own.width, self.camera.height / own.height))
        return np.asarray((pixels - self.part[:2]) * scale - 0.5)

    def tint(self, mask: NDArray[np.bool_]) -> None:
        """Colour the pixels of a mask (H, W) bool of the whole frame, and draw its outline."""
        x0, y0, x1, y1 = self.part
        h, w = self.image.shape[:2]
        smaller = w < x1 - x0
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        share = np.asarray(cv2.resize(mask[y0:y1, x0:x1].astype(np.float32), (w, h), interpolation=way))
        inside = share > (0.2 if smaller else 0.5)  # a thin thing must not vanish from a thumbnail
        self.image[inside] = np.rint(self.image[inside] * (1.0 - TINT) + np.multiply(MASK, TINT)).astype(np.uint8)
        found, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        outlines = [np.asarray(line, np.float64).reshape(-1, 2) for line in found]
        lines.solid(self.image, outlines, MASK, self.thickness, closed=True)

    def frame_2d(self, xyxy: XYXY, color: Color = BOX_2D) -> None:
        """Draw a box in the picture, pixels of the whole frame."""
        h, w = self.image.shape[:2]
        x0, y0, x1, y1 = xyxy
        corners = self.placed(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64))
        # Far outside is as good as outside, and OpenCV's whole numbers end somewhere.
        lines.solid(self.image, [np.clip(corners, -8.0, (w + 7.0, h + 7.0))], color, self.thickness, closed=True)

    def frame_3d(self, box: Box3D, color: Color) -> None:
        """Draw the edges of a box in space; those behind measured depth are dashed."""
        own = self.frame.color_intrinsics
        x0, y0 = self.part[0] * self.camera.width / own.width, self.part[1] * self.camera.height / own.height
        edges = [(stroke.pixels - (x0, y0), stroke.hidden) for stroke in strokes(box, self.frame, self.camera)]
        lines.dashed(self.image, [line for line, hidden in edges if hidden], color)
        lines.solid(self.image, [line for line, hidden in edges if not hidden], color, self.thickness)

    def tag(self, words: str, beside: XYXY, color: Color) -> None:
        """Write words above a box of the frame, else below it, else in a corner; not where they would not fit."""
        h, w = self.image.shape[:2]
        tag_w, tag_h = text.width_px(words) + 12, text.LINE_PX + 1
        if tag_w > w - 8 or tag_h > h - 8:
            return
        (left, top), (right, bottom) = self.placed(np.array(beside, np.float64).reshape(2, 2))
        above, below = int(top) - 6 - tag_h, int(bottom) + 7
        y = above if above >= 4 else below if below + tag_h <= h - 4 else 4
        x = int(np.clip(round((left + right - tag_w) / 2.0), 4, w - 4 - tag_w))
        part = self.image[y : y + tag_h, x : x + tag_w]
        part[:] = np.rint(part * (1.0 - TAG_OPACITY) + np.multiply(HALO, TAG_OPACITY)).astype(np.uint8)
        part[-2:] = color
        text.put(self.image, words, x + 6, y)


def extent(frame: RgbdFrame, xyxy: XYXY | None, mask: NDArray[np.bool_] | None, boxes: Sequence[Box3D]) -> XYXY | None:
    """The part of a frame that all of these are in, continuous pixel coordinates, or None where none is in it."""
    corners = [] if xyxy is None else [np.array(xyxy, np.float64).reshape(2, 2)]
    if mask is not None and mask.any():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners.append(np.array([(columns[0], rows[0]), (columns[-1] + 1.0, rows[-1] + 1.0)]))
    for box in boxes:
        corners.extend(stroke.pixels + 0.5 for stroke in strokes(box, frame, frame.color_intrinsics))
    if not corners:
        return None
    size = frame.color_intrinsics.width, frame.color_intrinsics.height
    points = np.concatenate(corners)
    low, high = np.clip(points.min(axis=0), 0.0, size), np.clip(points.max(axis=0), 0.0, size)
    return None if np.any(high <= low) else (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
