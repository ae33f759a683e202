"""Surfaces in a depth image: its noise, the planes that things stand on or before, and what is continuous.

All of it works on inverse depth w = 1/z. There a stereo camera's noise is the same at every distance, and a plane is
affine in the ray: from n . p = d with p = z (x, y, 1) follows w = (n / d) . (x, y, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from scene_r1_engines.depth_cut.window import Mask

NEAR_M, FAR_M = 0.15, 15.0
STEREO_NOISE = 0.1 / (385.0 * 0.05)
"""Noise of w in 1/m: 0.1 px of disparity at 385 px focal length and 50 mm base line (RealSense D4xx at 640x480)."""

SMOOTHED = 0.45
"""Noise of a flat surface after `inverse_depth`'s filter, as a part of what it was (white noise: 0.27 to 0.45)."""

LOWEST_NOISE = 0.0006
"""Noise of w below which no camera is believed."""

EDGE_M = 0.02

FLATNESS_M = 0.008
"""How far off its plane a table's depth may be without any noise: a Kinect's bends by 4 to 7 mm at 1.1 m (measured)."""


@dataclass(frozen=True, slots=True)
class Plane:
    """w = a x + b y + c of rays (x, y, 1); share: of the pixels asked, that lie on it."""

    abc: NDArray[np.float64]
    share: float

    def residual(self, w: NDArray[np.float32], rays: NDArray[np.float64]) -> NDArray[np.float32]:
        """How much nearer than the plane, in 1/m; (H, W) float32. Meaningless where w is 0."""
        a, b, c = self.abc
        return np.asarray(w - (a * rays[..., 0] + b * rays[..., 1] + c), np.float32)


def inverse_depth(depth_m: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Smoothed inverse depth and the noise left in it, both in 1/m.

    depth_m: (H, W) float32, metres; 0, NaN, negative and out of range = no return. Returns (H, W) float32 with 0 for
    no return, and the noise's standard deviation. Edges higher than three noises are kept (bilateral filter), and as
    "no return" is far from every return, holes neither grow nor shrink.
    """
    valid = np.isfinite(depth_m) & (depth_m >= NEAR_M) & (depth_m <= FAR_M)
    w = np.zeros(depth_m.shape, np.float32)
    w[valid] = 1.0 / depth_m[valid]
    noise = STEREO_NOISE
    bend = np.abs(w[:, :-2] - 2.0 * w[:, 1:-1] + w[:, 2:])[valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]]
    if bend.size >= 50:
        noise = float(np.clip(1.4826 * np.median(bend) / math.sqrt(6.0), 0.2 * STEREO_NOISE, 1.5 * STEREO_NOISE))
    smooth = np.asarray(cv2.bilateralFilter(w, 5, 3.0 * noise, 2.0), np.float32)
    smooth[~valid] = 0.0
    return smooth, max(LOWEST_NOISE, SMOOTHED * noise)


def plane_band(w: NDArray[np.floating], noise: float) -> NDArray[np.float64]:
    """How far off a plane a pixel on it may be, in 1/m: 2.5 noises, and at least the flatness of a real sensor."""
    return np.maximum(max(2.5 * noise, 0.0025), FLATNESS_M * np.asarray(w, np.float64) ** 2)


def find_planes(
    w: NDArray[np.float32],
    rays: NDArray[np.float64],
    among: Mask,
    noise: float,
    most: int = 3,
    least_share: float = 0.12,
) -> list[Plane]:
    """The planes that hold most of the pixels in `among`, largest first (RANSAC, Fischler & Bolles 1981).

    w: (H, W) 1/m. rays: (H, W, 2). noise: of w. Each plane holds at least `least_share` of the pixels. The samples are
    seeded, so that the same depth gives the same planes.
    """
    where = among & (w > 0.0)
    total = np.count_nonzero(where)
    if total < 30:
        return []
    values = w[where].astype(np.float64)
    directions = np.column_stack([rays[where], np.ones(total)])
    band = plane_band(values, noise)
    rng = np.random.default_rng(0)
    planes: list[Plane] = []
    left = np.arange(total)
    while len(planes) < most and len(left) >= max(30.0, least_share * total):
        some = left[:: max(1, len(left) // 800)]
        best = _best_of_samples(directions[some], values[some], band[some], rng)
        if best is None:
            break
        for _ in range(3):
            near = np.abs(values[left] - directions[left] @ best) < band[left]
            if np.count_nonzero(near) < 10:
                break
            best = np.asarray(np.linalg.lstsq(directions[left][near], values[left][near], rcond=None)[0], np.float64)
        distance = np.abs(values[left] - directions[left] @ best)
        share = float(np.count_nonzero(distance < band[left])) / total
        if share < least_share:
            break
        planes.append(Plane(best, share))
        left = left[distance >= 2.0 * band[left]]
    return planes


def edge_step(w: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """The least step between neighbours that is an edge, in 1/m: four noises, and at least EDGE_M."""
    return np.asarray(np.maximum(np.float32(4.0 * noise), np.float32(EDGE_M) * w * w), np.float32)


def connected_surfaces(w: NDArray[np.float32], among: Mask, noise: float) -> NDArray[np.int32]:
    """Label the pixels of `among` so that neighbours without a depth edge between them share a label.

    Returns (H, W) int32 labels
    from 0; -1 outside of `among` and where there is no depth.
    """
    inside = among & (w > 0.0)
    index = np.full(w.shape, -1, np.int32)
    n = int(np.count_nonzero(inside))
    index[inside] = np.arange(n, dtype=np.int32)
    if n == 0:
        return index
    step = edge_step(w, noise)
    starts, ends = [], []
    for a, b in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        joined = inside[a] & inside[b] & (np.abs(w[a] - w[b]) < np.minimum(step[a], step[b]))
        starts.append(index[a][joined])
        ends.append(index[b][joined])
    rows, columns = np.concatenate(starts), np.concatenate(ends)
    graph = sparse.coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n))
    _, label = csgraph.connected_components(graph, directed=False)
    index[inside] = label
    return index


def owned_edges(labels: NDArray[np.int32], w: NDArray[np.float32], noise: float) -> NDArray[np.float64]:
    """For each surface, the share of its depth edges at which it is the nearer side; 0.5 where it has none.

    labels: (H, W) int32 of `connected_surfaces`. Returns (n,) float64 for n labels. The outline of a thing is its own;
    what is seen through a gap ends where nearer things begin.
    """
    n = int(labels.max()) + 1
    step = edge_step(w, noise)
    around = np.ones((5, 5), np.uint8)
    nearest = cv2.dilate(w, around)
    farthest = cv2.erode(np.where(w > 0.0, w, np.float32(1e3)), around)
    on = labels >= 0
    covered = np.bincount(labels[on & (nearest - w > step)], minlength=n)
    covering = np.bincount(labels[on & (w - farthest > step)], minlength=n)
    return np.asarray((covering + 0.5) / (covering + covered + 1.0))


def _best_of_samples(
    directions: NDArray[np.float64], values: NDArray[np.float64], band: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """The plane through three of the pixels that most of them lie within `band` of; None when all are degenerate."""
    n = len(values)
    if n < 3:
        return None
    triples = rng.integers(0, n, size=(150, 3))
    systems = directions[triples]
    sound = np.abs(np.linalg.det(systems)) > 1e-7
    if not sound.any():
        return None
    planes = np.linalg.solve(systems[sound], values[triples[sound]][..., None])[..., 0]
    held = np.count_nonzero(np.abs(directions @ planes.T - values[:, None]) < band[:, None], axis=0)
    return np.asarray(planes[int(np.argmax(held))])
