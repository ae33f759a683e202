"""The camera's pose from landmarks and surfaces: Gauss-Newton on SE(3) with robust weights.

Three kinds of residual, each divided by its standard deviation: where landmarks are in the picture, how deep they are
there, and how far the depth image's points lie off the planes of a keyframe's surface (point to plane, Chen and Medioni
1992, with projective association). Huber's weights for the first steps of a landmark, then Tukey's, which give an
outlier no say at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.jit import JIT
from scene_r1.tracking.twist import moved, solve6
from scene_r1.tracking.visual.surface import Surface

STEPS: Final = 8
TUKEY: Final = 4.685
"""Tukey's constant: 95 % of the efficiency of least squares where errors are Gaussian."""


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """T_world_camera: (4, 4). inlier: (N,) bool of the landmarks. rms: of the inliers' residuals, in their sigmas.

    plane_share: share of the depth points with a partner on the surface that agree with it, 0 with fewer than 50.
    information: (6, 6) of a twist of the camera.
    """

    T_world_camera: NDArray[np.float64]
    inlier: NDArray[np.bool_]
    rms: float
    plane_share: float
    information: NDArray[np.float64]


@njit(inline="always", **JIT)
def _add(H, g, J, r, w):  # type: ignore[no-untyped-def]
    for a in range(6):
        wj = w * J[a]
        g[a] += wj * r
        for b in range(a + 1):
            H[a, b] += wj * J[b]


@njit(**JIT)
def _gauss_newton(  # type: ignore[no-untyped-def]
    T, world, seen, sigma, depth, depth_sigma, points, relative_sigma, plane_weight,
    ref_points, ref_normals, pinhole, T_depth_color, T_world_ref, steps, inlier, H,
):  # fmt: skip
    """Refine T in place. Returns (rms of inliers in sigmas, depth points that agree, depth points with a partner)."""
    n, m = len(world), len(points)
    J, J2, J3 = np.empty(6), np.empty(6), np.empty(6)
    g, d = np.empty(6), np.empty(6)
    rms = 0.0
    agree = paired = 0
    rows, columns = ref_points.shape[:2]
    M = np.empty((3, 4))  # reference camera from camera
    for step in range(steps):
        last = step == steps - 1
        H[:] = 0.0
        g[:] = 0.0
        total, used = 0.0, 0
        for i in range(n):
            dx, dy, dz = world[i, 0] - T[0, 3], world[i, 1] - T[1, 3], world[i, 2] - T[2, 3]
            x = T[0, 0] * dx + T[1, 0] * dy + T[2, 0] * dz
            y = T[0, 1] * dx + T[1, 1] * dy + T[2, 1] * dz
            z = T[0, 2] * dx + T[1, 2] * dy + T[2, 2] * dz
            inlier[i] = False
            if z < 0.05:
                continue
            iz = 1.0 / z
            rx, ry = (x * iz - seen[i, 0]) / sigma[i], (y * iz - seen[i, 1]) / sigma[i]
            e = np.sqrt(rx * rx + ry * ry)
            if step < 3:
                w = 1.0 if e < 2.0 else 2.0 / e
            else:
                q = e / TUKEY
                w = (1.0 - q * q) ** 2 if q < 1.0 else 0.0
            inlier[i] = e < 3.0
            if inlier[i]:
                total += 0.5 * e * e
                used += 1
            if w == 0.0:
                continue
            s = 1.0 / sigma[i]
            # p' = p - v - w x p for a twist (v, w) of the camera: right perturbation of T_world_camera.
            a, b = x * iz, y * iz
            J[0], J[1], J[2] = -iz * s, 0.0, a * iz * s
            J[3], J[4], J[5] = a * b * s, -(1.0 + a * a) * s, b * s
            J2[0], J2[1], J2[2] = 0.0, -iz * s, b * iz * s
            J2[3], J2[4], J2[5] = (1.0 + b * b) * s, -a * b * s, -a * s
            _add(H, g, J, rx, w)
            _add(H, g, J2, ry, w)
            if depth[i] > 0.0:
                s = 1.0 / depth_sigma[i]
                rz = (z - depth[i]) * s
                q = rz / TUKEY
                if abs(q) < 1.0:
                    J3[0], J3[1], J3[2] = 0.0, 0.0, -s
                    J3[3], J3[4], J3[5] = -y * s, x * s, 0.0
                    _add(H, g, J3, rz, w * (1.0 - q * q) ** 2)
        rms = np.sqrt(total / used) if used else 1e9
        agree = paired = 0
        if m:
            for i in range(3):
                for j in range(3):
                    M[i, j] = T_world_ref[0, i] * T[0, j] + T_world_ref[1, i] * T[1, j] + T_world_ref[2, i] * T[2, j]
                M[i, 3] = 0.0
                for k in range(3):
                    M[i, 3] += T_world_ref[k, i] * (T[k, 3] - T_world_ref[k, 3])
        D = T_depth_color
        for i in range(m):
            px, py, pz = points[i, 0], points[i, 1], points[i, 2]
            x = M[0, 0] * px + M[0, 1] * py + M[0, 2] * pz + M[0, 3]
            y = M[1, 0] * px + M[1, 1] * py + M[1, 2] * pz + M[1, 3]
            z = M[2, 0] * px + M[2, 1] * py + M[2, 2] * pz + M[2, 3]
            zd = D[2, 0] * x + D[2, 1] * y + D[2, 2] * z + D[2, 3]
            if zd < 0.05:
                continue
            u = (D[0, 0] * x + D[0, 1] * y + D[0, 2] * z + D[0, 3]) / zd * pinhole[0] + pinhole[2]
            v = (D[1, 0] * x + D[1, 1] * y + D[1, 2] * z + D[1, 3]) / zd * pinhole[1] + pinhole[3]
            if not (u > -0.5 and v > -0.5 and u < columns - 0.5 and v < rows - 0.5):
                continue
            row, column = np.int64(v + 0.5), np.int64(u + 0.5)
            nx, ny, nz = ref_normals[row, column, 0], ref_normals[row, column, 1], ref_normals[row, column, 2]
            if nx != nx:
                continue
            qx, qy, qz = ref_points[row, column, 0], ref_points[row, column, 1], ref_points[row, column, 2]
            r = nx * (x - qx) + ny * (y - qy) + nz * (z - qz)
            s = 1.0 / (relative_sigma * pz * pz + 0.002)
            rs = r * s
            paired += 1
            q = rs / TUKEY
            if abs(q) >= 1.0:
                continue
            if abs(rs) < 3.0:
                agree += 1
            # In the camera's own frame: m = M^T n.
            mx = M[0, 0] * nx + M[1, 0] * ny + M[2, 0] * nz
            my = M[0, 1] * nx + M[1, 1] * ny + M[2, 1] * nz
            mz = M[0, 2] * nx + M[1, 2] * ny + M[2, 2] * nz
            J[0], J[1], J[2] = mx * s, my * s, mz * s
            J[3], J[4], J[5] = (py * mz - pz * my) * s, (pz * mx - px * mz) * s, (px * my - py * mx) * s
            _add(H, g, J, rs, plane_weight * (1.0 - q * q) ** 2)
        for a in range(6):
            for b in range(a):
                H[b, a] = H[a, b]
        if last or not solve6(H, g, 1e-6, d):
            break
        moved(T, d, T)
    return rms, agree, paired


_NO_POINTS = np.empty((0, 3))
_NO_SURFACE = Surface(
    np.empty((0, 0, 3), np.float32), np.empty((0, 0, 3), np.float32), np.ones(4), np.eye(4)
)  # fmt: skip


def refine(
    T_world_camera: NDArray[np.float64],
    world: NDArray[np.float64],
    seen: NDArray[np.float64],
    sigma: NDArray[np.float64],
    depth: NDArray[np.float64] | None = None,
    depth_sigma: NDArray[np.float64] | None = None,
    points: NDArray[np.float64] = _NO_POINTS,
    reference: Surface = _NO_SURFACE,
    T_world_reference: NDArray[np.float64] | None = None,
    relative_sigma: float = 0.005,
    plane_weight: float = 0.0,
    steps: int = STEPS,
) -> Refined:
    """The pose that fits best, from one nearby.

    world: (N, 3) metres. seen: (N, 2) where they are seen, on the plane z = 1 of the camera; sigma: (N,) of it, in
    the same unit. depth, depth_sigma: (N,) metres along the axis, 0 = none. points: (M, 3) metres, of the camera, to
    lie on the `reference` surface of the keyframe at `T_world_reference`; one counts as `plane_weight` independent
    ones, with sigma = relative_sigma z^2 + 2 mm.
    """
    T = np.array(T_world_camera, dtype=np.float64)
    inlier = np.zeros(len(world), np.bool_)
    H = np.zeros((6, 6))
    if depth is None or depth_sigma is None:
        depth, depth_sigma = np.zeros(len(world)), np.ones(len(world))
    use = points if plane_weight > 0.0 else _NO_POINTS
    T_ref = np.eye(4) if T_world_reference is None else T_world_reference
    rms, agree, paired = _gauss_newton(
        T, np.ascontiguousarray(world), np.ascontiguousarray(seen), sigma, depth, depth_sigma, use, relative_sigma,
        plane_weight, reference.points, reference.normals, reference.pinhole, reference.T_depth_color,
        np.ascontiguousarray(T_ref), steps, inlier, H,
    )  # fmt: skip
    share = agree / paired if paired >= 50 else 0.0
    return Refined(T, inlier, float(rms), share, H)
