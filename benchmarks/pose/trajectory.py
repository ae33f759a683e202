"""How far an estimated trajectory is off the true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose


@dataclass(frozen=True, slots=True)
class Score:
    """ate_cm: RMSE of positions after the best rigid alignment (Sturm et al., IROS 2012; Umeyama without scale).

    rpe_mm, rpe_deg: median error of the motion from one frame to the next, of those that both have a pose.
    ate_percent: ate over the length of the true path. lost_frames: frames without a pose. revisions: of the map.
    """

    ate_cm: float
    ate_percent: float
    rpe_mm: float
    rpe_deg: float
    cpu_ms_per_frame: float
    cpu_ms_p95: float
    lost_frames: int
    frames: int


def score(
    estimated: list[NDArray[np.float64] | None], true: list[NDArray[np.float64]], cpu_ms: NDArray[np.float64]
) -> Score | None:
    """The score of poses (4, 4) by frame, None where lost; None with fewer than three poses. cpu_ms: (frames,)."""
    kept = [i for i, T in enumerate(estimated) if T is not None]
    if len(kept) < 3:
        return None
    E = np.stack([T for T in estimated if T is not None])
    G = np.stack([true[i] for i in kept])
    errors = aligned_errors(E[:, :3, 3], G[:, :3, 3])
    steps = [
        pose.inverse(pose.inverse(G[i]) @ G[i + 1]) @ (pose.inverse(E[i]) @ E[i + 1])
        for i in range(len(kept) - 1) if kept[i + 1] == kept[i] + 1
    ]  # fmt: skip
    rmse = float(np.sqrt(np.mean(errors**2)))
    path = np.stack(true)[:, :3, 3]
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    timed = cpu_ms[1:] if len(cpu_ms) > 1 else cpu_ms  # the first frame may compile
    return Score(
        ate_cm=100.0 * rmse,
        ate_percent=100.0 * rmse / length if length > 0.0 else float("nan"),
        rpe_mm=float(np.median([1e3 * np.linalg.norm(T[:3, 3]) for T in steps])) if steps else float("nan"),
        rpe_deg=float(np.median([pose.angle_deg(np.eye(4), T) for T in steps])) if steps else float("nan"),
        cpu_ms_per_frame=float(timed.mean()),
        cpu_ms_p95=float(np.percentile(timed, 95)),
        lost_frames=len(true) - len(kept),
        frames=len(true),
    )


def aligned_errors(estimated: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) distances between positions (N, 3) after the rigid motion that brings them nearest (Horn 1987)."""
    e, t = estimated - estimated.mean(axis=0), true - true.mean(axis=0)
    u, _, vt = np.linalg.svd(t.T @ e)
    R = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return np.asarray(np.linalg.norm(e @ R.T - t, axis=1))
