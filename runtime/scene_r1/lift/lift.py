"""Masks in several views -> one object's points and its metric box. No 3D detector, no 3D label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.backproject import BackProjector, Points
from scene_r1.box import Box3D
from scene_r1.depth_noise import SIGMA_PER_Z2
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.lift.grid import VoxelGrid
from scene_r1.lift.support import Plane, fit_plane, ring


@dataclass(frozen=True, slots=True, eq=False)
class MaskedView:
    """One frame and the object's mask in it. mask: (H, W) bool, pixels of the frame's colour image."""

    frame: RgbdFrame
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LiftSettings:
    """voxels_across: voxels along the object's extent; the voxel's side follows, within voxel_m (metres).

    agreement: share of the (weighted) views seeing a voxel that must have it in their mask. percentile: of the voxels
    left out at each end of each axis. erode_px: taken off each mask's rim. noise: sigma = noise * z^2.
    """

    voxels_across: int = 24
    voxel_m: tuple[float, float] = (0.004, 0.02)
    agreement: float = 0.75
    percentile: float = 1.0
    erode_px: int = 1
    edge_ratio: float = 0.02
    noise: float = SIGMA_PER_Z2
    depth_range: DepthRange = field(default_factory=DepthRange)


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """box: None when nothing could be lifted. xyz: (N, 3) float32 metres, world; rgb: (N, 3) uint8: its points.

    voxel_m: side of the voxels it was voted in. used: positions in `views` of those that supported it.
    """

    box: Box3D | None
    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    voxel_m: float
    used: tuple[int, ...]


NO_POINTS = Points(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
NOTHING = Lifted(None, NO_POINTS.xyz, NO_POINTS.rgb, 0.0, ())
FEWEST_POINTS = 12
"""A view with fewer points in its mask says nothing."""
FLATTEST = 0.3
"""Share of the agreed voxels that must stand out of the support plane for the plane to be cut away."""
REACH = 2
"""Voxels hang together across gaps of one: thin parts seen from afar leave such gaps."""


class Lifter:
    """Visibility-aware voxel vote over views, largest component, percentile box. One object for one thread."""

    def __init__(self, settings: LiftSettings | None = None) -> None:
        self.settings = settings or LiftSettings()
        self._project = BackProjector(self.settings.depth_range, self.settings.edge_ratio)

    def __call__(self, views: Sequence[MaskedView]) -> Lifted:
        """Lift one object. Views without depth in their mask give no points, but they still vote.

        Raises BadFrame for a frame without a pose, or a mask of another shape or dtype than its colour image.
        """
        s = self.settings
        clouds = [self._project(view.frame, _eroded(view.mask, s.erode_px)).copy() for view in views]
        clouds = [cloud if len(cloud) >= FEWEST_POINTS else NO_POINTS for cloud in clouds]
        if not any(len(cloud) for cloud in clouds):
            return NOTHING
        grid = VoxelGrid(sum(len(cloud) for cloud in clouds), self._voxel_m(views, clouds), s.noise)
        for number, (view, cloud) in enumerate(zip(views, clouds, strict=True)):
            grid.add(number, cloud.xyz, view.frame.T_world_depth)
        votes = np.empty((len(views), len(grid)), np.float32)
        for view, row in zip(views, votes, strict=True):
            grid.vote(view.frame, view.mask, s.depth_range, row)
        trusted = _trusted(votes, _heaviest(grid, votes, _agreed(votes, 0.5)))
        agreed = _agreed(votes[trusted], s.agreement)
        plane = self._support(views, clouds, trusted)
        if plane is not None:
            standing = agreed & (plane.height(grid.means) > grid.voxel_m)
            if np.count_nonzero(standing) >= FLATTEST * np.count_nonzero(agreed):
                agreed = standing
            else:
                plane = None  # a sheet, a rug: it would vanish
        kept = _heaviest(grid, votes[trusted], agreed)
        if not kept.any():
            return NOTHING
        return self._box(grid, kept, clouds, plane)

    def _support(
        self, views: Sequence[MaskedView], clouds: Sequence[Points], trusted: NDArray[np.bool_]
    ) -> Plane | None:
        """The plane around the object in the trusted view that has the most of it."""
        sizes = [len(cloud) if good else 0 for cloud, good in zip(clouds, trusted, strict=True)]
        best = int(np.argmax(sizes))
        if sizes[best] == 0:
            return None
        frame = views[best].frame
        around = self._project(frame, ring(views[best].mask))
        eye = frame.T_world_depth[:3, 3]
        if len(around) == 0:
            return None
        distance = float(np.linalg.norm(np.median(around.xyz, axis=0) - eye))
        return fit_plane(around.xyz, max(0.006, 2.0 * self.settings.noise * distance**2), eye)

    def _voxel_m(self, views: Sequence[MaskedView], clouds: Sequence[Points]) -> float:
        """Side of the voxels: a share of the object's extent, but no finer than the depth noise of the nearest view.

        The extent is the median of the views' own: a wrong mask among them does not change it.
        """
        s = self.settings
        extents, distances = [], []
        for view, cloud in zip(views, clouds, strict=True):
            if len(cloud):
                low, high = np.percentile(cloud.xyz, (15, 85), axis=0)
                extents.append(float((high - low).max()) / 0.7)
                eye = view.frame.T_world_depth[:3, 3]
                distances.append(float(np.linalg.norm(np.median(cloud.xyz, axis=0) - eye)))
        sigma = s.noise * min(distances) ** 2
        return float(np.clip(max(np.median(extents) / s.voxels_across, sigma), *s.voxel_m))

    def _box(self, grid: VoxelGrid, kept: NDArray[np.bool_], clouds: Sequence[Points], plane: Plane | None) -> Lifted:
        s = self.settings
        means = grid.means[kept]
        if plane is not None:  # what was cut off at the plane is given back: the object reaches down to it
            means = np.concatenate([means, plane.foot(means[plane.height(means) < 3.0 * grid.voxel_m])])
        low, high = np.percentile(means, (s.percentile, 100.0 - s.percentile), axis=0)
        inside = [kept[grid.rows(cloud.xyz)] if len(cloud) else np.zeros(0, bool) for cloud in clouds]
        used = tuple(i for i, own in enumerate(inside) if np.count_nonzero(own) >= FEWEST_POINTS)
        xyz = np.concatenate([cloud.xyz[own] for cloud, own in zip(clouds, inside, strict=True)])
        rgb = np.concatenate([cloud.rgb[own] for cloud, own in zip(clouds, inside, strict=True)])
        floor = np.full(3, grid.voxel_m / 2.0)
        middle, half = (low + high) / 2.0, np.maximum((high - low) / 2.0, floor / 2.0)
        return Lifted(Box3D.from_corners(middle - half, middle + half, 0.0, len(used)), xyz, rgb, grid.voxel_m, used)


def _agreed(votes: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """(n,) voxels that at least `share` of the views seeing them have in their masks. votes: (views, n)."""
    for_it = np.clip(votes, 0.0, None).sum(axis=0)
    return np.asarray((for_it > 0.0) & (for_it >= share * np.abs(votes).sum(axis=0)))


def _trusted(votes: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(views,) those whose mask covers at least half of what they see of the object; the others show something else."""
    own = votes[:, kept]
    for_it = np.clip(own, 0.0, None).sum(axis=1)
    return np.asarray(for_it >= 0.5 * np.abs(own).sum(axis=1))


def _heaviest(grid: VoxelGrid, votes: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the kept voxels the connected component with the most votes for it."""
    if not kept.any():
        return kept
    label = grid.components(kept, REACH)
    weight = np.bincount(label[kept], np.clip(votes[:, kept], 0.0, None).sum(axis=0))
    return np.asarray(label == np.argmax(weight))


def _eroded(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask without its rim; unchanged where nothing would be left."""
    if pixels == 0 or not mask.any():
        return mask
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    inner = cv2.erode(np.ascontiguousarray(mask).view(np.uint8), kernel).view(np.bool_)
    return inner if np.count_nonzero(inner) >= FEWEST_POINTS else mask
