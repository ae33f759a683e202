"""What an answer points at, drawn into the view it was seen in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.box import Box3D
from scene_r1.drawing import lines, text
from scene_r1.drawing.palette import BOX_2D, BOX_3D, HALO, INK, MASK, TRUTH, Color
from scene_r1.drawing.text import Key
from scene_r1.drawing.wireframe import Stroke, strokes
from scene_r1.frame import RgbdFrame
from scene_r1_engines.errors import BadFrame
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.view import Prompt

LEGIBLE_PX = 480
"""Pictures narrower than this are drawn at a whole multiple of their size, or their lines would hide what they show."""
MOST_TIMES = 4
TINT = 0.38
TAG_OPACITY = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """One view of an answer, and what is to be shown in it.

    xyxy: the 2D box, pixels of the frame's colour image as in `Prompt`. mask: (H, W) bool, the same pixels. box: the
    answer's 3D box, world frame; truth: another one to compare it with. caption: written below the picture.

    Raises BadFrame for a mask of another shape or dtype and for a 3D box where the pose is unknown, BadPrompt for a
    2D box that is none.
    """

    frame: RgbdFrame
    xyxy: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None
    box: Box3D | None = None
    caption: str = ""
    truth: Box3D | None = None

    def __post_init__(self) -> None:
        what, shape = f"frame {self.frame.index}", self.frame.color.shape[:2]
        if self.mask is not None and (self.mask.shape != shape or self.mask.dtype != np.bool_):
            raise BadFrame(f"{what}: a mask must be {shape} bool, got {self.mask.shape} {self.mask.dtype}")
        if self.xyxy is not None:
            Prompt(xyxy=self.xyxy)
        if (self.box is not None or self.truth is not None) and self.frame.T_world_camera is None:
            raise BadFrame(f"{what}: the camera's pose is unknown, so no 3D box can be drawn into it: leave it out")

    def drawn(self, width: int | None = None) -> NDArray[np.uint8]:
        """(h, width, 3) uint8 RGB: the picture with its caption below it. width: in pixels, else as `evidence` does."""
        own = self.frame.color_intrinsics
        if width is None:
            width = own.width * min(MOST_TIMES, math.ceil(LEGIBLE_PX / own.width))
        camera = own.scaled(width, max(1, round(own.height * width / own.width)))
        image = resized(self.frame.color, camera.width, camera.height)
        if self.mask is not None:
            _tint(image, self.mask)
        if self.xyxy is not None:
            _rectangle(image, self.xyxy, camera, own)
        keys = []
        for box, color, name in ((self.truth, TRUTH, "truth"), (self.box, BOX_3D, "answer")):
            if box is not None:
                edges = strokes(box, self.frame, camera)
                lines.dashed(image, [edge.pixels for edge in edges if edge.hidden], color)
                lines.solid(image, [edge.pixels for edge in edges if not edge.hidden], color)
                keys.append(Key(color, f"{name} {size_text(box)}"))
                if self.box is box and self.truth is None:
                    _tag(image, size_text(box), edges, color)
        # Where there are two boxes to tell apart, both sizes are said below the picture, the answer's first.
        return np.concatenate([image, text.strip(self.caption, width, keys[::-1] if self.truth is not None else ())])


def evidence(
    frame: RgbdFrame,
    *,
    xyxy: tuple[float, float, float, float] | None = None,
    mask: NDArray[np.bool_] | None = None,
    box: Box3D | None = None,
    caption: str = "",
    truth: Box3D | None = None,
) -> NDArray[np.uint8]:
    """The frame's colour image with what was found in it; arguments and errors as of `Exhibit`.

    The mask is tinted and outlined; the 2D box is a frame; of the 3D box 12 edges are drawn as the lens bends them,
    dashed where measured depth hides them, with its size in metres. Returns (H', W', 3) uint8 RGB, a caption strip
    included. Images less than LEGIBLE_PX wide are enlarged by a whole number.
    """
    return Exhibit(frame, xyxy, mask, box, caption, truth).drawn()


def size_text(box: Box3D) -> str:
    """The box's size along x, y, z of the world: `0.21 x 0.18 x 0.10 m`."""
    return " x ".join(f"{side:.2f}" for side in box.size) + " m"


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A copy of an RGB image at another size."""
    if image.shape[:2] == (height, width):
        return image.copy()
    way = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)


def _tint(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    h, w = image.shape[:2]
    smaller = w < mask.shape[1]
    share = cv2.resize(mask.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    inside = share > (0.2 if smaller else 0.5)  # a thin thing must not vanish from a thumbnail
    image[inside] = np.rint(image[inside] * (1.0 - TINT) + np.multiply(MASK, TINT)).astype(np.uint8)
    found, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines.solid(image, [np.asarray(line, np.float64).reshape(-1, 2) for line in found], MASK, closed=True)


def _rectangle(
    image: NDArray[np.uint8], xyxy: tuple[float, float, float, float], camera: Intrinsics, own: Intrinsics
) -> None:
    sx, sy = camera.width / own.width, camera.height / own.height
    # Pixel (u, v) covers [u, u + 1), and lines are drawn through pixel centres; far outside is as good as outside.
    x0, x1 = np.clip(np.multiply(xyxy[0::2], sx) - 0.5, -8.0, camera.width + 7.0)
    y0, y1 = np.clip(np.multiply(xyxy[1::2], sy) - 0.5, -8.0, camera.height + 7.0)
    lines.solid(image, [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])], BOX_2D, closed=True)


def _tag(image: NDArray[np.uint8], words: str, edges: list[Stroke], color: Color) -> None:
    """Write the box's size above it, else below it, else into a corner; not at all where it would not fit."""
    h, w = image.shape[:2]
    tag_w, tag_h = text.width_px(words) + 12, text.LINE_PX + 1
    if not edges or tag_w > w - 8 or tag_h > h - 8:
        return
    pixels = np.concatenate([edge.pixels for edge in edges])
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    if high[0] < 0 or high[1] < 0 or low[0] > w or low[1] > h:
        return
    above, below = int(low[1]) - 6 - tag_h, int(high[1]) + 7
    y = above if above >= 4 else below if below + tag_h <= h - 4 else 4
    x = int(np.clip(round(float(low[0] + high[0] - tag_w) / 2.0), 4, w - 4 - tag_w))
    part = image[y : y + tag_h, x : x + tag_w]
    part[:] = np.rint(part * (1.0 - TAG_OPACITY) + np.multiply(HALO, TAG_OPACITY)).astype(np.uint8)
    part[-2:] = color
    text.put(image, words, x + 6, y, INK)
