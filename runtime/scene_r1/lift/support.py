"""The plane that an object stands on or hangs at: what lies around its mask, and so is not the object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.backproject.projector import extent_px

RING_SHARE = 0.15
"""Width of the ring around a mask, as a share of the mask's larger side."""
FEWEST_RING_POINTS = 60
MOST_RING_POINTS = 400
TRIALS = 64
INLIER_SHARE = 0.5
"""Of the ring's points at least this share must lie on the plane, or it is not one thing that surrounds the object."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Points x with normal . x = offset. normal: (3,) float64 of length 1, to the side where the cameras are."""

    normal: NDArray[np.float64]
    offset: float

    def height(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N,) metres of points (N, 3) above the plane."""
        return np.asarray(points @ self.normal - self.offset, np.float64)

    def foot(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 3) the points moved onto the plane along its normal."""
        return np.asarray(points - self.height(points)[:, None] * self.normal, np.float64)


def ring(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels around a mask, a gap of two pixels left out."""
    left, top, wide, tall = extent_px(mask)
    out = np.zeros_like(mask)
    if tall == 0:
        return out
    width = max(4, round(RING_SHARE * max(wide, tall)))
    y, x = max(0, top - width - 3), max(0, left - width - 3)
    part = np.s_[y : top + tall + width + 3, x : left + wide + width + 3]
    inside = np.ascontiguousarray(mask[part]).view(np.uint8)
    out[part] = (cv2.dilate(inside, _square(width + 2)) > 0) & (cv2.dilate(inside, _square(2)) == 0)
    return out


def fit_plane(
    points: NDArray[np.floating], tolerance_m: float, eye: NDArray[np.float64], seed: int = 0
) -> Plane | None:
    """The plane that most of the points (N, 3) metres lie on within tolerance_m, or None when fewer than half do.

    RANSAC over triples, then least squares on the inliers. Deterministic for a seed. eye: (3,) a point on the side
    that the normal is to point to.
    """
    if len(points) < FEWEST_RING_POINTS:
        return None
    rng = np.random.default_rng(seed)
    p = np.asarray(points, np.float64)
    if len(p) > MOST_RING_POINTS:
        p = p[rng.choice(len(p), MOST_RING_POINTS, replace=False)]
    corners = p[rng.integers(0, len(p), (TRIALS, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 1e-9
    normals = normals[usable] / lengths[usable, None]
    if len(normals) == 0:
        return None
    offsets = np.einsum("ij,ij->i", normals, corners[usable, 0])
    near = np.abs(p @ normals.T - offsets) < tolerance_m
    best = int(np.argmax(near.sum(axis=0)))
    on = p[near[:, best]]
    if len(on) < INLIER_SHARE * len(p):
        return None
    center = on.mean(axis=0)
    normal = np.linalg.svd(on - center, full_matrices=False)[2][2]
    if normal @ (eye - center) < 0.0:
        normal = -normal
    return Plane(normal, float(normal @ center))


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
