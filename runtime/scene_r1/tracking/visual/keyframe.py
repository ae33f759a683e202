"""A keyframe of the tracker's map: the landmarks it saw first, their patches, and the surface before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.registration import registered_depth
from scene_r1.tracking.visual.patches import HALF, patches_at
from scene_r1.tracking.visual.picture import Picture
from scene_r1.tracking.visual.places import Place
from scene_r1.tracking.visual.settings import VisualSettings
from scene_r1.tracking.visual.surface import Surface

CELL_PX: Final = 20
"""One new landmark for each square of so many pixels at 640 px of width."""
QUALITY: Final = 0.004
"""A corner's smaller eigenvalue is at least this share of the best one's."""
FAINT: Final = 6e-5
"""And at least this, in OpenCV's unit: grain of 2 steps of 255 on a blank wall gives 1e-5, a textured one 1e-3."""
RIM: Final = HALF + 2


@dataclass(slots=True, eq=False)
class MapKeyframe:
    """Its pose and the depths of its landmarks are refined over time; all else stays.

    id: counts up from 0 and is never used again. T_world_camera: (4, 4). landmarks, in this camera: rays (N, 2) at
    z = 1, inverse_depth (N,) 1/m, measured (N,) 1/m as the depth camera gave it, normals (N, 3) NaN = unknown,
    patches (N, 21, 21) uint8, good (N,) how well each has been found lately, 0..1.
    sightings: landmarks of older keyframes seen here: (keyframe id, landmark's number, place at z = 1, depth or 0).
    """

    id: int
    timestamp_ns: int
    T_world_camera: NDArray[np.float64]
    focal: tuple[float, float]
    pixels: NDArray[np.float64]
    rays: NDArray[np.float64]
    inverse_depth: NDArray[np.float64]
    measured: NDArray[np.float64]
    normals: NDArray[np.float64]
    patches: NDArray[np.uint8]
    good: NDArray[np.float64]
    surface: Surface
    place: Place
    segment: int = 0
    sightings: list[tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=list
    )

    def points(self) -> NDArray[np.float64]:
        """(N, 3) its landmarks in its camera, metres."""
        return np.column_stack([self.rays, np.ones(len(self.rays))]) / self.inverse_depth[:, None]

    def world(self) -> NDArray[np.float64]:
        """(N, 3) its landmarks in the world, metres."""
        return pose.apply(self.T_world_camera, self.points())


def corners(picture: Picture, taken: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(N, 2) whole pixels of the best corners (Shi and Tomasi 1994), one for each cell without a point of `taken`."""
    h, w = picture.half.shape
    strength = cv2.cornerMinEigenVal(picture.half, 5, ksize=3)
    cell = max(4, round(CELL_PX * w / 640.0))
    rows, columns = h // cell, w // cell
    rim = RIM // 2 + 1
    strength[:rim], strength[-rim:], strength[:, :rim], strength[:, -rim:] = 0.0, 0.0, 0.0, 0.0
    blocks = strength[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).swapaxes(1, 2)
    blocks = blocks.reshape(rows * columns, cell * cell)
    best = blocks.argmax(axis=1)
    value = blocks[np.arange(len(blocks)), best]
    free = np.ones(rows * columns, np.bool_)
    at = np.floor(taken / (2.0 * cell)).astype(np.int64)
    at = at[(at >= 0).all(axis=1) & (at[:, 0] < columns) & (at[:, 1] < rows)]
    free[at[:, 1] * columns + at[:, 0]] = False
    order = np.argsort(-value, kind="stable")
    order = order[free[order] & (value[order] > max(QUALITY * float(strength.max()), FAINT))][:count]
    v = (order // columns) * cell + best[order] // cell
    u = (order % columns) * cell + best[order] % cell
    return 2.0 * np.stack([u, v], axis=1).astype(np.float64)


def make_keyframe(
    number: int,
    picture: Picture,
    surface: Surface,
    T_world_camera: NDArray[np.float64],
    taken: NDArray[np.float64],
    place: Place,
    settings: VisualSettings,
) -> MapKeyframe:
    """A keyframe with new landmarks where none of the pixels `taken` (N, 2) is near.

    A landmark needs a corner, a depth in range, and no step in depth within two pixels: at an edge the patch would
    show two surfaces.
    """
    frame, camera = picture.frame, picture.camera
    pixels = corners(picture, taken, max(0, 2 * settings.landmarks - len(taken)))
    depth = frame.depth_m if frame.one_camera else registered_depth(frame)
    u, v = pixels[:, 0].astype(np.int64), pixels[:, 1].astype(np.int64)
    around = np.stack([
        depth[np.clip(v + y, 0, depth.shape[0] - 1), np.clip(u + x, 0, depth.shape[1] - 1)]
        for y in (-2, 0, 2) for x in (-2, 0, 2)
    ])  # fmt: skip
    known = np.where(around > 0.0, around, np.nan)
    z = np.nan_to_num(known[4])
    valid = np.isfinite(known)
    low, high = np.where(valid, known, np.inf).min(axis=0), np.where(valid, known, 0.0).max(axis=0)
    good = (z > settings.near_m) & (z < settings.far_m) & (valid.sum(axis=0) >= 6) & (high - low < 0.05 * low)
    pixels = pixels[good][: max(0, settings.landmarks - len(taken) // 2)]
    mean = np.nansum(known[:, good], axis=0)[: len(pixels)] / valid[:, good].sum(axis=0)[: len(pixels)]
    rays = camera.rays(pixels)
    usable = np.isfinite(rays).all(axis=1)
    pixels, rays, mean = pixels[usable], rays[usable], mean[usable]
    points = np.column_stack([rays, np.ones(len(rays))]) * mean[:, None]
    return MapKeyframe(
        id=number,
        timestamp_ns=frame.timestamp_ns,
        T_world_camera=T_world_camera,
        focal=(camera.fx, camera.fy),
        pixels=pixels,
        rays=rays,
        inverse_depth=1.0 / mean,
        measured=1.0 / mean,
        normals=_normals_at(surface, points),
        patches=patches_at(picture.grey, pixels),
        good=np.full(len(pixels), 0.7),
        surface=surface,
        place=place,
    )


def _normals_at(surface: Surface, points: NDArray[np.float64]) -> NDArray[np.float64]:
    p = pose.apply(surface.T_depth_color, points)
    fx, fy, cx, cy = surface.pinhole
    rows, columns = surface.points.shape[:2]
    out = np.full((len(points), 3), np.nan)
    row = np.rint(p[:, 1] / p[:, 2] * fy + cy).astype(np.int64)
    column = np.rint(p[:, 0] / p[:, 2] * fx + cx).astype(np.int64)
    inside = (row >= 0) & (column >= 0) & (row < rows) & (column < columns)
    out[inside] = surface.normals[row[inside], column[inside]]
    return out
