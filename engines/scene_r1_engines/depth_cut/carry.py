"""An object's points, carried from a view in which it was segmented into another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.depth_cut.surfaces import FAR_M, NEAR_M, STEREO_NOISE
from scene_r1_engines.depth_cut.window import Mask, shrunk
from scene_r1_engines.view import View

MOST_POINTS = 20000
LEAST_POINTS = 12
DEPTH_TOLERANCE_M = 0.04
"""How far off the depth seen a carried point may be: errors of the poses; the camera's noise is added."""

LEAST_SEEN = 0.15
"""Share of the points in the image that must be seen at their depth; less is an object that is hidden or gone."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object as one view saw it.

    points: (N, 3) float64, metres, world. T_world_camera: (4, 4) of the camera that saw them.
    """

    points: NDArray[np.float64]
    T_world_camera: NDArray[np.float64]


def sighting(view: View, mask: Mask) -> Sighting | None:
    """The points of a mask; None where the view has no pose, no depth, or no depth within the mask."""
    if view.depth_m is None or view.T_world_camera is None or not np.all(np.isfinite(view.T_world_camera)):
        return None
    inner = shrunk(mask, 1.0)  # Depth at an outline is a mixture of both sides.
    rows, columns = np.nonzero(inner if np.count_nonzero(inner) >= LEAST_POINTS else mask)
    z = view.depth_m[rows, columns].astype(np.float64)
    valid = np.flatnonzero(np.isfinite(z) & (z >= NEAR_M) & (z <= FAR_M))
    valid = valid[:: max(1, len(valid) // MOST_POINTS)]
    if len(valid) < LEAST_POINTS:
        return None
    rays = view.intrinsics.rays(np.stack([columns[valid], rows[valid]], axis=1))
    points = np.column_stack([rays * z[valid, None], z[valid]])
    T = view.T_world_camera
    return Sighting(points @ T[:3, :3].T + T[:3, 3], T)


def carried_mask(seen: Sighting, view: View) -> tuple[Mask, float] | None:
    """Where the points are visible in another view.

    Returns (H, W) bool, sparse where the view is nearer than the sighting was, and the share of the points in the
    image that the depth there confirms. None where the view has no pose or depth, or too few points are confirmed.
    """
    if view.depth_m is None or view.T_world_camera is None:
        return None
    T = view.T_world_camera
    points = (seen.points - T[:3, 3]) @ T[:3, :3]
    uv = view.intrinsics.project(points)
    height, width = view.depth_m.shape
    with np.errstate(invalid="ignore"):
        inside = (uv[:, 0] > -0.5) & (uv[:, 0] < width - 0.5) & (uv[:, 1] > -0.5) & (uv[:, 1] < height - 0.5)
    if np.count_nonzero(inside) < LEAST_POINTS:
        return None
    columns, rows = np.rint(uv[inside]).astype(np.intp).T
    z, depth = points[inside, 2], view.depth_m[rows, columns].astype(np.float64)
    known = np.isfinite(depth) & (depth >= NEAR_M) & (depth <= FAR_M)
    near = known & (np.abs(np.where(known, depth, 0.0) - z) < DEPTH_TOLERANCE_M + 3.0 * STEREO_NOISE * z * z)
    share = np.count_nonzero(near) / len(z)
    if np.count_nonzero(near) < LEAST_POINTS or share < LEAST_SEEN:
        return None
    mask = np.zeros((height, width), np.bool_)
    mask[rows[near], columns[near]] = True
    return mask, share


def apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """How differently two cameras (4, 4) look: metres between them plus radians between their axes."""
    cosine = float(np.clip(a[:3, 2] @ b[:3, 2], -1.0, 1.0))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])) + float(np.arccos(cosine))
