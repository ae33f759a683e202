"""GrabCut (Rother, Kolmogorov & Blake 2004) with colour models of our own making, and the outline at full size.

OpenCV would initialise the models with k-means from a random state that the whole thread shares, so the same call
would not give the same mask. Here they start from the paper's own choice, a binary split of the colours along the
principal axis (Orchard & Bouman 1991), which draws no random number.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.depth_cut.window import Mask

COLORS = 5
"""Gaussians in a model; OpenCV's number."""

MOST_SAMPLES = 4000
GRAIN = 4.0
"""Variance added to each channel: 8-bit rounding and sensor noise, so that a flat colour keeps an inverse."""

Labels = NDArray[np.uint8]


def color_cut(image: NDArray[np.uint8], labels: Labels, rounds: int) -> Mask:
    """Divide a picture into object and surroundings by colour.

    image: (H, W, 3) uint8 in any colour space. labels: (H, W) uint8 of cv2.GC_FGD, GC_BGD (fixed), GC_PR_FGD,
    GC_PR_BGD (to be decided). Returns (H, W) bool. Where one side has no pixel at all, the labels are the answer.
    """
    fixed = (labels == cv2.GC_FGD) | (labels == cv2.GC_BGD)
    on = np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if fixed.all() or on.all() or not on.any():
        return on
    models = [np.ascontiguousarray(color_model(image[side])[None]) for side in (~on, on)]
    out = np.ascontiguousarray(labels.copy())
    unused = (0, 0, 1, 1)
    cv2.grabCut(np.ascontiguousarray(image), out, unused, models[0], models[1], rounds, cv2.GC_EVAL)
    return np.asarray((out == cv2.GC_FGD) | (out == cv2.GC_PR_FGD))


def color_model(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(65,) float64 mixture of COLORS Gaussians as cv2.grabCut keeps it: weights, means, covariances row by row.

    colors: (N, 3) uint8, N > 0.
    """
    samples = colors[:: max(1, len(colors) // MOST_SAMPLES)].astype(np.float64)
    clusters = [samples]
    while len(clusters) < COLORS:
        spreads = [_principal(c) for c in clusters]
        widest = max(range(len(clusters)), key=lambda i: spreads[i][0] * len(clusters[i]))
        cluster = clusters[widest]
        along = (cluster - cluster.mean(axis=0)) @ spreads[widest][1]
        if spreads[widest][0] < 1.0 or np.all(along > 0.0) or np.all(along <= 0.0):
            break
        clusters[widest] = cluster[along <= 0.0]
        clusters.append(cluster[along > 0.0])
    model = np.zeros(13 * COLORS)
    for i, cluster in enumerate(clusters):
        model[i] = len(cluster) / len(samples)
        model[COLORS + 3 * i : COLORS + 3 * i + 3] = cluster.mean(axis=0)
        covariance = _covariance(cluster) + GRAIN * np.eye(3)
        model[4 * COLORS + 9 * i : 4 * COLORS + 9 * i + 9] = covariance.ravel()
    return model


def refine_outline(mask: Mask, image: NDArray[np.uint8], radius_px: int) -> Mask:
    """Bring the outline of a mask that was cut small to the edges of the picture (guided filter, He et al. 2010).

    mask: (h, w) bool at working size. image: (H, W, 3) uint8 at full size. Returns (H, W) bool: only pixels within
    `radius_px` of the enlarged outline may change.
    """
    size = (image.shape[1], image.shape[0])
    large = np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)
    guide = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255.0)
    box = (2 * radius_px + 1, 2 * radius_px + 1)
    mean, mean_mask = cv2.blur(guide, box), cv2.blur(large, box)
    variance = cv2.blur(guide * guide, box) - mean * mean
    slope = (cv2.blur(guide * large, box) - mean * mean_mask) / (variance + np.float32(1e-3))
    offset = mean_mask - slope * mean
    filtered = cv2.blur(slope, box) * guide + cv2.blur(offset, box)
    near = (mean_mask > 0.02) & (mean_mask < 0.98)
    return np.asarray(np.where(near, filtered, large) > 0.5)


def _covariance(cluster: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = cluster - cluster.mean(axis=0)
    return np.asarray(centred.T @ centred / len(cluster))


def _principal(cluster: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(_covariance(cluster))
    return float(values[-1]), np.asarray(vectors[:, -1])
