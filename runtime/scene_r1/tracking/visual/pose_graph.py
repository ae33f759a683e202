"""The poses of all keyframes from what ties them, after a loop was closed.

Gauss-Newton on SE(3) with a sparse solve (Grisetti et al., A tutorial on graph-based SLAM, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from scene_r1 import pose
from scene_r1.tracking import twist
from scene_r1.tracking.visual.link import Link

STEPS: Final = 10
STILL: Final = 1e-6
DAMPING: Final = 1e-9


def solve_graph(
    poses: dict[int, NDArray[np.float64]], links: Sequence[Link], fixed: int, steps: int = STEPS
) -> dict[int, NDArray[np.float64]]:
    """Poses (4, 4) by keyframe id that fit the links best; the one of `fixed` stays, as do those without a link.

    Links with an end that has no pose are left out.
    """
    place = {number: i for i, number in enumerate(number for number in poses if number != fixed)}
    out = {number: T.copy() for number, T in poses.items()}
    used = [link for link in links if link.a in out and link.b in out]
    if not used or not place:
        return out
    size = 6 * len(place)
    for _ in range(steps):
        rows, columns, values = [np.arange(size)], [np.arange(size)], [np.full(size, DAMPING)]
        g = np.zeros(size)
        for link in used:
            T_a_b = pose.inverse(out[link.a]) @ out[link.b]
            r = twist.log(pose.inverse(link.T_a_b) @ T_a_b)
            J_a = np.empty((6, 6))
            twist.adjoint(pose.inverse(T_a_b), J_a)
            ends = [(place.get(link.a), -J_a), (place.get(link.b), np.eye(6))]
            for i, J_i in ends:
                if i is None:
                    continue
                g[6 * i : 6 * i + 6] += J_i.T @ link.information @ r
                for j, J_j in ends:
                    if j is not None:
                        block = J_i.T @ link.information @ J_j
                        row, column = np.indices((6, 6))
                        rows.append((6 * i + row).ravel())
                        columns.append((6 * j + column).ravel())
                        values.append(block.ravel())
        at = (np.concatenate(rows), np.concatenate(columns))
        H = coo_matrix((np.concatenate(values), at), shape=(size, size)).tocsc()
        step = np.asarray(spsolve(H, -g))
        if not np.all(np.isfinite(step)):
            return {number: T.copy() for number, T in poses.items()}
        for number, i in place.items():
            out[number] = out[number] @ twist.exp(step[6 * i : 6 * i + 6])
        if np.abs(step).max() < STILL:
            break
    return {number: pose.rigid(T, f"keyframe {number}", 1e-6).copy() for number, T in out.items()}
