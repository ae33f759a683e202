"""The depth image of an active stereo camera, made from the exact one."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from scene_r1.depth_noise import BASELINE_M, FOCAL_PX, SIGMA_DISPARITY_PX
from scene_r1.frame import depth_counts
from scene_r1_engines.errors import BadInput
from scene_r1_engines.intrinsics import Intrinsics

DEPTH_SCALE = 0.001
SUBPIXEL = 32
"""Steps a pixel of disparity is measured in (Grunnet-Jepsen et al., Subpixel Linearity Improvement for D400)."""
NEAR_M, FAR_M = 0.28, 8.0
SMOOTH_PX = 0.8
"""Matching windows overlap, so neighbouring errors are alike: standard deviation of the blur that makes them so."""
STEP_RATIO = 0.04
"""A step in depth larger than this share of the nearer side is an edge between things."""


def noisy_depth(
    depth_m: NDArray[np.float32], intrinsics: Intrinsics, rng: np.random.Generator, scale: float = 1.0
) -> NDArray[np.uint16]:
    """What an active stereo camera (D4xx) reports where `depth_m` is the truth.

    Disparity, not depth, carries the noise: sigma = `scale` * 0.1 px, so sigma_z = sigma z^2 / (f b) with
    f = 385 px * width / 640 and b = 5 cm (at 640 px: 5 mm at 1 m, 2.1 cm at 2 m), a little alike in
    neighbouring pixels, in steps of 1/32 px. Holes: nearer than 0.28 m, beyond 8 m, at grazing incidence (beyond some
    80 degrees), where the second imager's view is blocked, in the band at the left that it does not see, and at about
    a third of the pixels beside a step in depth; another quarter of those fly between its two sides.

    depth_m: (h, w) float32, metres, 0 = nothing there. intrinsics: of `depth_m`. scale: 0 leaves only the steps and
    the holes. Returns (h, w) uint16 counts of 0.001 m, 0 = no return.

    Raises BadInput for a wrong shape, dtype or scale.
    """
    shape = (intrinsics.height, intrinsics.width)
    if depth_m.shape != shape or depth_m.dtype != np.float32:
        raise BadInput(f"depth_m must be {shape} float32 as its intrinsics say, got {depth_m.shape} {depth_m.dtype}")
    if not (math.isfinite(scale) and scale >= 0.0):
        raise BadInput(f"the noise's scale must be a number >= 0, got {scale!r}")
    valid = np.isfinite(depth_m) & (depth_m > 0.0)
    z = np.where(valid, depth_m, np.float32(1e3)).astype(np.float32)
    edge, z = _fly(z, valid, rng)
    fb = FOCAL_PX * intrinsics.width / 640.0 * BASELINE_M
    disparity = fb / z + scale * SIGMA_DISPARITY_PX * _alike(shape, SMOOTH_PX, rng)
    disparity = np.rint(disparity * SUBPIXEL) / SUBPIXEL
    seen = valid & (disparity > 0.0) & ~_hidden(z, intrinsics)
    # Holes come in patches: one smooth field decides both kinds, so that neighbours drop out together.
    chance = np.where(edge, 0.35, np.clip((0.21 - _incidence(z, intrinsics)) / 0.08, 0.0, 1.0))
    seen &= ndtr(_alike(shape, 1.2, rng)) >= chance
    with np.errstate(divide="ignore"):
        measured = np.where(seen, fb / disparity, 0.0)
    measured[(measured < NEAR_M) | (measured > FAR_M)] = 0.0
    return depth_counts(measured, DEPTH_SCALE)


def _alike(shape: tuple[int, int], smooth_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A field of standard deviation 1 at every pixel, alike over about `smooth_px`."""
    pad = math.ceil(3.0 * smooth_px)
    kernel = cv2.getGaussianKernel(2 * pad + 1, smooth_px).ravel().astype(np.float32)
    white = rng.standard_normal((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    smooth = cv2.sepFilter2D(white, cv2.CV_32F, kernel, kernel)[pad:-pad, pad:-pad]
    return np.asarray(smooth / float(np.sum(kernel**2)), dtype=np.float32)


def _fly(
    z: NDArray[np.float32], valid: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Pixels beside a step in depth, and the depth with a quarter of them between its two sides."""
    window = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(z, window), cv2.dilate(np.where(valid, z, 0.0).astype(np.float32), window)
    # Inverse depth is linear across a plane however steep, so only a true step has a second difference.
    inverse = (1.0 / z).astype(np.float32)
    bend = np.maximum(np.abs(_second(inverse, (1, 3))), np.abs(_second(inverse, (3, 1))))
    edge = valid & (far - near > STEP_RATIO * near) & (bend > 0.25 * (1.0 / near - 1.0 / np.maximum(far, near)))
    between = near + rng.random(z.shape, dtype=np.float32) * (far - near)
    flies = edge & (rng.random(z.shape, dtype=np.float32) < 0.25)
    return edge, np.where(flies, between, z)


def _second(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    kernel = np.array([1.0, -2.0, 1.0], np.float32).reshape(shape)
    return np.asarray(cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _incidence(z: NDArray[np.float32], intrinsics: Intrinsics) -> NDArray[np.float32]:
    """Cosine between ray and surface normal, (h, w): z / (|n| |ray|) with n from the slopes of z over pixels."""
    u = np.arange(intrinsics.width, dtype=np.float32) - np.float32(intrinsics.cx)
    v = (np.arange(intrinsics.height, dtype=np.float32) - np.float32(intrinsics.cy))[:, None]
    zu = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    zv = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    fx, fy = intrinsics.fx, intrinsics.fy
    normal = np.sqrt((fx * zu) ** 2 + (fy * zv) ** 2 + (z + u * zu + v * zv) ** 2)
    ray = np.sqrt((u / fx) ** 2 + (v / fy) ** 2 + 1.0)
    return np.asarray(z / (normal * ray), dtype=np.float32)


def _hidden(z: NDArray[np.float32], intrinsics: Intrinsics) -> NDArray[np.bool_]:
    """Pixels the second imager, BASELINE_M to the right, has no match for: something nearer stands in its way, or
    they lie left of its image."""
    u = np.arange(intrinsics.width, dtype=np.float32)
    there = u - np.float32(intrinsics.fx * BASELINE_M) / z  # where the same point lies in the second image
    later = np.minimum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    hidden = there < 0.0
    hidden[:, :-1] |= there[:, :-1] > later[:, 1:] + 0.5
    return np.asarray(hidden)
