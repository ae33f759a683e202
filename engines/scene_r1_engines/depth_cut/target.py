"""What a prompt says about each pixel: where the object may be, where it most likely is, where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.depth_cut.window import Mask, Window, disc, grown
from scene_r1_engines.errors import BadPrompt
from scene_r1_engines.view import Prompt, View

LONGEST_PX, LONGEST_WITHOUT_DEPTH_PX = 180, 140
"""Longer side of a working window. Without depth every pixel is for colour to decide, which takes far longer."""

MIN_SIDE_PX = 2.0
POINT_RADIUS_PX = 3.0
POINT_REACH_M = 0.4
"""How far from a point, without a box or a mask, its object may reach."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Target:
    """A prompt drawn into its window.

    All masks are (height, width) bool in working pixels. region: where the object may be. core: where it most likely
    is. on: where it is for sure, by points. off: where it is not, by points. ring: what lies around the region, from
    which the background is learnt. box: pixels of the image, what the mask is expected to fill. from_mask: the core is
    a guessed mask, so it says much more than the middle of a box does. points_only: nothing else says where it is, and
    the box is only how far it may reach.
    """

    window: Window
    region: Mask
    core: Mask
    on: Mask
    off: Mask
    ring: Mask
    box: Box
    from_mask: bool
    points_only: bool


def target(view: View, prompt: Prompt) -> Target:
    """Draw a prompt into its window.

    Raises BadPrompt for a box, points or a mask that are not in the image, and for a box of less than 2 pixels.
    """
    hw = view.intrinsics.height, view.intrinsics.width
    longest = LONGEST_WITHOUT_DEPTH_PX if view.depth_m is None else LONGEST_PX
    box = None if prompt.xyxy is None else clipped(prompt.xyxy, hw, view.id)
    mask = None if prompt.mask is None else _joined(_checked(prompt.mask, hw, view.id))
    on_xy, off_xy = _points(prompt, hw, view.id)
    if box is None and mask is None and len(on_xy) == 0:
        raise BadPrompt(f"view {view.id}: a prompt of points alone needs one with label 1 (on the object)")
    if mask is not None and box is not None:
        mask[:, : math.floor(box[0])] = mask[:, math.ceil(box[2]) :] = False
        mask[: math.floor(box[1])] = mask[math.ceil(box[3]) :] = False
        if not mask.any():
            mask = None  # The two contradict each other; a box comes from the question, a mask from another view.
    if mask is not None:
        return _of_mask(mask, box, on_xy, off_xy, hw, longest)
    reach = _reach(view, on_xy, hw) if box is None else box
    window = Window.around(reach, _margin(reach), hw, longest)
    slack = 0.04 * max(reach[2] - reach[0], reach[3] - reach[1])
    region = _drawn(window, reach, slack)
    cx, cy = (reach[0] + reach[2]) / 2, (reach[1] + reach[3]) / 2
    u, v = np.meshgrid(window.columns(), window.rows())
    half_w, half_h = (reach[2] - reach[0]) / 4, (reach[3] - reach[1]) / 4
    core = ((u + 0.5 - cx) / half_w) ** 2 + ((v + 0.5 - cy) / half_h) ** 2 <= 1.0
    on = _dots(window, on_xy)
    if box is None:
        core = grown(on, 2 * POINT_RADIUS_PX)
    return Target(window, region, core | on, on, _dots(window, off_xy), ~region, reach, False, box is None)


def clipped(xyxy: Box, hw: tuple[int, int], view_id: int) -> Box:
    """The part of a box that lies in the image. Raises BadPrompt when that is less than 2 pixels wide or high."""
    x0, y0 = max(0.0, float(xyxy[0])), max(0.0, float(xyxy[1]))
    x1, y1 = min(float(hw[1]), float(xyxy[2])), min(float(hw[0]), float(xyxy[3]))
    if min(x1 - x0, y1 - y0) < MIN_SIDE_PX:
        raise BadPrompt(
            f"view {view_id}: box {tuple(round(float(c), 1) for c in xyxy)} has less than {MIN_SIDE_PX:.0f} pixels "
            f"of width or height in the {hw[1]}x{hw[0]} image; give xyxy in pixels of the original image"
        )
    return x0, y0, x1, y1


def box_of(mask: Mask) -> Box:
    """Bounding box x0, y0, x1, y1 of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _checked(mask: Mask, hw: tuple[int, int], view_id: int) -> Mask:
    if mask.shape != hw:
        raise BadPrompt(f"view {view_id}: a mask prompt must be {hw} like its image, got {mask.shape}")
    if not mask.any():
        raise BadPrompt(f"view {view_id}: the mask prompt is empty; leave the view out instead")
    return mask


def _points(prompt: Prompt, hw: tuple[int, int], view_id: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if prompt.points_xy is None or prompt.points_label is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    xy = np.asarray(prompt.points_xy, np.float64)
    inside = np.all((xy >= 0.0) & (xy <= (hw[1], hw[0])), axis=1)
    if not inside.all():
        raise BadPrompt(f"view {view_id}: point {xy[~inside][0].tolist()} is outside of the {hw[1]}x{hw[0]} image")
    return xy[prompt.points_label > 0], xy[prompt.points_label <= 0]


def _joined(mask: Mask) -> Mask:
    """Close the gaps of a mask whose pixels are sparse, as points reprojected from farther away leave it."""
    x0, y0, x1, y1 = (int(c) for c in box_of(mask))
    crop = mask[y0:y1, x0:x1]
    rows, columns = np.nonzero(crop)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))
    spacing = math.sqrt(max(1.0, float(cv2.contourArea(hull)) / len(rows)))
    radius = int(np.clip(math.ceil(0.8 * spacing), 1, 8))
    padded = np.pad(crop.astype(np.uint8), radius + 1)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc(radius)) > 0
    out = np.array(mask, np.bool_)
    out[y0:y1, x0:x1] = closed[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
    return out


def _of_mask(
    mask: Mask,
    box: Box | None,
    on_xy: NDArray[np.float64],
    off_xy: NDArray[np.float64],
    hw: tuple[int, int],
    longest: int,
) -> Target:
    reach = box_of(mask)
    size = math.sqrt(np.count_nonzero(mask))
    # Generous, as another view may have seen half of it; depth keeps it from spilling, and `cut` does without depth.
    slack = float(np.clip(0.35 * size, 6.0, 40.0))
    reach = (reach[0] - slack, reach[1] - slack, reach[2] + slack, reach[3] + slack)
    if box is not None:
        reach = (min(reach[0], box[0]), min(reach[1], box[1]), max(reach[2], box[2]), max(reach[3], box[3]))
    window = Window.around(reach, 0.5 * _margin(reach), hw, longest)
    core = np.asarray(window.pick(mask), np.bool_)
    if not core.any():  # A speck in a large box can fall between the working pixels.
        core = np.asarray(window.pick(grown(mask, 1.0 / window.scale)), np.bool_)
    region = grown(core, slack * window.scale)
    if box is not None:
        # What a mask from another view could not see, the box still allows.
        region = _drawn(window, box, 0.04 * max(box[2] - box[0], box[3] - box[1]))
    on = _dots(window, on_xy)
    return Target(
        window,
        region | on,
        core | on,
        on,
        _dots(window, off_xy),
        ~region,
        box_of(mask) if box is None else box,
        True,
        False,
    )


def _margin(box: Box) -> float:
    return float(np.clip(0.3 * max(box[2] - box[0], box[3] - box[1]), 10.0, 70.0))


def _drawn(window: Window, box: Box, slack: float) -> Mask:
    u, v = window.columns() + 0.5, window.rows() + 0.5
    across = (u > box[0] - slack) & (u < box[2] + slack)
    down = (v > box[1] - slack) & (v < box[3] + slack)
    return np.asarray(down[:, None] & across[None, :])


def _dots(window: Window, xy: NDArray[np.float64]) -> Mask:
    out = np.zeros((window.height, window.width), np.bool_)
    if len(xy):
        u, v = np.meshgrid(window.columns() + 0.5, window.rows() + 0.5)
        for x, y in xy:
            out |= (u - x) ** 2 + (v - y) ** 2 <= max(POINT_RADIUS_PX, 0.8 / window.scale) ** 2
    return out


def _reach(view: View, on_xy: NDArray[np.float64], hw: tuple[int, int]) -> Box:
    """Where an object pointed at may be: within POINT_REACH_M of the points, a quarter of the image without depth."""
    reach = hw[0] / 4
    if view.depth_m is not None:
        at = np.minimum(np.floor(on_xy).astype(np.intp), (hw[1] - 1, hw[0] - 1))
        z = view.depth_m[at[:, 1], at[:, 0]]
        z = z[np.isfinite(z) & (z > 0.0)]
        if len(z):
            reach = float(np.clip(POINT_REACH_M * view.intrinsics.fx / np.median(z), 16.0, hw[0] / 2))
    lowest, highest = on_xy.min(axis=0) - reach, on_xy.max(axis=0) + reach
    return (
        max(0.0, float(lowest[0])),
        max(0.0, float(lowest[1])),
        min(float(hw[1]), float(highest[0])),
        min(float(hw[0]), float(highest[1])),
    )
