"""Adjustment of the last keyframes together: their poses and the depths of their landmarks.

A landmark is one number, its inverse depth along the ray of the keyframe that first saw it (Engel et al., DSO, PAMI
2018, section 2), so it moves with that keyframe. What is measured: where other keyframes see it, how deep it is there,
and its depth where it was first seen. Landmarks are eliminated by the Schur complement (Triggs et al. 2000, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.jit import JIT
from scene_r1.tracking.twist import moved
from scene_r1.tracking.visual.keyframe import MapKeyframe
from scene_r1.tracking.visual.link import Link, Links, pull

STEPS: Final = 5
CAUCHY: Final = 2.0
"""In sigmas: where a residual begins to lose its weight."""
SLOWEST: Final = 1e-4
"""A step that lowers the cost by a smaller share is the last."""


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Every sighting of a landmark of these keyframes in another of them, sorted by landmark.

    landmark, home, seer: (N,) number of the landmark among all, places of its home and of the seer in the list.
    at: (N, 2) at z = 1 of the seer. depth: (N,) metres in the seer, 0 = unknown.
    home_of, ray, inverse_depth, measured: of all landmarks that are seen at least once, (L,), (L, 2), (L,), (L,).
    """

    landmark: NDArray[np.int64]
    home: NDArray[np.int64]
    seer: NDArray[np.int64]
    at: NDArray[np.float64]
    depth: NDArray[np.float64]
    ray: NDArray[np.float64]
    inverse_depth: NDArray[np.float64]
    measured: NDArray[np.float64]
    home_of: NDArray[np.int64]
    number: NDArray[np.int64]


def gather(keyframes: Sequence[MapKeyframe]) -> Sightings:
    """The sightings among keyframes, see `Sightings`."""
    place = {one.id: i for i, one in enumerate(keyframes)}
    starts = np.concatenate([[0], np.cumsum([len(one.rays) for one in keyframes])]).astype(np.int64)
    rows: list[NDArray[np.float64]] = []
    for i, one in enumerate(keyframes):
        for home_id, numbers, at, depth in one.sightings:
            home = place.get(home_id)
            if home is not None:
                n = len(numbers)
                rows.append(np.column_stack([starts[home] + numbers, np.full(n, home), np.full(n, i), at, depth]))
    table = np.concatenate(rows) if rows else np.empty((0, 6))
    table = table[np.argsort(table[:, 0], kind="stable")]
    everywhere, landmark = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    home_of = np.searchsorted(starts, everywhere, side="right") - 1
    number = everywhere - starts[home_of]

    def of(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(one, name) for one in keyframes])[everywhere]

    whole = table[:, 1:3].astype(np.int64)
    return Sightings(
        landmark.reshape(-1).astype(np.int64), np.ascontiguousarray(whole[:, 0]), np.ascontiguousarray(whole[:, 1]),
        np.ascontiguousarray(table[:, 3:5]), np.ascontiguousarray(table[:, 5]),
        of("rays"), of("inverse_depth"), of("measured"), home_of, number,
    )  # fmt: skip


@njit(**JIT)
def _equations(  # type: ignore[no-untyped-def]
    poses, free, landmark, home, seer, at, depth, ray, rho, measured, pixel, relative_sigma, H, g, C, e, E, E_at,
):  # fmt: skip
    """The cost, and where H is not empty the normal equations with the landmarks eliminated.

    poses: (K, 4, 4). free: (K,) column of a keyframe's twist in H, -1 = fixed. pixel: (N,) sigma at z = 1.
    C, e: (L,) of each landmark alone. E, E_at: (N + L, 6) and (N + L,) coupling rows and their columns: row i for the
    seer of sighting i, N + l for the home of landmark l.
    """
    n, many = len(landmark), len(rho)
    want = len(H) > 0
    cost = 0.0
    Jh, Js = np.empty((3, 6)), np.empty((3, 6))
    Jr, r, w = np.empty(3), np.empty(3), np.empty(3)
    R = np.empty((3, 3))
    if want:
        H[:] = 0.0
        g[:] = 0.0
        E[:] = 0.0
        E_at[:] = -1
    for l in range(many):
        q = (rho[l] - measured[l]) / relative_sigma
        s = 1.0 / (1.0 + (q / CAUCHY) ** 2)
        cost += 0.5 * CAUCHY**2 * np.log1p((q / CAUCHY) ** 2)
        C[l] = s / relative_sigma**2
        e[l] = s * q / relative_sigma
    for i in range(n):
        l, h, k = landmark[i], home[i], seer[i]
        A, B = poses[h], poses[k]
        z0 = 1.0 / rho[l]
        hx, hy, hz = ray[l, 0] * z0, ray[l, 1] * z0, z0
        for a in range(3):
            for b in range(3):
                R[a, b] = B[0, a] * A[0, b] + B[1, a] * A[1, b] + B[2, a] * A[2, b]
        tx, ty, tz = A[0, 3] - B[0, 3], A[1, 3] - B[1, 3], A[2, 3] - B[2, 3]
        x = R[0, 0] * hx + R[0, 1] * hy + R[0, 2] * hz + B[0, 0] * tx + B[1, 0] * ty + B[2, 0] * tz
        y = R[1, 0] * hx + R[1, 1] * hy + R[1, 2] * hz + B[0, 1] * tx + B[1, 1] * ty + B[2, 1] * tz
        z = R[2, 0] * hx + R[2, 1] * hy + R[2, 2] * hz + B[0, 2] * tx + B[1, 2] * ty + B[2, 2] * tz
        if z < 0.05:
            cost += 10.0
            continue
        iz = 1.0 / z
        s = 1.0 / pixel[i]
        r[0], r[1] = (x * iz - at[i, 0]) * s, (y * iz - at[i, 1]) * s
        q2 = (r[0] * r[0] + r[1] * r[1]) / CAUCHY**2
        cost += 0.5 * CAUCHY**2 * np.log1p(q2)
        w[0] = w[1] = 1.0 / (1.0 + q2)
        w[2] = r[2] = 0.0
        sz = 0.0
        if depth[i] > 0.0:
            # In inverse depth a stereo camera errs by the same everywhere.
            sz = -iz * iz / relative_sigma
            r[2] = (iz - 1.0 / depth[i]) / relative_sigma
            q2 = (r[2] / CAUCHY) ** 2
            cost += 0.5 * CAUCHY**2 * np.log1p(q2)
            w[2] = 1.0 / (1.0 + q2)
        if not want:
            continue
        a, b = x * iz, y * iz
        Js[0, 0], Js[0, 1], Js[0, 2], Js[0, 3], Js[0, 4], Js[0, 5] = (
            -iz * s,
            0.0,
            a * iz * s,
            a * b * s,
            -(1.0 + a * a) * s,
            b * s,
        )
        Js[1, 0], Js[1, 1], Js[1, 2], Js[1, 3], Js[1, 4], Js[1, 5] = (
            0.0,
            -iz * s,
            b * iz * s,
            (1.0 + b * b) * s,
            -a * b * s,
            -a * s,
        )
        Js[2, 0], Js[2, 1], Js[2, 2], Js[2, 3], Js[2, 4], Js[2, 5] = 0.0, 0.0, -sz, -y * sz, x * sz, 0.0
        for m in range(3):
            # d residual / d point in the seer, turned into the home's frame.
            if m == 0:
                px, py, pz = iz * s, 0.0, -a * iz * s
            elif m == 1:
                px, py, pz = 0.0, iz * s, -b * iz * s
            else:
                px, py, pz = 0.0, 0.0, sz
            qx = px * R[0, 0] + py * R[1, 0] + pz * R[2, 0]
            qy = px * R[0, 1] + py * R[1, 1] + pz * R[2, 1]
            qz = px * R[0, 2] + py * R[1, 2] + pz * R[2, 2]
            Jh[m, 0], Jh[m, 1], Jh[m, 2] = qx, qy, qz
            Jh[m, 3], Jh[m, 4], Jh[m, 5] = hy * qz - hz * qy, hz * qx - hx * qz, hx * qy - hy * qx
            Jr[m] = -(qx * hx + qy * hy + qz * hz) * z0
        fh, fk = free[h], free[k]
        for m in range(3):
            if w[m] == 0.0:
                continue
            C[l] += w[m] * Jr[m] * Jr[m]
            e[l] += w[m] * Jr[m] * r[m]
            if fh >= 0:
                E_at[n + l] = fh
                for p in range(6):
                    g[fh + p] += w[m] * Jh[m, p] * r[m]
                    E[n + l, p] += w[m] * Jh[m, p] * Jr[m]
                    for q in range(6):
                        H[fh + p, fh + q] += w[m] * Jh[m, p] * Jh[m, q]
                        if fk >= 0:
                            H[fh + p, fk + q] += w[m] * Jh[m, p] * Js[m, q]
                            H[fk + q, fh + p] += w[m] * Jh[m, p] * Js[m, q]
            if fk >= 0:
                E_at[i] = fk
                for p in range(6):
                    g[fk + p] += w[m] * Js[m, p] * r[m]
                    E[i, p] += w[m] * Js[m, p] * Jr[m]
                    for q in range(6):
                        H[fk + p, fk + q] += w[m] * Js[m, p] * Js[m, q]
    return cost


@njit(**JIT)
def _eliminate(landmark, C, e, E, E_at, damping, H, g):  # type: ignore[no-untyped-def]
    """Take each landmark out of H and g; sightings of a landmark are next to each other."""
    n = len(landmark)
    i = 0
    rows = np.empty(64, np.int64)
    while i < n:
        l = landmark[i]
        count = 0
        rows[count] = n + l
        count += 1
        while i < n and landmark[i] == l:
            if count < len(rows):
                rows[count] = i
                count += 1
            i += 1
        c = 1.0 / (C[l] * (1.0 + damping))
        for a in range(count):
            fa = E_at[rows[a]]
            if fa < 0:
                continue
            for p in range(6):
                s = E[rows[a], p] * c
                g[fa + p] -= s * e[l]
                for b in range(count):
                    fb = E_at[rows[b]]
                    if fb >= 0:
                        for q in range(6):
                            H[fa + p, fb + q] -= s * E[rows[b], q]


@njit(**JIT)
def _step(poses, free, landmark, rho, C, e, E, E_at, damping, d, new_poses, new_rho):  # type: ignore[no-untyped-def]
    """The poses after the twists d, and the inverse depths that go with them."""
    n = len(landmark)
    for k in range(len(poses)):
        if free[k] >= 0:
            moved(poses[k], d[free[k] : free[k] + 6], new_poses[k])
        else:
            new_poses[k] = poses[k]
    for l in range(len(rho)):
        new_rho[l] = e[l]
        if E_at[n + l] >= 0:
            for p in range(6):
                new_rho[l] += E[n + l, p] * d[E_at[n + l] + p]
    for i in range(n):
        if E_at[i] >= 0:
            for p in range(6):
                new_rho[landmark[i]] += E[i, p] * d[E_at[i] + p]
    for l in range(len(rho)):
        new_rho[l] = min(max(rho[l] - new_rho[l] / (C[l] * (1.0 + damping)), 0.05), 20.0)


def adjust(
    keyframes: Sequence[MapKeyframe],
    links: Sequence[Link],
    fixed: int,
    pixel_sigma: float,
    relative_sigma: float,
    steps: int = STEPS,
) -> float:
    """Refine poses and landmarks of keyframes (oldest first) in place; the first `fixed` of them stay where they are.

    links: between pairs of them; those of other keyframes are left out. pixel_sigma: of a sighting, in pixels.
    relative_sigma: of inverse depth, 1/m. Returns the cost's fall, as a share.
    """
    s = gather(keyframes)
    if len(s.landmark) == 0 or fixed >= len(keyframes):
        return 0.0
    poses = np.stack([one.T_world_camera for one in keyframes])
    free = np.array([-1 if i < fixed else 6 * (i - fixed) for i in range(len(keyframes))])
    tied = Links.among(links, [one.id for one in keyframes])
    pixel = np.array([pixel_sigma / one.focal[0] for one in keyframes])[s.seer]
    size = 6 * (len(keyframes) - fixed)
    n, many = len(s.landmark), len(s.inverse_depth)
    H, g, nothing = np.empty((size, size)), np.empty(size), np.empty((0, 0))
    C, e, E, E_at = np.empty(many), np.empty(many), np.empty((n + many, 6)), np.empty(n + many, np.int64)
    rho = s.inverse_depth.copy()
    of_sightings = (s.landmark, s.home, s.seer, s.at, s.depth, s.ray)
    scales = (s.measured, pixel, relative_sigma)
    damping, first = 1e-4, -1.0
    cost = 0.0
    for _ in range(steps):
        cost = _equations(poses, free, *of_sightings, rho, *scales, H, g, C, e, E, E_at)
        cost += pull(poses, free, tied, H, g)
        first = cost if first < 0.0 else first
        _eliminate(s.landmark, C, e, E, E_at, damping, H, g)
        H[np.diag_indices(size)] *= 1.0 + damping
        try:
            d = -np.linalg.solve(H, g)
        except np.linalg.LinAlgError:
            break
        new_poses, new_rho = np.empty_like(poses), np.empty_like(rho)
        _step(poses, free, s.landmark, rho, C, e, E, E_at, damping, d, new_poses, new_rho)
        after = _equations(
            new_poses, free, *of_sightings, new_rho, *scales, nothing, g, C.copy(), e.copy(), E[:0], E_at[:0]
        ) + pull(new_poses, free, tied, nothing, g)
        if not after < cost:
            damping *= 20.0
            continue
        poses, rho = new_poses, new_rho
        damping = max(damping * 0.2, 1e-6)
        fall, cost = cost - after, after
        if fall < SLOWEST * cost:
            break
    for i, one in enumerate(keyframes):
        one.T_world_camera = poses[i]
        mine = s.home_of == i
        one.inverse_depth[s.number[mine]] = rho[mine]
    return (first - cost) / first if first > 0.0 else 0.0
