"""The edges of a 3D box as one camera sees them: clipped, bent by the lens, and told apart by what hides them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.box import EDGES, Box3D
from scene_r1.depth_noise import SIGMA_PER_Z2
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1_engines.errors import BadFrame
from scene_r1_engines.intrinsics import Intrinsics

NEAR_M = 0.05
"""Edges end here before the camera: at its plane they would run to infinity."""
STEP_PX = 2.0
MOST_STEPS = 1000
BEYOND = 0.15
"""How far past the picture's sides edges are followed, as a share of its field of view."""
TOLERANCE_M = 0.03
"""An edge lies on the surface, not behind it, within this and twice the depth noise (as `reproject` has it)."""
SMOOTHED = 5
"""Samples that vote whether an edge is hidden: single depth readings flicker."""


class Stroke(NamedTuple):
    """A part of an edge. pixels: (N, 2) float64, N >= 2; hidden: it lies behind measured depth."""

    pixels: NDArray[np.float64]
    hidden: bool


def strokes(box: Box3D, frame: RgbdFrame, camera: Intrinsics) -> list[Stroke]:
    """The box's edges in the picture of a frame.

    camera: the frame's colour camera, read out at the picture's size; pixels are of that picture and may lie a little
    outside it. Where no depth was measured, an edge counts as seen. Raises BadFrame for a frame without a pose.
    """
    if frame.T_world_camera is None:
        raise BadFrame(f"frame {frame.index}: the camera's pose is unknown, so no 3D box can be drawn into it")
    corners = pose.apply(pose.inverse(frame.T_world_camera), box.corners)
    planes = _view_planes(camera)
    out: list[Stroke] = []
    for i, j in EDGES:
        piece = _clipped(corners[i], corners[j], planes)
        if piece is not None:
            points = _subdivided(*piece, camera)
            pixels = camera.project(points)
            out.extend(_runs(pixels, _seen_once(points, pixels, camera), _hidden(points, frame)))
    return out


def _view_planes(camera: Intrinsics) -> NDArray[np.float64]:
    """(5, 4) planes n, d with n . p + d >= 0 for points p before the camera and not far outside its picture."""
    w, h = camera.width - 0.5, camera.height - 0.5
    u, v = np.linspace(-0.5, w, 9), np.linspace(-0.5, h, 9)
    border = np.concatenate([[(x, y) for x in u for y in (-0.5, h)], [(x, y) for x in (-0.5, w) for y in v]])
    straight = (border - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    rays = np.concatenate([straight, camera.rays(border)])  # a folded lens has no ray for some of its border
    low, high = np.nanmin(rays, axis=0), np.nanmax(rays, axis=0)
    low, high = low - BEYOND * (high - low), high + BEYOND * (high - low)
    return np.array(
        [
            (0.0, 0.0, 1.0, -NEAR_M),
            (1.0, 0.0, -low[0], 0.0),
            (-1.0, 0.0, high[0], 0.0),
            (0.0, 1.0, -low[1], 0.0),
            (0.0, -1.0, high[1], 0.0),
        ]
    )


def _clipped(
    a: NDArray[np.float64], b: NDArray[np.float64], planes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The part of the segment a b on the inner side of all planes (Liang and Barsky 1984), or None."""
    start, end = 0.0, 1.0
    for at_a, at_b in zip(planes[:, :3] @ a + planes[:, 3], planes[:, :3] @ b + planes[:, 3], strict=True):
        if at_a < 0.0 and at_b < 0.0:
            return None
        if at_a < 0.0:
            start = max(start, at_a / (at_a - at_b))
        elif at_b < 0.0:
            end = min(end, at_a / (at_a - at_b))
    if start >= end:
        return None
    return a + start * (b - a), a + end * (b - a)


def _subdivided(a: NDArray[np.float64], b: NDArray[np.float64], camera: Intrinsics) -> NDArray[np.float64]:
    """(N, 3) points from a to b whose steps are equal in the picture, not in space."""
    length_px = float(np.linalg.norm((b[:2] / b[2] - a[:2] / a[2]) * (camera.fx, camera.fy)))
    s = np.linspace(0.0, 1.0, 1 + int(np.clip(math.ceil(length_px / STEP_PX), 1, MOST_STEPS)))
    t = s * a[2] / ((1.0 - s) * b[2] + s * a[2])
    return np.asarray(a + t[:, None] * (b - a))


def _seen_once(points: NDArray[np.float64], pixels: NDArray[np.float64], camera: Intrinsics) -> NDArray[np.bool_]:
    """(N,) where a pixel looks back at its point: past the field of view a lens polynomial folds into the picture."""
    if camera.is_pinhole:
        return np.ones(len(points), np.bool_)
    finite = np.isfinite(pixels).all(axis=1)
    back = np.full_like(pixels, np.nan)
    back[finite] = camera.rays(pixels[finite])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(back - points[:, :2] / points[:, 2:]).max(axis=1) < 1e-3)


def _hidden(points: NDArray[np.float64], frame: RgbdFrame) -> NDArray[np.bool_]:
    """(N,) which points (colour camera, metres) lie behind the surface that the depth camera measured there."""
    camera = frame.depth_intrinsics
    own = pose.apply(pose.inverse(frame.T_color_depth), points)
    uv = camera.project(own)
    with np.errstate(invalid="ignore"):
        inside = np.all((uv > -0.5) & (uv < (camera.width - 0.5, camera.height - 0.5)), axis=1)
    columns, rows = np.rint(np.where(inside[:, None], uv, 0.0)).astype(np.intp).T
    counts = frame.depth_raw[rows, columns]
    lowest, highest = DepthRange().counts(frame.depth_scale)
    measured = counts * frame.depth_scale
    behind = measured + TOLERANCE_M + 2.0 * SIGMA_PER_Z2 * measured * measured < own[:, 2]
    votes = (inside & (counts >= lowest) & (counts <= highest) & behind).astype(np.float64)
    if len(votes) < SMOOTHED:
        return np.full(len(votes), votes.mean() > 0.5)
    padded = np.pad(votes, SMOOTHED // 2, mode="edge")
    return np.asarray(np.convolve(padded, np.ones(SMOOTHED), "valid") > SMOOTHED / 2)


def _runs(pixels: NDArray[np.float64], drawn: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> Iterator[Stroke]:
    """Consecutive samples that are alike. Neighbouring runs share a sample, so that no gap is between them."""
    state = np.where(drawn, hidden.astype(np.int8), -1)
    bounds = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(state)]
    for start, end in pairwise(bounds):
        reach = end + 1 if end < len(state) and drawn[end] else end
        if drawn[start] and reach - start >= 2:
            yield Stroke(pixels[start:reach], bool(hidden[start]))
