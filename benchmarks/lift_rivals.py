"""What the lift is compared with: boxes around the points inside the masks, without any vote between views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scene_r1.backproject import BackProjector
from scene_r1.box import Box3D
from scene_r1.lift import MaskedView
from scene_r1.lift.spread import percentile_box

VOXEL_M = 0.02
PERCENTILE = 1.0
DIAGONAL = 1.8
"""In voxels: a little more than the square root of 3, the furthest of 26 neighbours."""

Points = NDArray[np.float64]


def raw_box(points: Points) -> Box3D:
    """Around all points (N, 3), N >= 1."""
    return _box(points.min(axis=0), points.max(axis=0))


def trimmed_box(points: Points) -> Box3D:
    """Around the points without 1 % at each end of each axis."""
    return _box(*percentile_box(points, PERCENTILE))


def component_box(points: Points) -> Box3D:
    """The same around the points of the largest component: voxels of 2 cm, joined with their 26 neighbours.

    Largest by points. Without the trimming it is worse.
    """
    cells = np.floor(points / VOXEL_M).astype(np.int64)
    cells -= cells.min(axis=0)
    sides = cells.max(axis=0) + 1
    _, first, voxel = np.unique(
        np.ravel_multi_index(tuple(cells.T), tuple(sides)), return_index=True, return_inverse=True
    )
    pairs = cKDTree(cells[first]).query_pairs(DIAGONAL, output_type="ndarray")
    joined = coo_matrix((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
    label = connected_components(joined, directed=False)[1][voxel]
    return trimmed_box(points[label == np.argmax(np.bincount(label))])


class Rival:
    """One of them, on masked views: the same back-projection and edge filter as the lift's, buffers of its own."""

    def __init__(self, box_of: Callable[[Points], Box3D]) -> None:
        self._box_of = box_of
        self._project = BackProjector()

    def __call__(self, views: Sequence[MaskedView]) -> Box3D | None:
        """None where there is no depth in any mask."""
        points = np.concatenate([self._project(view.frame, view.mask).xyz.astype(np.float64) for view in views])
        return self._box_of(points) if len(points) else None


def rivals() -> dict[str, Rival]:
    return {
        "raw": Rival(raw_box),
        "percentile_1_99": Rival(trimmed_box),
        "components": Rival(component_box),
    }


def _box(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box3D:
    return Box3D.from_corners(low, np.maximum(high, low + 1e-3))  # a box has no side of 0
