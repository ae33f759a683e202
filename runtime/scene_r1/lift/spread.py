"""How sure a lifted box is of its faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def percentile_box(points: NDArray[np.float64], percentile: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high), each (3,): the box around points (N, 3) without `percentile` per cent at each end of each axis."""
    low, high = np.percentile(points, (percentile, 100.0 - percentile), axis=0)
    return low, high


def jackknife(points: NDArray[np.float64], seen_by: Sequence[NDArray[np.bool_]], percentile: float) -> float:
    """Standard deviation of a face of the percentile box, metres: how far it moves when one view is left out.

    points: (N, 3). seen_by: for each view (N,) bool, the points that it saw; without the view, those that it alone saw
    are gone. Efron's jackknife, root mean square over the six faces; 0 for a single view, which has nothing to differ
    from.
    """
    n = len(seen_by)
    if n < 2:
        return 0.0
    times = np.sum(seen_by, axis=0)
    order = np.argsort(points, axis=0)
    faces = []
    for own in seen_by:
        left = (times - own > 0) | (times == 0)
        if np.count_nonzero(left) < 2:
            continue
        sides = []
        for axis in range(3):
            along = order[:, axis]
            values = points[along, axis][left[along]]
            cut = percentile / 100.0 * (len(values) - 1)
            sides += [values[int(cut)], values[len(values) - 1 - int(cut)]]
        faces.append(sides)
    if len(faces) < 2:
        return 0.0
    f = np.asarray(faces)
    variance = (n - 1) / n * ((f - f.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.sqrt(variance.mean()))


def disagreement(offsets: NDArray[np.float32], kept: NDArray[np.bool_]) -> float:
    """How far apart the views put one surface, metres: root mean square over views of their median offset from it.

    offsets: (views, n) metres by which a view measures the surface behind a voxel, NaN for none; only the kept voxels
    count. A view's own noise has median 0; what is left is its pose and its depth scale. 0 for fewer than two views.
    """
    medians = [float(np.median(row[seen])) for row in offsets[:, kept] if np.any(seen := np.isfinite(row))]
    return float(np.sqrt(np.mean(np.square(medians)))) if len(medians) > 1 else 0.0
