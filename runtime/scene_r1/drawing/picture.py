"""What an answer points at, drawn into the view it was seen in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.box import Box3D
from scene_r1.drawing import inset, text
from scene_r1.drawing.layers import XYXY, Plate, extent
from scene_r1.drawing.palette import BOX_3D, TRUTH
from scene_r1.drawing.text import Key
from scene_r1.frame import RgbdFrame
from scene_r1_engines.errors import BadFrame
from scene_r1_engines.view import Prompt

LEGIBLE_PX = 480
"""Pictures narrower than this are drawn at a whole multiple of their size, or their lines would hide what they show."""
MOST_TIMES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """One view of an answer, and what is to be shown in it.

    xyxy: the 2D box, pixels of the frame's colour image as in `Prompt`. mask: (H, W) bool, the same pixels. box: the
    answer's 3D box, world frame; truth: another one to compare it with. caption: written below the picture.

    Raises BadFrame for a mask of another shape or dtype and for a 3D box where the pose is unknown, BadPrompt for a
    2D box that is none.
    """

    frame: RgbdFrame
    xyxy: XYXY | None = None
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
        camera = self.frame.color_intrinsics
        size = camera.width, camera.height
        if width is None:
            width = camera.width * min(MOST_TIMES, math.ceil(LEGIBLE_PX / camera.width))
        thing = self._extent()
        thing_px = 0.0 if thing is None else max(thing[2] - thing[0], thing[3] - thing[1])
        plate = Plate.of(self.frame, (0, 0, *size), width, thing_px)
        self._draw_on(plate)
        part = None if thing is None else inset.enlarged_part(thing, size)
        if part is not None:
            enlarged = Plate.of(self.frame, part, inset.side_px(*plate.image.shape[:2]), thing_px)
            self._draw_on(enlarged)
            inset.paste(plate.image, enlarged.image, plate.placed(np.array(part, np.float64).reshape(2, 2)))
        keys = []
        if self.truth is not None:
            # Where there are two boxes to tell apart, both sizes are said below the picture.
            boxes = ((BOX_3D, "answer", self.box), (TRUTH, "truth", self.truth))
            keys = [Key(color, f"{name} {size_text(box)}") for color, name, box in boxes if box is not None]
        elif self.box is not None:
            seen = part or extent(self.frame, None, None, [self.box])
            if seen is not None:
                plate.tag(size_text(self.box), seen, BOX_3D)
        return np.concatenate([plate.image, text.strip(self.caption, width, keys)])

    def _extent(self) -> XYXY | None:
        boxes = [box for box in (self.box, self.truth) if box is not None]
        return extent(self.frame, self.xyxy, self.mask, boxes)

    def _draw_on(self, plate: Plate) -> None:
        if self.mask is not None:
            plate.tint(self.mask)
        if self.xyxy is not None:
            plate.frame_2d(self.xyxy)
        if self.truth is not None:
            plate.frame_3d(self.truth, TRUTH)
        if self.box is not None:
            plate.frame_3d(self.box, BOX_3D)


def evidence(
    frame: RgbdFrame,
    *,
    xyxy: XYXY | None = None,
    mask: NDArray[np.bool_] | None = None,
    box: Box3D | None = None,
    caption: str = "",
    truth: Box3D | None = None,
) -> NDArray[np.uint8]:
    """The frame's colour image with what was found in it; arguments and errors as of `Exhibit`.

    The mask is tinted and outlined; the 2D box is a frame; of the 3D box 12 edges are drawn as the lens bends them,
    dashed where measured depth hides them, with its size in metres. What is small is shown once more, enlarged, in a
    corner. Returns (H', W', 3) uint8 RGB, a caption strip included. Images less than LEGIBLE_PX wide are enlarged by
    a whole number.
    """
    return Exhibit(frame, xyxy, mask, box, caption, truth).drawn()


def size_text(box: Box3D) -> str:
    """The box's size along x, y, z of the world: `0.21 x 0.18 x 0.10 m`."""
    return " x ".join(f"{side:.2f}" for side in box.size) + " m"
