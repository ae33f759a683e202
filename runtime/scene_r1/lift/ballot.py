"""The voxels of one lift and what every view says of each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import DepthRange
from scene_r1.lift.grid import EVERYWHERE, Place, VoxelGrid
from scene_r1.lift.masked_view import MaskedView


class Ballot:
    """Points of several views gathered into voxels, and the votes of the same views on them.

    rows: for each view (N,) int32, the voxel that each of its points fell into, -1 for those outside of the place.
    votes, offsets: (views, n) float32, see `VoxelGrid.vote`. trusted: (views,) bool, whose votes count.
    """

    def __init__(
        self,
        views: Sequence[MaskedView],
        clouds: Sequence[NDArray[np.float32]],
        voxel_m: float,
        noise: float,
        depth_range: DepthRange,
        place: Place = EVERYWHERE,
    ) -> None:
        self.grid = VoxelGrid(max(1, sum(len(xyz) for xyz in clouds)), voxel_m, noise)
        self.rows = [
            self.grid.add(xyz, view.frame.T_world_depth, place) for view, xyz in zip(views, clouds, strict=True)
        ]
        self.votes = np.empty((len(views), len(self.grid)), np.float32)
        self.offsets = np.empty_like(self.votes)
        for i, view in enumerate(views):
            self.grid.vote(view.frame, view.mask, depth_range, self.votes[i], self.offsets[i])
        self.trusted = np.ones(len(views), np.bool_)

    def agreed(self, share: float) -> NDArray[np.bool_]:
        """(n,) voxels that, by weight, at least `share` of the trusted views that see them have in their masks."""
        votes = self.votes[self.trusted]
        for_it = np.clip(votes, 0.0, None).sum(axis=0)
        return np.asarray((for_it > 0.0) & (for_it >= share * np.abs(votes).sum(axis=0)))

    def heaviest(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,) of the kept voxels the component of neighbours that the trusted views vote for most."""
        if not kept.any():
            return kept
        label = self.grid.components(kept, 1)
        for_it = np.clip(self.votes[self.trusted][:, kept], 0.0, None).sum(axis=0)
        return np.asarray(label == np.argmax(np.bincount(label[kept], for_it)))

    def trust_views_of(self, kept: NDArray[np.bool_]) -> None:
        """From now on only those views count whose mask covers at least half of what they see of the kept voxels.

        The others show something else. A view that sees none of them has no say anyway.
        """
        own = self.votes[:, kept]
        self.trusted = np.clip(own, 0.0, None).sum(axis=1) >= 0.5 * np.abs(own).sum(axis=1)
