"""Small rigid motions: the exponential of a twist, for kernels and for plain code.

A twist is (6,) float64: metres along x, y, z, then radians about them, in the frame of the camera that moves.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.jit import JIT


@njit(inline="never", **JIT)
def moved(T, d, out):  # type: ignore[no-untyped-def]
    """out = T @ exp(d), with T and out (4, 4) and d (6,); the two may be one array (Rodrigues' formula)."""
    wx, wy, wz = d[3], d[4], d[5]
    t2 = wx * wx + wy * wy + wz * wz
    if t2 < 1e-12:
        a, b, c = 1.0 - t2 / 6.0, 0.5 - t2 / 24.0, 1.0 / 6.0 - t2 / 120.0
    else:
        t = np.sqrt(t2)
        a, b, c = np.sin(t) / t, (1.0 - np.cos(t)) / t2, (t - np.sin(t)) / (t2 * t)
    K = np.array([[0.0, -wz, wy], [wz, 0.0, -wx], [-wy, wx, 0.0]])
    KK = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            KK[i, j] = K[i, 0] * K[0, j] + K[i, 1] * K[1, j] + K[i, 2] * K[2, j]
    R = np.empty((3, 3))
    t_new = np.empty(3)
    for i in range(3):
        t_new[i] = d[i]
        for j in range(3):
            R[i, j] = a * K[i, j] + b * KK[i, j]
            t_new[i] += (b * K[i, j] + c * KK[i, j]) * d[j]
        R[i, i] += 1.0
    for i in range(3):
        r0, r1, r2 = T[i, 0], T[i, 1], T[i, 2]
        out[i, 3] = T[i, 3] + r0 * t_new[0] + r1 * t_new[1] + r2 * t_new[2]
        for j in range(3):
            out[i, j] = r0 * R[0, j] + r1 * R[1, j] + r2 * R[2, j]
    out[3, 0] = out[3, 1] = out[3, 2] = 0.0
    out[3, 3] = 1.0


@njit(**JIT)
def solve6(H, g, damping, d):  # type: ignore[no-untyped-def]
    """d = -(H + damping diag(H))^-1 g for a symmetric positive (6, 6) H, by Cholesky. False where it is not."""
    L = np.zeros((6, 6))
    for i in range(6):
        for j in range(i + 1):
            s = H[i, j]
            if i == j:
                s += damping * H[i, i] + 1e-12
            for k in range(j):
                s -= L[i, k] * L[j, k]
            if i == j:
                if not s > 0.0:
                    return False
                L[i, i] = np.sqrt(s)
            else:
                L[i, j] = s / L[j, j]
    y = np.empty(6)
    for i in range(6):
        s = -g[i]
        for k in range(i):
            s -= L[i, k] * y[k]
        y[i] = s / L[i, i]
    for i in range(5, -1, -1):
        s = y[i]
        for k in range(i + 1, 6):
            s -= L[k, i] * d[k]
        d[i] = s / L[i, i]
    return True


@njit(**JIT)
def logarithm(T, out):  # type: ignore[no-untyped-def]
    """out = the twist (6,) of T (4, 4); of a turn by pi or nearly, one of its two."""
    ax, ay, az = 0.5 * (T[2, 1] - T[1, 2]), 0.5 * (T[0, 2] - T[2, 0]), 0.5 * (T[1, 0] - T[0, 1])
    sine = np.sqrt(ax * ax + ay * ay + az * az)
    cosine = 0.5 * (T[0, 0] + T[1, 1] + T[2, 2] - 1.0)
    angle = np.arctan2(sine, cosine)
    if cosine > -0.999:
        scale = angle / sine if sine > 1e-8 else 1.0
        wx, wy, wz = ax * scale, ay * scale, az * scale
    else:  # half a turn, or nearly: the axis is in the symmetric part
        k = 0
        for i in range(1, 3):
            if T[i, i] > T[k, k]:
                k = i
        v = np.empty(3)
        for i in range(3):
            v[i] = 0.5 * (T[i, k] + T[k, i])
        v[k] -= cosine
        norm = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        if v[0] * ax + v[1] * ay + v[2] * az < 0.0:
            norm = -norm
        wx, wy, wz = v[0] / norm * angle, v[1] / norm * angle, v[2] / norm * angle
    c = 1.0 / 12.0 if angle < 1e-3 else (1.0 - 0.5 * angle / np.tan(0.5 * angle)) / (angle * angle)
    tx, ty, tz = T[0, 3], T[1, 3], T[2, 3]
    # The inverse of V = I + b K + c K^2 on the translation.
    kx, ky, kz = wy * tz - wz * ty, wz * tx - wx * tz, wx * ty - wy * tx
    out[0] = tx - 0.5 * kx + c * (wy * kz - wz * ky)
    out[1] = ty - 0.5 * ky + c * (wz * kx - wx * kz)
    out[2] = tz - 0.5 * kz + c * (wx * ky - wy * kx)
    out[3], out[4], out[5] = wx, wy, wz


@njit(**JIT)
def adjoint(T, out):  # type: ignore[no-untyped-def]
    """out (6, 6): with it a twist of frame b becomes one of frame a, for T = T_a_b (4, 4)."""
    out[:] = 0.0
    x, y, z = T[0, 3], T[1, 3], T[2, 3]
    for j in range(3):
        for i in range(3):
            out[i, j] = out[i + 3, j + 3] = T[i, j]
        out[0, j + 3] = y * T[2, j] - z * T[1, j]
        out[1, j + 3] = z * T[0, j] - x * T[2, j]
        out[2, j + 3] = x * T[1, j] - y * T[0, j]


def exp(twist: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) rigid motion of a twist (6,)."""
    out = np.empty((4, 4))
    moved(np.eye(4), np.ascontiguousarray(twist, dtype=np.float64), out)
    return out


def log(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """The twist (6,) whose `exp` is T (4, 4); of a turn by pi or nearly, one of its two."""
    out = np.empty(6)
    logarithm(np.ascontiguousarray(T, dtype=np.float64), out)
    return out
