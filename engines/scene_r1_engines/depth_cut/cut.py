"""One prompt in one view becomes one mask: depth decides where it can, colour decides the rest."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.depth_cut.color_cut import color_cut, refine_outline
from scene_r1_engines.depth_cut.depth_cue import DepthCue, depth_cue
from scene_r1_engines.depth_cut.target import Target, box_of
from scene_r1_engines.depth_cut.window import Mask, distance_to, grown, shrunk
from scene_r1_engines.view import View

SLACK_PX = 3.0
"""Pixels of the image by which an outline in depth may be off the one in colour (registration, depth's blur)."""

ROUNDS_WITH_DEPTH = 1
ROUNDS_WITHOUT = 3

LEAST_SCORE = 0.05
"""Below this there is nothing: the mask is emptied and the score is 0."""


def cut(view: View, target: Target) -> tuple[Mask, float]:
    """(H, W) bool mask of a target, and its score in [0, 1]; an empty mask with 0 where nothing stands out.

    The score is the geometric mean of: how far depth and colour agree, how much of the outline lies on an edge of
    depth or colour, and how well the mask fills its box. Without depth it is at most 0.7.
    """
    window = target.window
    image = window.shrink_color(view.image)
    # GrabCut compares distances of colours: Lab's are nearer to what separates things than those of RGB.
    lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.uint8)
    cue = depth_cue(view, target)
    labels = _labels(target, cue)
    small = color_cut(lab, labels, ROUNDS_WITH_DEPTH if cue is not None and cue.found else ROUNDS_WITHOUT)
    small = _object_parts(small, target, cue)
    if cue is not None and cue.found and np.count_nonzero(small) < 0.3 * np.count_nonzero(cue.on):
        small = cue.on & ~target.off  # Colour took away what depth is sure of.
    score = _score(small, lab, target, cue)
    full = np.zeros((view.intrinsics.height, view.intrinsics.width), np.bool_)
    if score < LEAST_SCORE:
        return full, 0.0
    if (window.height, window.width) == window.full_hw:
        full[window.rows_columns] = small
    else:
        radius = math.ceil(1.5 / window.scale)
        full[window.rows_columns] = refine_outline(small, view.image[window.rows_columns], radius)
    return (full, score) if full.any() else (full, 0.0)


def _labels(target: Target, cue: DepthCue | None) -> NDArray[np.uint8]:
    """What each pixel starts as: fixed where depth or a point is sure, probable elsewhere."""
    out = np.full(target.region.shape, cv2.GC_BGD, np.uint8)
    if cue is None or not cue.found:
        out[target.region] = cv2.GC_PR_FGD
        if target.from_mask:
            out[target.region & ~target.core] = cv2.GC_PR_BGD
            size = math.sqrt(np.count_nonzero(target.core))
            out[~grown(target.core, max(3.0, 0.12 * size))] = cv2.GC_BGD
            out[shrunk(target.core, 0.15 * size)] = cv2.GC_FGD
        else:
            unlikely = ~target.core if target.points_only else ~_ellipse(target)
            out[target.region & unlikely] = cv2.GC_PR_BGD
    else:
        slack = max(1.0, SLACK_PX * target.window.scale)
        nearer = distance_to(cue.on) < distance_to(cue.off)
        probable = np.where(cue.rim, grown(cue.on, 1.0), nearer)
        if target.from_mask:
            probable &= cue.on | grown(target.core, 2.0)
        out[target.region] = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD)[target.region]
        out[target.region & cue.on] = cv2.GC_PR_FGD
        sure = shrunk(cue.on, slack) & shrunk(target.region, slack)
        # Thin parts have no inside: where eroding leaves nothing of a part, all of it is kept.
        thin = cue.on & ~grown(sure, 2.0 * slack)
        out[sure | thin] = cv2.GC_FGD
        out[cue.off & ~grown(cue.on, slack)] = cv2.GC_BGD
    out[target.off] = cv2.GC_BGD
    out[target.on] = cv2.GC_FGD
    return out


def _ellipse(target: Target) -> Mask:
    """The ellipse in the box, a bit larger: few things fill the corners of their boxes."""
    u, v = np.meshgrid(target.window.columns() + 0.5, target.window.rows() + 0.5)
    x0, y0, x1, y1 = target.box
    return np.asarray(((2 * u - x0 - x1) / (x1 - x0)) ** 2 + ((2 * v - y0 - y1) / (y1 - y0)) ** 2 < 1.35)


def _object_parts(mask: Mask, target: Target, cue: DepthCue | None) -> Mask:
    """Keep the parts that belong: those on the object's surfaces or points, else the largest; fill pinholes."""
    if not mask.any():
        return mask
    n, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    area[0] = 0.0
    evidence = target.on | (cue.on if cue is not None and cue.found else target.core)
    held = np.bincount(parts[evidence & mask], minlength=n)
    keep = held >= np.maximum(2.0, 0.25 * area)
    if cue is None or not cue.found:
        keep = keep & (area >= 0.2 * area.max())
    keep[int(np.argmax(area + 2.0 * held))] = True
    keep[0] = False
    out = keep[parts]
    n, holes, stats, _ = cv2.connectedComponentsWithStats((~out).astype(np.uint8), connectivity=4)
    pinhole = stats[:, cv2.CC_STAT_AREA] < max(4.0, 0.004 * np.count_nonzero(out))
    pinhole[0] = False
    return np.asarray(out | (pinhole[holes] & ~target.off))


def _score(mask: Mask, lab: NDArray[np.uint8], target: Target, cue: DepthCue | None) -> float:
    if not mask.any():
        return 0.0
    edges = _edge_share(mask, lab, target, cue)
    fill = 1.0 if target.points_only else min(1.0, _box_overlap(mask, target) / 0.75)
    if cue is None or not cue.found:
        return 0.7 * math.sqrt(edges * fill)
    seen = cue.w > 0.0
    either = np.count_nonzero((mask | cue.on) & seen)
    agree = np.count_nonzero(mask & cue.on & seen) / either if either else 0.0
    return float((agree * edges * fill) ** (1.0 / 3.0))


def _edge_share(mask: Mask, lab: NDArray[np.uint8], target: Target, cue: DepthCue | None) -> float:
    """The share of the outline across which colour (by 6 of 8-bit Lab) or depth (by 4 noises) changes.

    Means over the mask's and the others' pixels within 3 are compared. Outline on the image's border counts for
    nothing either way.
    """
    outline = mask & ~shrunk(mask, 1.0)
    if not outline.any():
        return 0.0
    box = (7, 7)
    sides = []
    for side in (mask, ~mask):
        weight = cv2.blur(side.astype(np.float32), box)
        colors = cv2.blur(lab.astype(np.float32) * side[..., None].astype(np.float32), box)
        sides.append(colors / np.maximum(weight, 1e-6)[..., None])
    differs = np.linalg.norm(sides[0] - sides[1], axis=-1) > 6.0
    if cue is not None and cue.found:
        seen = (cue.w > 0.0).astype(np.float32)
        depths = []
        for side in (mask, ~mask):
            weight = cv2.blur(side.astype(np.float32) * seen, box)
            depths.append((cv2.blur(cue.w * side.astype(np.float32), box) / np.maximum(weight, 1e-6), weight > 1e-3))
        (w_on, has_on), (w_off, has_off) = depths
        differs |= has_on & has_off & (np.abs(w_on - w_off) > 4.0 * cue.noise)
    return float(np.count_nonzero(differs & outline)) / float(np.count_nonzero(outline))


def _box_overlap(mask: Mask, target: Target) -> float:
    """IoU of the mask's bounding box and the target's, in pixels of the image."""
    x0, y0, x1, y1 = box_of(mask)
    sx, sy = target.window.full_hw[1] / target.window.width, target.window.full_hw[0] / target.window.height
    got = (
        target.window.x0 + x0 * sx,
        target.window.y0 + y0 * sy,
        target.window.x0 + x1 * sx,
        target.window.y0 + y1 * sy,
    )
    want = target.box
    width = min(got[2], want[2]) - max(got[0], want[0])
    height = min(got[3], want[3]) - max(got[1], want[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    both = width * height
    return both / ((got[2] - got[0]) * (got[3] - got[1]) + (want[2] - want[0]) * (want[3] - want[1]) - both)
