"""The landmarks around the camera: those of a few keyframes in one table, and which of them a camera would see how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scene_r1.tracking.visual.keyframe import RIM, MapKeyframe
from scene_r1.tracking.visual.patches import STORED
from scene_r1_engines.intrinsics import Intrinsics

CELL_PX: Final = 16
"""One landmark is looked for in each square of so many pixels at 640 px of width."""
TURNED: Final = 0.6
"""Cosine between the directions from which a landmark was first seen and is seen now, at the least."""
ZOOM: Final = (0.6, 1.7)
"""How many times nearer or farther than at first a landmark is still recognised by its patch."""

MEMORY: Final = 0.1
"""How much one frame counts in how well a landmark has been found lately."""


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Landmarks that a camera ought to see. rows: (N,) of the table. pixels: (N, 2). warps: (N, 2, 2)."""

    rows: NDArray[np.int64]
    pixels: NDArray[np.float64]
    warps: NDArray[np.float64]


class LocalView:
    """A table of landmarks, made anew whenever the map changes.

    world: (N, 3) metres. patches: (N, 21, 21). home: (N,) place of its keyframe in `keyframes`; number: (N,) of the
    landmark there. begins: (keyframes,) row of the first landmark of each.
    """

    def __init__(self, keyframes: Sequence[MapKeyframe]) -> None:
        self.keyframes = list(keyframes)
        sizes = [len(one.rays) for one in self.keyframes]
        self.begins = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        self.home = np.repeat(np.arange(len(sizes)), sizes)
        self.number = np.concatenate([np.arange(n) for n in sizes]) if sizes else np.empty(0, np.int64)
        self.world: NDArray[np.float64] = _joined([one.world() for one in self.keyframes], (3,))
        self._rays: NDArray[np.float64] = _joined([one.rays for one in self.keyframes], (2,))
        self._inverse_depth: NDArray[np.float64] = _joined([one.inverse_depth for one in self.keyframes], ())
        self._normals: NDArray[np.float64] = _joined([one.normals for one in self.keyframes], (3,))
        self.patches: NDArray[np.uint8] = _joined([one.patches for one in self.keyframes], (STORED, STORED), np.uint8)
        poses = np.stack([one.T_world_camera for one in self.keyframes])
        self._R_world_home = poses[:, :3, :3]
        direction = self.world - poses[self.home, :3, 3]
        self._direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        self._good: NDArray[np.float64] = _joined([one.good for one in self.keyframes], ())
        self._focal = np.array([one.focal for one in self.keyframes])

    def __len__(self) -> int:
        return len(self.world)

    def note(self, expected: NDArray[np.int64], found: NDArray[np.int64]) -> None:
        """Remember which rows were looked for and which were found where they ought to be."""
        self._good[expected] *= 1.0 - MEMORY
        self._good[found] += MEMORY

    def hand_back(self) -> None:
        """Give the keyframes what was learnt of their landmarks since this table was made."""
        for place, one in enumerate(self.keyframes):
            one.good[:] = self._good[self.home == place]

    def expected(self, T_world_camera: NDArray[np.float64], camera: Intrinsics, most: int) -> Expected:
        """What a camera there would see, at most one landmark a cell and `most` of them."""
        R = T_world_camera[:3, :3]
        p = (self.world - T_world_camera[:3, 3]) @ R
        z = p[:, 2]
        distance = np.linalg.norm(p, axis=1)
        cosine = np.einsum("ij,ij->i", self._direction @ R, p) / np.maximum(distance, 1e-9)
        zoom = self._inverse_depth * z
        seen = np.flatnonzero((z > 0.1) & (cosine > TURNED) & (zoom > 1 / ZOOM[1]) & (zoom < 1 / ZOOM[0]))
        pixels = camera.project(p[seen])
        inside = (pixels > RIM).all(axis=1) & (pixels[:, 0] < camera.width - 1 - RIM)
        inside &= pixels[:, 1] < camera.height - 1 - RIM  # NaN fails each comparison
        seen, pixels = seen[inside], pixels[inside]
        worth = self._good[seen] + 0.3 * cosine[seen] - 0.3 * np.abs(np.log(zoom[seen]))
        order = np.argsort(-worth, kind="stable")
        cell = max(4.0, CELL_PX * camera.width / 640.0)
        cells = np.floor(pixels[order] / cell).astype(np.int64)
        _, first = np.unique(cells[:, 1] * 100_000 + cells[:, 0], return_index=True)
        chosen = order[np.sort(first)[:most]]
        rows = seen[chosen]
        return Expected(rows, pixels[chosen], self._warps(rows, T_world_camera, p[rows], camera))

    def _warps(
        self, rows: NDArray[np.int64], T_world_camera: NDArray[np.float64], p: NDArray[np.float64], camera: Intrinsics
    ) -> NDArray[np.float64]:
        """(N, 2, 2) pixels of the patch for a pixel of the picture: the plane through the landmark, seen twice."""
        home = self.home[rows]
        R = np.einsum("ji,njk->nik", T_world_camera[:3, :3], self._R_world_home[home])  # camera from home
        n, ray = self._normals[rows], np.column_stack([self._rays[rows], np.ones(len(rows))])
        facing = np.einsum("ij,ij->i", n, ray)
        slope = np.where(np.abs(facing[:, None]) > 0.2, n[:, :2] / facing[:, None], 0.0)  # unknown: it faces the camera
        slope = np.nan_to_num(slope)
        z_home = 1.0 / self._inverse_depth[rows]
        # How the landmark moves, in its home camera, for a step of one pixel along u and along v.
        steps = -slope[:, None, :] * ray[:, :, None]
        steps[:, 0, 0] += 1.0
        steps[:, 1, 1] += 1.0
        steps *= z_home[:, None, None] / self._focal[home][:, None, :]
        moved = R @ steps
        z = p[:, 2]
        J = (moved[:, :2] - p[:, :2, None] / z[:, None, None] * moved[:, 2:3]) / z[:, None, None]
        J[:, 0] *= camera.fx
        J[:, 1] *= camera.fy
        det = J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] * J[:, 1, 0]
        flat = np.abs(det) < 0.1
        det = np.where(flat, 1.0, det)
        inverse = np.empty_like(J)
        inverse[:, 0, 0], inverse[:, 1, 1] = J[:, 1, 1] / det, J[:, 0, 0] / det
        inverse[:, 0, 1], inverse[:, 1, 0] = -J[:, 0, 1] / det, -J[:, 1, 0] / det
        inverse[flat] = np.nan  # seen edge-on: `align` leaves it out
        return np.asarray(inverse)


def _joined(parts: list[Any], shape: tuple[int, ...], dtype: type[np.generic] = np.float64) -> Any:
    return np.concatenate(parts) if parts else np.empty((0, *shape), dtype)
