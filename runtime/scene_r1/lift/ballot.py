"""The voxels of one lift and what every view says of each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scene_r1.backproject import Points
from scene_r1.frame import DepthRange
from scene_r1.lift.grid import VoxelGrid
from scene_r1.lift.masked_view import MaskedView

REACH = 2
"""Voxels hang together across gaps of one: thin parts seen from afar leave such gaps."""


class Ballot:
    """Points of several views gathered into voxels, and the votes of the same views on them.

    votes: (views, n) float32: the view's weight where the voxel is in its mask, minus that where it is seen outside
    the mask or as free space, 0 where it is hidden or out of the picture.
    """

    def __init__(
        self,
        views: Sequence[MaskedView],
        clouds: Sequence[Points],
        voxel_m: float,
        noise: float,
        depth_range: DepthRange,
    ) -> None:
        self.grid = VoxelGrid(max(1, sum(len(cloud) for cloud in clouds)), voxel_m, noise)
        for number, (view, cloud) in enumerate(zip(views, clouds, strict=True)):
            self.grid.add(number, cloud.xyz, view.frame.T_world_depth)
        self.votes = np.empty((len(views), len(self.grid)), np.float32)
        for view, row in zip(views, self.votes, strict=True):
            self.grid.vote(view.frame, view.mask, depth_range, row)
        self.trusted = np.ones(len(views), np.bool_)

    def agreed(self, share: float) -> NDArray[np.bool_]:
        """(n,) voxels that, by weight, at least `share` of the trusted views that see them have in their masks."""
        votes = self.votes[self.trusted]
        for_it = np.clip(votes, 0.0, None).sum(axis=0)
        return np.asarray((for_it > 0.0) & (for_it >= share * np.abs(votes).sum(axis=0)))

    def heaviest(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,) of the kept voxels the connected component that the trusted views vote for most."""
        if not kept.any():
            return kept
        label = self.grid.components(kept, REACH)
        for_it = np.clip(self.votes[self.trusted][:, kept], 0.0, None).sum(axis=0)
        return np.asarray(label == np.argmax(np.bincount(label[kept], for_it)))

    def trust_views_of(self, kept: NDArray[np.bool_]) -> None:
        """From now on only those views count whose mask covers at least half of what they see of the kept voxels.

        The others show something else. A view that sees none of them has no say anyway.
        """
        own = self.votes[:, kept]
        self.trusted = np.clip(own, 0.0, None).sum(axis=1) >= 0.5 * np.abs(own).sum(axis=1)
