"""The voxels of one lift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.lift import kernels
from scene_r1_engines.intrinsics import MODELS, Intrinsics

Place = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Two corners of a box in the world, (3,) each, the lower first."""
EVERYWHERE: Place = (np.full(3, -np.inf), np.full(3, np.inf))


class VoxelGrid:
    """Sparse voxels that gather points of several views, then are voted on by all of them.

    capacity: voxels at the most (the number of points does). voxel_m: their side. noise: sigma = noise * z^2.
    """

    def __init__(self, capacity: int, voxel_m: float, noise: float) -> None:
        self.voxel_m = voxel_m
        self.noise = noise
        self._keys = np.empty(capacity, np.int64)
        self._slots = np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32)
        self._cells = np.empty((capacity, 3), np.int64)
        self._sums = np.empty((capacity, kernels.SUMS), np.float64)
        self._size = 0
        self._means: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def means(self) -> NDArray[np.float64]:
        """(n, 3) float64 metres, world: each voxel's points, averaged with the inverse of their variance."""
        if self._means is None:
            self._means = np.asarray(self._sums[: self._size, 1:] / self._sums[: self._size, :1])
        return self._means

    def add(
        self, xyz: NDArray[np.float32], T_world_depth: NDArray[np.float64], place: Place = EVERYWHERE
    ) -> NDArray[np.int32]:
        """Gather one view's world points (N, 3) that lie between the two corners of `place`.

        Returns (N,) the voxel that each point fell into, -1 for those outside.
        """
        self._means = None
        rows = np.empty(len(xyz), np.int32)
        self._size = kernels.gather(
            xyz, *place, T_world_depth[:3, 3].copy(), T_world_depth[:3, 2].copy(), self.noise, self.voxel_m,
            self._size, self._keys, self._slots, self._cells, self._sums, rows,
        )  # fmt: skip
        return rows

    def vote(
        self,
        frame: RgbdFrame,
        mask: NDArray[np.bool_],
        depth_range: DepthRange,
        votes: NDArray[np.float32],
        offsets: NDArray[np.float32],
    ) -> None:
        """One view's votes and offsets, both (n,) float32.

        votes: its weight where the voxel is in the mask, minus that where it is seen outside or as free space, 0 where
        it is hidden or out of the picture. offsets: metres by which the view measures the surface behind the voxel,
        NaN where it does not see it on the surface.
        """
        camera, color = frame.depth_intrinsics, frame.color_intrinsics
        T_depth_world = pose.inverse(frame.T_world_depth)
        T_color_world = frame.T_color_depth @ T_depth_world
        lowest, highest = depth_range.counts(frame.depth_scale)
        kernels.vote(
            self.means, np.ascontiguousarray(T_depth_world[:3]), frame.depth_raw, frame.depth_scale, lowest, highest,
            *kernel_camera(camera), self.noise, self.voxel_m, np.ascontiguousarray(T_color_world[:3]),
            *kernel_camera(color), np.ascontiguousarray(mask).view(np.uint8), votes, offsets,
        )  # fmt: skip

    def components(self, kept: NDArray[np.bool_], reach: int) -> NDArray[np.int64]:
        """(n,) a number shared by kept voxels that hang together within `reach` voxels, -1 for the others."""
        label = np.empty(self._size, np.int64)
        kernels.components(self._cells, kept, self._keys, self._slots, reach, label)
        return label


def kernel_camera(intrinsics: Intrinsics) -> tuple[NDArray[np.float64], int]:
    """(camera, model) as `kernels.pixel_of` takes them."""
    i = intrinsics
    model = 0 if i.is_pinhole else MODELS.index(i.model)
    return np.array([i.fx, i.fy, i.cx, i.cy, *i.coefficients]), model
