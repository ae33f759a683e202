"""Rigid transforms. `T_a_b` maps points of frame b into frame a; compose only when inner names match."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1_engines.errors import BadFrame

ROTATION_TOLERANCE = 1e-3
"""How far a rotation's singular values may be off 1 and still count as rounding (7-Scenes: 1e-4)."""


def rigid(T: ArrayLike, name: str = "T_world_camera", tolerance: float = ROTATION_TOLERANCE) -> NDArray[np.float64]:
    """Check a rigid transform and return it as (4, 4) float64, read-only, with a rotation orthonormal to 1e-15.

    Rounded rotations (singular values within `tolerance` of 1) are replaced by the nearest rotation in the Frobenius
    norm (polar decomposition by SVD). Raises BadFrame for a wrong shape, NaN or infinity, a scale, a shear, a
    reflection or a last row other than 0 0 0 1.
    """
    try:
        t = np.array(T, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadFrame(f"{name} must be a 4x4 matrix of numbers: {error}") from error
    if t.shape != (4, 4):
        raise BadFrame(f"{name} must be a 4x4 matrix, got shape {t.shape}")
    if not np.all(np.isfinite(t)):
        raise BadFrame(f"{name} has NaN or infinite entries (a lost pose?)")
    if np.any(np.abs(t[3] - (0.0, 0.0, 0.0, 1.0)) > 1e-6):
        raise BadFrame(f"{name} must end in the row 0 0 0 1, got {t[3].tolist()}")
    u, s, vt = np.linalg.svd(t[:3, :3])
    if np.any(np.abs(s - 1.0) > tolerance):
        raise BadFrame(
            f"{name} is not rigid: its rotation has singular values {np.round(s, 6).tolist()}, "
            f"more than {tolerance} off 1"
        )
    if np.linalg.det(u @ vt) < 0.0:
        raise BadFrame(f"{name} mirrors space (determinant -1)")
    t[:3, :3] = u @ vt
    t[3] = (0.0, 0.0, 0.0, 1.0)
    t.flags.writeable = False
    return t


def inverse(T_a_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """`T_b_a` of a rigid `T_a_b`, both (4, 4) float64."""
    out = np.eye(4)
    out[:3, :3] = T_a_b[:3, :3].T
    out[:3, 3] = -T_a_b[:3, :3].T @ T_a_b[:3, 3]
    return out


def apply(T_a_b: NDArray[np.float64], points_b: ArrayLike) -> NDArray[np.float64]:
    """Points (N, 3) of frame b in frame a."""
    p = np.asarray(points_b, dtype=np.float64)
    return np.asarray(p @ T_a_b[:3, :3].T + T_a_b[:3, 3])


def from_quaternion(xyz: ArrayLike, quaternion_xyzw: ArrayLike, name: str = "T_world_camera") -> NDArray[np.float64]:
    """(4, 4) transform from a translation in metres and a quaternion x, y, z, w (normalised here; zero is refused)."""
    q = np.asarray(quaternion_xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if q.shape != (4,) or not np.isfinite(norm) or abs(norm - 1.0) > 0.01:
        raise BadFrame(f"{name}: the quaternion {q.tolist()} is not of length 1")
    if np.shape(xyz) != (3,):
        raise BadFrame(f"{name}: a translation is three numbers, got {xyz!r}")
    x, y, z, w = q / norm
    t = np.eye(4)
    t[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    t[:3, 3] = xyz
    return rigid(t, name)


def to_quaternion(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternion x, y, z, w (w >= 0) of a (4, 4) transform's rotation. Shepperd's method: the largest term first."""
    r = T[:3, :3]
    trace = float(np.trace(r))
    terms = np.array([r[0, 0], r[1, 1], r[2, 2], trace])
    i = int(np.argmax(terms))
    q = np.empty(4)
    if i == 3:
        q[3] = 1.0 + trace
        q[:3] = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q[i] = 1.0 - trace + 2.0 * r[i, i]
        q[j] = r[j, i] + r[i, j]
        q[k] = r[k, i] + r[i, k]
        q[3] = r[k, j] - r[j, k]
    q /= np.linalg.norm(q)
    return -q if q[3] < 0.0 else q


def angle_deg(T_a: NDArray[np.float64], T_b: NDArray[np.float64]) -> float:
    """Angle in degrees between two orientations; exact near 0, where arccos of the trace is not."""
    r = T_a[:3, :3].T @ T_b[:3, :3]
    sine = 0.5 * float(np.linalg.norm([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]))
    return float(np.degrees(np.arctan2(sine, 0.5 * (float(np.trace(r)) - 1.0))))
