"""Scenes of boxes, balls and sheets whose depth and masks are exact: rays against surfaces, in plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1.box import Box3D
from scene_r1.frame import IDENTITY, RgbdFrame, depth_counts
from scene_r1.lift import MaskedView
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(290.0, 290.0, 159.5, 119.5, 320, 240)
NOISE = 0.1 / (385.0 * 0.05)
"""sigma = NOISE * z^2: a disparity noise of 0.1 px at a focal length of 385 px and a baseline of 5 cm."""


@dataclass(frozen=True)
class Block:
    """A box aligned with the axes, metres."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @property
    def box(self) -> Box3D:
        return Box3D.from_corners(self.low, self.high)

    def depths(self, eye: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) where rays (3, N) from eye hit first, in lengths of the ray; infinity for none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (self.low - eye)[:, None] / rays, (self.high - eye)[:, None] / rays
        enter, leave = np.minimum(a, b).max(axis=0), np.maximum(a, b).min(axis=0)
        return np.where((enter <= leave) & (enter > 0.0), enter, np.inf)


@dataclass(frozen=True)
class Ball:
    """A ball, metres."""

    center: tuple[float, float, float]
    radius: float

    @property
    def box(self) -> Box3D:
        c = np.array(self.center)
        return Box3D.from_corners(c - self.radius, c + self.radius)

    def depths(self, eye: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """As Block.depths."""
        to_eye = eye - np.array(self.center)
        a, b = (rays * rays).sum(axis=0), to_eye @ rays
        inside = b * b - a * (to_eye @ to_eye - self.radius**2)
        t = (-b - np.sqrt(np.clip(inside, 0.0, None))) / a
        return np.where((inside > 0.0) & (t > 0.0), t, np.inf)


Solid = Block | Ball
TABLE = Block((-1.5, -1.5, -0.05), (1.5, 1.5, 0.0))
"""Its top is z = 0; z points up."""


def looking(eye: ArrayLike, at: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) T_world_camera of an upright camera."""
    forward = np.asarray(at, np.float64) - np.asarray(eye, np.float64)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T[:3, 3] = eye
    return T


def around(n: int, at: ArrayLike, distance: float = 1.0, elevation_deg: float = 35.0) -> list[NDArray[np.float64]]:
    """n camera poses in a circle that look at a point."""
    up, turn = np.radians(elevation_deg), 2.0 * np.pi * (np.arange(n) + 0.3) / n
    eyes = np.stack([np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.full(n, np.sin(up))], axis=1)
    return [looking(np.asarray(at) + distance * eye, at) for eye in eyes]


@cache
def _rays(camera: Intrinsics) -> NDArray[np.float64]:
    v, u = np.mgrid[: camera.height, : camera.width]
    xy = camera.rays(np.stack([u.ravel(), v.ravel()], axis=1))
    return np.stack([xy[:, 0], xy[:, 1], np.ones(len(xy))])


def cast(
    solids: Sequence[Solid], camera: Intrinsics, T_world_camera: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(depth (h, w) metres, 0 = nothing hit; which solid (h, w), -1 = none) of one camera."""
    rays = T_world_camera[:3, :3] @ _rays(camera)
    depths = np.stack([solid.depths(T_world_camera[:3, 3], rays) for solid in solids])
    nearest = depths.min(axis=0)
    hit = np.isfinite(nearest)
    shape = (camera.height, camera.width)
    return np.where(hit, nearest, 0.0).reshape(shape), np.where(hit, depths.argmin(axis=0), -1).reshape(shape)


def seen(
    solids: Sequence[Solid],
    T_world_camera: NDArray[np.float64],
    index: int = 0,
    noise: float = 0.0,
    camera: Intrinsics = CAMERA,
    depth_camera: Intrinsics | None = None,
    T_color_depth: NDArray[np.float64] = IDENTITY,
) -> MaskedView:
    """What a camera sees of solids, and the mask of the first of them; sigma = noise * z^2, seeded by `index`."""
    depth, which = cast(solids, camera, T_world_camera)
    if depth_camera is not None:
        depth, _ = cast(solids, depth_camera, T_world_camera @ T_color_depth)
    if noise:
        depth = depth + noise * depth**2 * np.random.default_rng(index).standard_normal(depth.shape)
    frame = RgbdFrame(
        index=index,
        timestamp_ns=index * 33_333_333,
        color=np.full((camera.height, camera.width, 3), 128, np.uint8),
        color_intrinsics=camera,
        depth_raw=depth_counts(depth, 0.001),
        depth_scale=0.001,
        depth_intrinsics=depth_camera or camera,
        T_color_depth=T_color_depth,
        T_world_camera=T_world_camera,
    )
    return MaskedView(frame, which == 0)


def with_depth(view: MaskedView, change: Callable[[NDArray[np.uint16]], None]) -> MaskedView:
    """The view with its raw depth (h, w) uint16 changed in place by a function."""
    depth = view.frame.depth_raw.copy()
    change(depth)
    return MaskedView(replace(view.frame, depth_raw=depth), view.mask)
