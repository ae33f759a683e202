"""The laser scan of a SceneFun3D visit, and which of its points an answer's points are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.grounding.datasets.mesh import read_vertices
from scene_r1 import pose
from scene_r1.frame import IDENTITY
from scene_r1.sources.arkit_scenes.video_folder import choose_stream
from scene_r1.sources.npy_image import HEADER_FAULTS
from scene_r1_engines.errors import BadFrame, BadRecording

REACH_M = 0.02
"""How far a point of an answer may be from the laser's: four times its 5 mm, about what ARKit's poses are off."""
LASER_POSES = "hires_poses.traj"
"""Poses by COLMAP in the laser's frame; all other trajectories are ARKit's."""
MAX_NPY_BYTES = 1 << 30
UNREADABLE = (OSError, *HEADER_FAULTS)


class LaserScan:
    """`<visit>_laser_scan.ply` (5 mm) and `<visit>_crop_mask.npy`, which leaves out what was seen through windows.

    xyz: (N, 3) float32 metres, laser frame, in the order of the annotations' indices. kept: (N,) bool, inside the crop.
    Raises BadRecording for files that are broken or do not fit each other.
    """

    def __init__(self, visit: Path) -> None:
        self.xyz = read_vertices(visit / f"{visit.name}_laser_scan.ply")
        path = visit / f"{visit.name}_crop_mask.npy"
        mask = _read_array(path)
        if mask.shape not in ((len(self.xyz),), (len(self.xyz), 1)) or mask.dtype.kind not in "bui":
            raise BadRecording(
                path, f"must hold {len(self.xyz)} numbers, one for each point, got {mask.shape} {mask.dtype}"
            )
        self.kept = mask.reshape(-1) != 0

    def nearest(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """(M,) indices, ascending and once each: the nearest point of the crop to each of (P, 3) within REACH_M.

        points: metres, laser frame. The scan is dense, so an answer with fewer points than it marks fewer of them.
        """
        if len(points) == 0:
            return np.empty(0, np.int64)
        low, high = points.min(axis=0) - REACH_M, points.max(axis=0) + REACH_M
        around = self.kept.copy()
        for axis in range(3):
            around &= (self.xyz[:, axis] >= low[axis]) & (self.xyz[:, axis] <= high[axis])
        rows = np.flatnonzero(around)
        if len(rows) == 0:
            return np.empty(0, np.int64)
        distances, found = cKDTree(self.xyz[rows]).query(points, distance_upper_bound=REACH_M)
        return np.unique(rows[found[np.isfinite(distances)]])


def laser_from_recording(video: Path) -> NDArray[np.float64]:
    """(4, 4) `T_laser_world` of a video as `ArkitScenesSource` reads it.

    With COLMAP's poses its world is the laser's; with ARKit's it is `<video>_transform.npy` (laser to ARKit) away.
    Raises BadRecording for a transform that is missing or not rigid.
    """
    poses = (name for name in choose_stream(video).trajectories if (video / name).is_file())
    if next(poses, None) == LASER_POSES:
        return IDENTITY
    path = video / f"{video.name}_transform.npy"
    try:
        return pose.inverse(pose.rigid(_read_array(path), "T_arkit_laser"))
    except BadFrame as error:
        raise BadRecording(path, f"{error}: download it again") from None


def _read_array(path: Path) -> NDArray[np.generic]:
    """An array of numbers from a `.npy` file, never more than the file holds; nothing in it is executed."""
    try:
        size = path.stat().st_size
        if size > MAX_NPY_BYTES:
            raise BadRecording(path, f"has {size} bytes, more than {MAX_NPY_BYTES}: download it again")
        # mapped first: the header's shape is compared with the file's size before anything is allocated
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except FileNotFoundError:
        raise BadRecording(path, "is missing: download this asset of the visit too") from None
    except UNREADABLE as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"is no .npy array ({str(error)[:120]}): download it again") from None
