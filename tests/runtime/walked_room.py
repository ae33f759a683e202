"""A box-shaped room with a box-shaped pillar, and walks through it."""

from __future__ import annotations

import cv2
import numpy as np

from scene_r1 import pose
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(80.0, 80.0, 79.5, 59.5, 160, 120)
HALF_ROOM_M = np.array([2.5, 1.4, 3.0])


def depth_of_a_room(T_world_camera: np.ndarray, camera: Intrinsics = CAMERA) -> np.ndarray:
    """(H, W) metres: exact depth inside the room, by slab intersection. The world has y down."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.column_stack([camera.rays(np.stack([u.ravel(), v.ravel()], axis=1)), np.ones(u.size)])
    directions = rays @ T_world_camera[:3, :3].T
    origin = T_world_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.where(directions > 0, HALF_ROOM_M - origin, -HALF_ROOM_M - origin) / directions
        depth = walls.min(axis=1)
        low, high = np.array([-0.6, -1.4, 1.2]), np.array([0.1, 0.6, 1.8])
        a, b = (low - origin) / directions, (high - origin) / directions
        near, far = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    depth = np.where((near > 0) & (near < far), np.minimum(depth, near), depth)
    return depth.reshape(camera.height, camera.width)


def walk(count: int = 60) -> list[np.ndarray]:
    """Poses along an arc, turning and nodding, away from the world's origin."""
    poses = []
    for share in np.linspace(0.0, 1.0, count):
        yaw, nod = np.radians(-25 + 60 * share), np.radians(8 * np.sin(5 * share))
        half = [np.sin(nod / 2) * np.cos(yaw / 2), np.cos(nod / 2) * np.sin(yaw / 2)]
        q = np.array([half[0], half[1], -np.sin(nod / 2) * np.sin(yaw / 2), np.cos(nod / 2) * np.cos(yaw / 2)])
        poses.append(pose.from_quaternion([1.3 - 2.4 * share, 0.2 * share, -1.5 + 0.6 * share], q))
    return poses


def random_walk(seed: int, count: int = 60) -> list[np.ndarray]:
    """Poses of somebody who looks about while walking to and fro by some metres, in front of the pillar."""
    rng = np.random.default_rng(seed)
    yaw, by = rng.uniform(-np.pi, np.pi), rng.uniform(0.3, 1.5) * rng.choice([-1, 1])
    nod, roll, start = rng.uniform(0.1, 0.3), rng.uniform(-0.2, 0.2), rng.uniform(0, 6, 4)
    poses = []
    for share in np.linspace(0.0, 1.0, count):
        T = np.eye(4)
        T[:3, :3] = (
            rotation(1, yaw + by * share)
            @ rotation(0, nod * np.sin(start[0] + 5 * share))
            @ rotation(2, roll * np.sin(3 * share))
        )
        x, y, z = np.sin(start[1:] + np.array([3.0, 4.0, 3.0]) * share)
        T[:3, 3] = (1.2 * x, 0.3 * y, -1.2 + 0.9 * z)
        poses.append(T)
    return poses


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3) turn by an angle in radians about x, y or z."""
    vector = np.zeros(3)
    vector[axis] = angle
    return np.asarray(cv2.Rodrigues(vector)[0])
