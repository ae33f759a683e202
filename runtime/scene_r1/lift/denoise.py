"""Depth made smoother around an object, edges kept, before anything is measured on it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from scene_r1.backproject.projector import Window, depth_window
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.lift.masked_view import MaskedView

RADIUS_PX = 2
WIDTH_PX = 3.0
"""Standard deviation of the filter in the picture."""
STEPS = 3.0
"""And in depth, in standard deviations of its noise: a step of twice that is an edge and stays one."""
LEFT = 0.65
"""What is left of the noise, as a share: measured on flat walls of synthetic rooms, whose neighbouring errors are alike
over 0.8 px; a camera that matches in larger windows keeps more."""
MARGIN_SHARE, MARGIN_PX = 0.25, 8
"""Around the object, for the plane that it stands on."""


def denoised(view: MaskedView, noise: float, depth_range: DepthRange) -> MaskedView:
    """The view with its depth smoothed in and around the mask, elsewhere as it was; holes stay holes.

    A bilateral filter (Tomasi and Manduchi 1998) on inverse depth, in which the noise of a camera that triangulates is
    the same at every distance. noise: sigma = noise * z^2.
    """
    if view.mask.ndim != 2 or view.mask.dtype != np.bool_:
        return view  # whoever back-projects it says what is wrong
    window = depth_window(view.frame, view.mask, depth_range)
    if window is None:
        return view
    frame = view.frame
    part = _grown(window, frame)
    counts = frame.depth_raw[part]
    lowest, highest = depth_range.counts(frame.depth_scale)
    valid = (counts >= lowest) & (counts <= highest)
    inverse = np.zeros(counts.shape, np.float32)  # 0: further from everything than any depth, so it lends no weight
    np.divide(1.0 / frame.depth_scale, counts, out=inverse, where=valid)
    smooth = cv2.bilateralFilter(inverse, 2 * RADIUS_PX + 1, STEPS * noise, WIDTH_PX)
    depth_raw = frame.depth_raw.copy()
    inside = depth_raw[part]
    measured = np.rint(1.0 / (smooth[valid] * np.float32(frame.depth_scale)))
    inside[valid] = np.clip(measured, lowest, highest).astype(np.uint16)
    return MaskedView(replace(frame, depth_raw=depth_raw), view.mask)


def _grown(window: Window, frame: RgbdFrame) -> Window:
    rows, columns = (_wider(part, length) for part, length in zip(window, frame.depth_raw.shape, strict=True))
    return rows, columns


def _wider(part: slice, length: int) -> slice:
    margin = round(MARGIN_SHARE * (part.stop - part.start)) + MARGIN_PX
    return slice(max(0, part.start - margin), min(length, part.stop + margin))
