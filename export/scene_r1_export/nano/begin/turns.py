"""Which rotary turns make an attention score a wanted function of the distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1_export.nano.model.sizes import Sizes

FAR = -7.0
"""Score of what is far, or less."""


def turns_that_score(
    sizes: Sizes, pairs: int, near: NDArray[np.int64], wanted: NDArray[np.float64], far: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(2, pairs): a and b of the score sum a cos(f d) + b sin(f d), d the distance along each pair's axis, that is as
    wanted for what is near, and low for what is far.

    near, far: (3, n) distances along time, rows and columns. wanted: (n,). The pairs of time are left at 0, which turn
    fastest, and so is the last pair, the slowest.
    """
    axes = np.repeat([0, 1, 2], sizes.rope_sections)
    frequencies = sizes.rope_base ** -(np.arange(pairs) / pairs)
    used = (axes > 0) & (np.arange(pairs) < pairs - 1)

    def waves(distances: NDArray[np.int64]) -> NDArray[np.float64]:
        turns = distances[axes[used]].T * frequencies[used]
        return np.concatenate((np.cos(turns), np.sin(turns)), axis=1)

    of_near, of_far = waves(near), waves(far)
    solved = np.zeros(of_near.shape[1])
    for _ in range(60):  # least squares over those of the far ones that are still too high
        high = of_far[of_far @ solved > FAR]
        left = 5.0 * of_near.T @ of_near / len(of_near) + high.T @ high / len(of_far) + 1e-4 * np.eye(len(solved))
        right = 5.0 * of_near.T @ wanted / len(of_near) + high.sum(axis=0) * FAR / len(of_far)
        solved = 0.5 * solved + 0.5 * np.linalg.solve(left, right)
    score = np.zeros((2, pairs))
    score[:, used] = solved.reshape(2, -1)
    return score
