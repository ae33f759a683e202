"""What depth says about each pixel of a target: on the object, beside it, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.depth_cut.surfaces import (
    Plane,
    connected_surfaces,
    find_planes,
    inverse_depth,
    owned_edges,
    plane_band,
)
from scene_r1_engines.depth_cut.target import Target
from scene_r1_engines.depth_cut.window import Mask, disc, grown
from scene_r1_engines.view import View

LEAST_PIXELS = 12
"""Working pixels below which a surface is taken for noise."""

CONTACT_M = 0.25
"""How much nearer than its support a thing may be where the two touch in the picture: as low things seem, whose depth
is not quite in its place."""

RIM_PX = 9.0
"""Most working pixels that an object's foot may vanish in the noise of what it stands on."""


@dataclass(frozen=True, slots=True)
class DepthCue:
    """Masks are (height, width) bool in working pixels; a pixel in neither `on` nor `off` is for colour to decide.

    on: on a surface of the object. off: on another surface. rim: as near to the support plane as its noise, next to
    the object: its foot, or what it stands on. w: (height, width) float32 smoothed inverse
    depth, 1/m, 0 = no return. noise: of w. found: depth tells the object from what is around it.
    """

    on: Mask
    off: Mask
    rim: Mask
    w: NDArray[np.float32]
    noise: float
    found: bool


def depth_cue(view: View, target: Target) -> DepthCue | None:
    """Read the depth of a view around a target; None where there is too little of it."""
    if view.depth_m is None:
        return None
    w, noise = inverse_depth(np.asarray(target.window.pick(view.depth_m), np.float32))
    valid = w > 0.0
    if np.count_nonzero(valid & target.region) < max(LEAST_PIXELS, 0.03 * np.count_nonzero(target.region)):
        return None
    rays = target.window.rays(view)
    planes = _planes_around(find_planes(w, rays, target.ring, noise), w, rays, target, noise)
    plane, low, rim_px = _plane_pixels(planes, w, rays, noise)
    outside = _reached_from(plane, target.ring)
    labels = connected_surfaces(w, valid & ~plane, noise)
    chosen = _surfaces_of_object(labels, w, plane, target, view.intrinsics.fx, noise)
    nothing = np.zeros(w.shape, np.bool_)
    if chosen is None:
        return DepthCue(nothing, nothing, nothing, w, noise, False)
    if target.from_mask and np.count_nonzero(chosen & ~target.region) > 0.15 * np.count_nonzero(chosen):
        # It runs into something that goes on beyond: there the guess is the better limit.
        chosen &= grown(target.core, 0.12 * math.sqrt(np.count_nonzero(target.core)))
    on = chosen & ~low & target.region
    if np.count_nonzero(on) < LEAST_PIXELS:
        return DepthCue(nothing, nothing, nothing, w, noise, False)
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    solid = (labels >= 0) & (sizes[np.maximum(labels, 0)] >= LEAST_PIXELS)
    # Low parts (the handles of a game controller) hide in the band; where they end is for colour to say.
    reach = max(rim_px, 0.2 * math.sqrt(np.count_nonzero(on)))
    nearest = cv2.dilate(np.where(on, w, np.float32(0.0)), disc(reach))
    touching = (nearest > 0.0) & (np.abs(nearest - w) < np.maximum(4.0 * noise, CONTACT_M * w * w))
    rim = (plane & touching | chosen & low) & target.region
    return DepthCue(on, ((solid & ~chosen) | outside) & ~rim, rim, w, noise, True)


def _planes_around(
    planes: list[Plane], w: NDArray[np.float32], rays: NDArray[np.float64], target: Target, noise: float
) -> list[Plane]:
    """The planes that fill the ring about as much as the region (the core, where the region is only a reach).

    Others are the object's own: a table in a box drawn tight, the side of a thing that reaches out of its box.
    """
    inside = (target.core if target.from_mask or target.points_only else target.region) & (w > 0.0)
    band = plane_band(w, noise)
    total = max(1, int(np.count_nonzero(inside)))
    out = []
    for plane in planes:
        near = (np.abs(plane.residual(w, rays)) < band) & inside
        if plane.share > 0.8 * np.count_nonzero(near) / total:
            out.append(plane)
            inside = inside & ~near
    return out


def _plane_pixels(
    planes: list[Plane], w: NDArray[np.float32], rays: NDArray[np.float64], noise: float
) -> tuple[Mask, Mask, float]:
    """Pixels on one of the planes; those within twice its band; how far above its foot a thing leaves the band, px."""
    on, low = np.zeros(w.shape, np.bool_), np.zeros(w.shape, np.bool_)
    rim_px = 2.0
    band = plane_band(w, noise)
    across, down = rays[0, -1, 0] - rays[0, 0, 0], rays[-1, 0, 1] - rays[0, 0, 1]
    for plane in planes:
        distance = np.abs(plane.residual(w, rays))
        on |= distance < band
        low |= distance < 2.0 * band
        slope = math.hypot(plane.abc[0] * across / w.shape[1], plane.abc[1] * down / w.shape[0])
        rim_px = max(rim_px, min(RIM_PX, 1.5 + float(np.median(band)) / max(slope, 1e-9)))
    return on & (w > 0.0), low & (w > 0.0), rim_px


def _reached_from(mask: Mask, ring: Mask) -> Mask:
    """Parts of a mask that reach into the ring."""
    n, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    reaches = np.bincount(labels[ring & mask], minlength=n) > 0
    reaches[0] = False
    return np.asarray(reaches[labels])


def _surfaces_of_object(
    labels: NDArray[np.int32], w: NDArray[np.float32], plane: Mask, target: Target, fx: float, noise: float
) -> Mask | None:
    """Choose the surfaces that make up the object; None when it does not stand out of what is around it.

    The first is the one that fills the core and stays within the region. The others (slats, a lampshade and its
    foot) stay within the region too, are not much farther from the first in depth than the object is wide, and are
    not a glimpse of what is around it. A surface that others cover on all sides is such a glimpse: the wall between
    the legs of a stool.
    """
    n = int(labels.max()) + 1
    if n == 0:
        return None
    labelled = labels >= 0
    total = np.bincount(labels[labelled], minlength=n).astype(np.float64)
    within = np.bincount(labels[labelled & target.region], minlength=n)
    central = np.bincount(labels[labelled & target.core], minlength=n)
    kept = within / np.maximum(total, 1.0)
    enough = within >= LEAST_PIXELS
    weight = within + (4.0 if target.from_mask else 2.0) * central
    weight[~enough] = 0.0
    pointed_at = np.bincount(labels[labelled & target.on], minlength=n) > 0
    if pointed_at.any():
        weight[~pointed_at] = 0.0
    in_front = owned_edges(labels, w, noise)
    weight *= np.minimum(1.0, 0.1 + in_front) ** 2
    weight[target.from_mask & (central < 0.3 * within)] = 0.0
    own = np.where(kept >= 0.7, weight, 0.0)
    first = int(np.argmax(own))
    if own[first] < 0.25 * float(weight.max()):
        # Nothing of note stays within: the object goes on beyond a tight box, or touches something.
        own = np.where(kept >= 0.35, weight, 0.0)
        first = int(np.argmax(own))
    if own[first] <= 0.0:
        return None
    core_depth = np.count_nonzero(target.core & (w > 0.0))
    if np.count_nonzero(plane & target.core) > 0.6 * core_depth and central[first] < 0.15 * core_depth:
        return None  # Flat on its support: a magazine, a poster.
    z = np.where(labelled, 1.0 / np.maximum(w, 1e-6), 0.0)
    near, far = np.percentile(z[labels == first], (3, 97))
    wide = max(target.box[2] - target.box[0], target.box[3] - target.box[1]) * float(near) / fx
    around = z[labelled & (kept < 0.35)[np.maximum(labels, 0)]]
    around = np.sort(np.concatenate([around, 1.0 / w[plane & target.ring & (w > 0.0)]]))
    chosen = np.zeros(n, np.bool_)
    chosen[first] = True
    order = np.argsort(labels[labelled], kind="stable")
    depths = np.split(z[labelled][order], np.cumsum(total.astype(np.intp))[:-1])
    for i in np.flatnonzero(enough & (kept >= 0.7) & (in_front >= 0.3)):
        if i == first:
            continue
        middle = float(np.median(depths[i]))
        gap = max(0.0, middle - float(far), float(near) - middle)
        if gap > 0.5 * wide:
            continue
        if gap > 0.05 and len(around):
            at = int(np.clip(np.searchsorted(around, middle), 1, len(around) - 1)) if len(around) > 1 else 0
            if min(abs(around[at] - middle), abs(around[at - 1] - middle)) < gap:
                continue
        chosen[i] = True
    return np.asarray(chosen[np.maximum(labels, 0)] & labelled)
