"""Depth made smoother on an object, and rid of what flies beside it, before anything is measured on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from scene_r1.backproject.projector import RayTables, color_pixels, depth_window
from scene_r1.frame import DepthRange
from scene_r1.jit import JIT
from scene_r1.lift.masked_view import MaskedView

RADIUS_PX = 3
WIDTH_PX = 2.0
"""Standard deviation of the filter in the picture."""
STEPS = 4.0
"""Depths that differ by this many standard deviations of the noise have nothing to do with each other."""
LEFT = 0.5
"""What is left of the noise, as a share: measured on flat walls of synthetic rooms, whose neighbouring errors are alike
over 0.8 px; a camera that matches in larger windows keeps more."""
TAPS = np.exp(-0.5 * (np.arange(-RADIUS_PX, RADIUS_PX + 1) / WIDTH_PX) ** 2).astype(np.float32)


def denoised(
    view: MaskedView, noise: float, depth_range: DepthRange, edge_ratio: float, rays: RayTables | None = None
) -> MaskedView:
    """The view with its depth smoothed inside the mask, and without pixels that fly between two surfaces.

    A separable bilateral filter (Pham and van Vliet 2005) on inverse depth, in which the noise of a camera that
    triangulates is the same at every distance. What lies outside the mask lends nothing and stays as it is; holes stay
    holes. noise: sigma = noise * z^2; 0 smooths nothing. edge_ratio: a step by more than this share of the depth is one
    from surface to surface.
    """
    frame, mask = view.frame, view.mask
    if mask.shape != frame.color.shape[:2] or mask.dtype != np.bool_:
        return view  # whoever back-projects it says what is wrong
    window = depth_window(frame, mask, depth_range)
    if window is None:
        return view
    depth_raw = frame.depth_raw.copy()
    counts = depth_raw[window]
    if noise > 0.0:
        if frame.one_camera:
            inside = mask[window]
            lowest, highest = depth_range.counts(frame.depth_scale)
            inside = inside & (counts >= lowest) & (counts <= highest)
        else:
            pixel = color_pixels(frame, depth_range, 0.0, rays, None, window)
            inside = mask.ravel()[pixel] & (pixel >= 0)
        smooth(counts, inside, np.float32(1.0 / (STEPS * noise * frame.depth_scale)), TAPS)
    ground(counts, np.float32(edge_ratio))
    return MaskedView(replace(frame, depth_raw=depth_raw), mask)


@njit(**JIT)
def smooth(counts, inside, per_step, taps):  # type: ignore[no-untyped-def]
    """Smooth counts (h, w) uint16 in place where inside (h, w) bool, along rows, then along columns.

    per_step: what a difference of inverse counts is multiplied with, so that 1 is too far away to count.
    """
    h, w = counts.shape
    inverse = np.zeros((h, w), np.float32)
    for v in range(h):
        for u in range(w):
            if inside[v, u]:
                inverse[v, u] = np.float32(1.0) / np.float32(counts[v, u])
    along = smoothed_rows(inverse, per_step, taps)
    across = smoothed_rows(np.ascontiguousarray(along.T), per_step, taps)
    for v in range(h):
        for u in range(w):
            if across[u, v] > 0.0:
                counts[v, u] = np.uint16(np.float32(1.0) / across[u, v] + np.float32(0.5))


@njit(**JIT)
def smoothed_rows(inverse, per_step, taps):  # type: ignore[no-untyped-def]
    """Each row of (h, w) float32 smoothed by itself; 0 is nothing, lends nothing and stays 0."""
    h, w = inverse.shape
    r = len(taps) // 2
    out = np.zeros((h, w), np.float32)
    for v in range(h):
        for u in range(w):
            here = inverse[v, u]
            if here == 0.0:
                continue
            total, weight = np.float32(0.0), np.float32(0.0)
            for k in range(max(0, u - r), min(w, u + r + 1)):
                there = inverse[v, k]
                step = (there - here) * per_step
                near = np.float32(1.0) - step * step
                if there > 0.0 and near > 0.0:
                    near *= taps[k - u + r]
                    total += near * there
                    weight += near
            out[v, u] = total / weight
    return out


@njit(**JIT)
def ground(counts, ratio):  # type: ignore[no-untyped-def]
    """Set to 0, in place, what agrees with neither neighbour in its row and with neither in its column.

    A flying pixel lies between two surfaces and apart from both. The rim of a surface agrees with its inside: it
    stays, and with it a third of a small thing.
    """
    h, w = counts.shape
    above = np.zeros(w, counts.dtype)
    here = np.zeros(w, counts.dtype)
    for v in range(h):
        here[:] = counts[v]
        for u in range(w):
            z = np.float32(here[u])
            near = ratio * z
            alone = z > 0
            for x in (u - 1, u + 1):
                if alone and 0 <= x < w and here[x] != 0 and abs(np.float32(here[x]) - z) <= near:
                    alone = False
            if alone and v > 0 and above[u] != 0 and abs(np.float32(above[u]) - z) <= near:
                alone = False
            if alone and v + 1 < h and counts[v + 1, u] != 0 and abs(np.float32(counts[v + 1, u]) - z) <= near:
                alone = False
            if alone:
                counts[v, u] = 0
        above[:] = here
