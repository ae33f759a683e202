"""What ties two keyframes: their relative pose, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.jit import JIT
from scene_r1.tracking.twist import adjoint, logarithm


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """Keyframe `b` seen from keyframe `a`, by their ids. T_a_b: (4, 4). information: (6, 6), of a twist of b."""

    a: int
    b: int
    T_a_b: NDArray[np.float64]
    information: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Many of them as arrays. ends: (N, 2) places of their keyframes in a list. T: (N, 4, 4). information: (N, 6, 6)"""

    ends: NDArray[np.int64]
    T: NDArray[np.float64]
    information: NDArray[np.float64]

    @classmethod
    def among(cls, links: Sequence[Link], ids: Sequence[int]) -> Links:
        """Those with both ends in a list of keyframes, given by their ids."""
        place = {number: i for i, number in enumerate(ids)}
        inside = [link for link in links if link.a in place and link.b in place]
        n = len(inside)
        ends = np.array([(place[link.a], place[link.b]) for link in inside], np.int64).reshape(n, 2)
        T = np.array([link.T_a_b for link in inside]).reshape(n, 4, 4)
        return cls(ends, T, np.array([link.information for link in inside]).reshape(n, 6, 6))


@njit(**JIT)
def _equations(poses, free, ends, measured, information, H, g):  # type: ignore[no-untyped-def]
    """The cost of links, 0.5 r^T information r each with r = log(T_b_a' T_a_b), added to H and g where H is not empty.

    free: (K,) column of a keyframe's twist in H, -1 = fixed. For small r the Jacobian of r is 1 for b's twist and minus
    the adjoint of T_b_a for a's.
    """
    want = len(H) > 0
    cost = 0.0
    T, M, r = np.eye(4), np.eye(4), np.empty(6)
    A = np.empty((6, 6))
    for n in range(len(ends)):
        a, b = poses[ends[n, 0]], poses[ends[n, 1]]
        _between(a, b, T)  # T_a_b as the poses have it
        _between(measured[n], T, M)
        logarithm(M, r)
        I = information[n]
        Ir = I @ r
        cost += 0.5 * np.dot(r, Ir)
        if not want:
            continue
        _between(b, a, T)
        adjoint(T, A)
        fa, fb = free[ends[n, 0]], free[ends[n, 1]]
        IA = I @ A
        if fb >= 0:
            g[fb : fb + 6] += Ir
            H[fb : fb + 6, fb : fb + 6] += I
        if fa >= 0:
            g[fa : fa + 6] -= A.T @ Ir
            H[fa : fa + 6, fa : fa + 6] += A.T @ IA
        if fa >= 0 and fb >= 0:
            H[fb : fb + 6, fa : fa + 6] -= IA
            H[fa : fa + 6, fb : fb + 6] -= IA.T
    return cost


@njit(**JIT)
def _between(A, B, out):  # type: ignore[no-untyped-def]
    """out = inverse(A) @ B for rigid (4, 4)."""
    for i in range(3):
        for j in range(3):
            out[i, j] = A[0, i] * B[0, j] + A[1, i] * B[1, j] + A[2, i] * B[2, j]
        out[i, 3] = 0.0
        for k in range(3):
            out[i, 3] += A[k, i] * (B[k, 3] - A[k, 3])


def pull(
    poses: NDArray[np.float64],
    free: NDArray[np.int64],
    links: Links,
    H: NDArray[np.float64],
    g: NDArray[np.float64],
) -> float:
    """The links' cost at poses (K, 4, 4), and what they add to the normal equations; see `_equations`."""
    if not len(links.ends):
        return 0.0
    return float(_equations(poses, free, links.ends, links.T, links.information, H, g))
