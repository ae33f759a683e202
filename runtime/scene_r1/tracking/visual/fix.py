"""Where a picture was taken, once it is known roughly: landmarks found in it, and the pose that fits them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.tracking.visual.local_view import LocalView
from scene_r1.tracking.visual.patches import find_patches
from scene_r1.tracking.visual.picture import Picture
from scene_r1.tracking.visual.refine import Refined, refine
from scene_r1.tracking.visual.settings import VisualSettings

ALIKE: Final = 0.8
"""Correlation of a patch with the picture, at the least."""
NEAR_PX: Final = 6.0
"""A landmark is found this near to where it was expected, at 640 px of width, or not at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Fix:
    """A pose and what speaks for it.

    rows: (N,) of the view, the landmarks that agree; pixels: (N, 2) where; rays: (N, 2) at z = 1; depth: (N,) metres in
    the depth image, 0 = unknown. expected: how many were looked for. rms: in sigmas. depth_share: share of those with a
    depth whose depth agrees. plane_share: see Refined. anchor: place, in the view, of the keyframe with most of them.
    """

    T_world_camera: NDArray[np.float64]
    rows: NDArray[np.int64]
    pixels: NDArray[np.float64]
    rays: NDArray[np.float64]
    depth: NDArray[np.float64]
    expected: int
    rms: float
    depth_share: float
    plane_share: float
    anchor: int

    @property
    def share(self) -> float:
        """Of the landmarks looked for, how many agree."""
        return len(self.rows) / self.expected if self.expected else 0.0


def fix(
    picture: Picture,
    view: LocalView,
    T_world_camera: NDArray[np.float64],
    reference: int,
    settings: VisualSettings,
    near_px: float = NEAR_PX,
) -> Fix:
    """Look for the view's landmarks where a camera at `T_world_camera` would see them, and refine that pose.

    reference: place, in the view, of the keyframe whose surface the depth image is laid onto.
    """
    camera = picture.camera
    expected = view.expected(T_world_camera, camera, settings.tracked)
    found, score = find_patches(picture.grey, view.patches[expected.rows], expected.warps, expected.pixels)
    scale = camera.width / 640.0
    near = np.abs(found - expected.pixels).max(axis=1, initial=0.0) < near_px * max(scale, 0.5)
    rays = camera.rays(found)
    ok = (score > ALIKE) & near & np.isfinite(rays).all(axis=1)
    rows, world, rays = expected.rows[ok], view.world[expected.rows[ok]], rays[ok]
    depth = picture.depth_at(pose.apply(pose.inverse(T_world_camera), world))
    home = view.keyframes[reference]
    sigma = np.full(len(rows), settings.pixel_sigma / camera.fx)
    depth_sigma = np.maximum(settings.relative_sigma * depth * depth, 1e-3)
    refined: Refined = refine(
        T_world_camera, world, rays, sigma, depth, depth_sigma, picture.depth_points(), home.surface,
        home.T_world_camera, settings.relative_sigma, settings.plane_weight,
    )  # fmt: skip
    inlier = refined.inlier
    z = ((world - refined.T_world_camera[:3, 3]) @ refined.T_world_camera[:3, :3])[:, 2]
    known = inlier & (depth > 0.0)
    agree = np.abs(z - depth) < np.maximum(0.05 * z, 4.0 * depth_sigma)
    depth_share = float(agree[known].mean()) if known.sum() >= 8 else 0.0
    view.note(expected.rows, rows[inlier])
    homes = np.bincount(view.home[rows[inlier]], minlength=len(view.keyframes))
    anchor = int(np.argmax(homes)) if len(homes) else 0
    return Fix(
        refined.T_world_camera, rows[inlier], found[ok][inlier], rays[inlier], depth[inlier], len(expected.rows),
        refined.rms, depth_share, refined.plane_share, anchor,
    )  # fmt: skip


def carried(found: Fix, old: LocalView, new: LocalView, T_world_camera: NDArray[np.float64]) -> Fix:
    """What was found by one table of landmarks in the words of another, which need not have them all.

    T_world_camera: the pose of the same picture in the map as the new table has it.
    """
    place = {one.id: i for i, one in enumerate(new.keyframes)}
    now = np.array([place.get(one.id, -1) for one in old.keyframes], np.int64)
    home = now[old.home[found.rows]]
    kept = home >= 0
    rows = new.begins[home[kept]] + old.number[found.rows[kept]]
    anchor = int(now[found.anchor])
    if anchor < 0:
        anchor = int(np.bincount(home[kept]).argmax()) if len(rows) else len(new.keyframes) - 1
    return replace(
        found, T_world_camera=T_world_camera, rows=rows, pixels=found.pixels[kept], rays=found.rays[kept],
        depth=found.depth[kept], anchor=anchor,
    )  # fmt: skip
