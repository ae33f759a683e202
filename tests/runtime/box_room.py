"""A room of boxes whose depth is known by formula: what keyframes, registration and reprojection are tested with."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from scene_r1 import pose
from scene_r1.depth_noise import SIGMA_PER_Z2
from scene_r1.frame import IDENTITY, RgbdFrame, depth_counts
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(140.0, 141.0, 79.3, 59.8, 160, 120)
SMALL = CAMERA.scaled(80, 60)

ROOM = ((-2.0, -2.5, 0.0), (2.0, 2.5, 2.6))
"""Corners of the room, seen from inside; z is up."""

TABLE = ((-0.4, 0.6, 0.0), (0.5, 1.3, 0.75))
CHEST = ((-1.9, -1.0, 0.0), (-1.3, 0.2, 1.1))
FURNITURE = (TABLE, CHEST)


def look(eye: Sequence[float], target: Sequence[float]) -> np.ndarray:
    """T_world_camera at `eye` looking at `target`, upright."""
    forward = np.subtract(target, eye).astype(float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    t = np.eye(4)
    t[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    t[:3, 3] = eye
    return t


def cast(camera: Intrinsics, T_world_camera: np.ndarray, boxes=FURNITURE, room=ROOM) -> tuple[np.ndarray, np.ndarray]:
    """(depth (h, w) float64 metres along the axis, 0 where no ray is; which (h, w): 0 the room, 1 + i box i)."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = camera.rays(np.stack([u, v], axis=-1).reshape(-1, 2))
    direction = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) @ T_world_camera[:3, :3].T
    direction[np.abs(direction) < 1e-12] = 1e-12
    eye = T_world_camera[:3, 3]
    depth = _slabs(eye, direction, room)[1]
    which = np.zeros(len(depth), int)
    for number, box in enumerate(boxes):
        enter, leave = _slabs(eye, direction, box)
        hit = (enter <= leave) & (enter > 0.0) & (enter < depth)
        depth = np.where(hit, enter, depth)
        which[hit] = number + 1
    shape = (camera.height, camera.width)
    return np.nan_to_num(depth).reshape(shape), which.reshape(shape)


def frame_at(
    index: int,
    T_world_camera: np.ndarray,
    camera: Intrinsics = CAMERA,
    depth_camera: Intrinsics | None = None,
    T_color_depth: np.ndarray = IDENTITY,
    boxes=FURNITURE,
    noise: np.random.Generator | None = None,
    blur_px: float = 0.0,
    depth_scale: float = 0.001,
    posed: bool = True,
) -> RgbdFrame:
    """What an RGB-D camera sees there; `noise` is that of active stereo, sigma = SIGMA_PER_Z2 z^2."""
    exact = cast(camera, T_world_camera, boxes)
    color = paint(camera, T_world_camera, *exact)
    depth = exact[0]
    if depth_camera is not None:
        depth = cast(depth_camera, T_world_camera @ T_color_depth, boxes)[0]
    if noise is not None:
        depth = depth + noise.normal(size=depth.shape) * SIGMA_PER_Z2 * depth**2
        color = np.clip(color + noise.normal(scale=2.0, size=color.shape), 0, 255).astype(np.uint8)
    if blur_px:
        color = cv2.GaussianBlur(color, (0, 0), blur_px)
    return RgbdFrame(
        index=index,
        timestamp_ns=index * 33_333_333,
        color=color,
        color_intrinsics=camera,
        depth_raw=depth_counts(depth, depth_scale),
        depth_scale=depth_scale,
        depth_intrinsics=depth_camera or camera,
        T_color_depth=T_color_depth,
        T_world_camera=T_world_camera if posed else None,
    )


def paint(camera: Intrinsics, T_world_camera: np.ndarray, depth: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: a pattern fixed to the surfaces, fine enough that blur shows."""
    world = pose.apply(T_world_camera, points_of(camera, depth)).reshape(*depth.shape, 3)
    wave = np.sin(31.0 * world + which[..., None]).sum(axis=-1)
    grey = 128.0 + 25.0 * wave
    return np.clip(np.stack([grey, grey - 8.0, 255.0 - grey], axis=-1), 0, 255).astype(np.uint8)


def points_of(camera: Intrinsics, depth: np.ndarray) -> np.ndarray:
    """(h w, 3) float64 points of a depth image, camera frame."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.nan_to_num(camera.rays(np.stack([u, v], axis=-1).reshape(-1, 2)))
    return np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth.reshape(-1, 1)


def turn(count: int, eye: Sequence[float] = (0.0, -0.8, 1.4), height: float = 0.9) -> list[np.ndarray]:
    """Poses of a camera that turns once around itself."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    return [look(eye, (eye[0] + np.cos(a), eye[1] + np.sin(a), height)) for a in angles]


def _slabs(eye, direction, box):
    low, high = (np.subtract(corner, eye) / direction for corner in box)
    return np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
