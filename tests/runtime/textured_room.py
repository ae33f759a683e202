"""A room of boxes with a texture that is nowhere the same, its depth exact: what trackers are tested with."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates
from tests.runtime.box_room import FURNITURE, ROOM, cast, look, points_of

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame, depth_counts
from scene_r1_engines.intrinsics import Intrinsics

CAMERA = Intrinsics(250.0, 251.0, 159.3, 119.8, 320, 240)
DEPTH_CAMERA = Intrinsics(230.0, 230.0, 158.0, 121.0, 320, 240)
T_COLOR_DEPTH = np.eye(4)
T_COLOR_DEPTH[0, 3] = 0.03
SIGMA_M = 0.002
_LATTICES = [np.random.default_rng(seed).uniform(0.0, 1.0, (64, 64, 64)) for seed in (1, 2)]
_CELLS_M = (0.045, 0.11)


def painted(T_world_camera: np.ndarray, camera: Intrinsics, depth: np.ndarray, texture: float = 0.0) -> np.ndarray:
    """(H, W) float grey of the room; another `texture` is another room of the same shape."""
    world = pose.apply(T_world_camera, points_of(camera, depth)) + texture
    grey = sum(
        map_coordinates(lattice, (world / cell).T, order=1, mode="grid-wrap", prefilter=False, output=np.float32)
        for lattice, cell in zip(_LATTICES, _CELLS_M, strict=True)
    )
    return np.asarray(40.0 + 90.0 * grey).reshape(depth.shape)


def shot(
    index: int,
    T_world_camera: np.ndarray,
    two_cameras: bool = False,
    texture: float = 0.0,
    camera: Intrinsics = CAMERA,
) -> RgbdFrame:
    """What a camera sees there, with 2 mm of depth noise and a little grain."""
    rng = np.random.default_rng([index, 5])
    depth_camera, T = (DEPTH_CAMERA, T_COLOR_DEPTH) if two_cameras else (camera, IDENTITY)
    exact, _ = cast(camera, T_world_camera, FURNITURE, ROOM)
    depth = cast(depth_camera, T_world_camera @ T, FURNITURE, ROOM)[0] if two_cameras else exact
    depth = depth + rng.normal(0.0, SIGMA_M, depth.shape)
    grey = painted(T_world_camera, camera, exact, texture) + rng.normal(0.0, 2.0, exact.shape)
    color = np.repeat(grey[..., None], 3, axis=2)
    return RgbdFrame(
        index=index,
        timestamp_ns=index * 33_333_333,
        color=np.clip(color, 0, 255).astype(np.uint8),
        color_intrinsics=camera,
        depth_raw=depth_counts(depth, 0.001),
        depth_scale=0.001,
        depth_intrinsics=depth_camera,
        T_color_depth=T,
        T_world_camera=T_world_camera,
    )


def blank(index: int) -> RgbdFrame:
    """A wall of one colour, 1.5 m away, so near that nothing else is seen."""
    rng = np.random.default_rng([index, 6])
    return RgbdFrame(
        index=index,
        timestamp_ns=index * 33_333_333,
        color=np.clip(rng.normal(128.0, 2.0, (CAMERA.height, CAMERA.width, 3)), 0, 255).astype(np.uint8),
        color_intrinsics=CAMERA,
        depth_raw=depth_counts(rng.normal(1.5, SIGMA_M, (CAMERA.height, CAMERA.width)), 0.001),
        depth_scale=0.001,
        depth_intrinsics=CAMERA,
    )


def swing(count: int, turned_deg: float = 40.0, moved_m: float = 0.5) -> list[np.ndarray]:
    """Poses of a camera that walks sideways by `moved_m` while it turns."""
    out = []
    for share in np.linspace(0.0, 1.0, count):
        eye = (-0.3 + moved_m * share, -1.6 + 0.1 * np.sin(4.0 * share), 1.4)
        angle = np.radians(90.0 + turned_deg * (0.5 - share))
        out.append(look(eye, (eye[0] + np.cos(angle), eye[1] + np.sin(angle), 1.0)))
    return out


def round_trip(count: int) -> list[np.ndarray]:
    """Poses of a camera that turns once around itself, and a sixth of a turn more, on a small circle."""
    out = []
    for angle in np.linspace(0.0, 2.0 * np.pi * 7 / 6, count):
        eye = (0.25 * np.cos(angle), -0.6 + 0.25 * np.sin(angle), 1.4)
        out.append(look(eye, (eye[0] + np.cos(angle), eye[1] + np.sin(angle), 1.05)))
    return out
