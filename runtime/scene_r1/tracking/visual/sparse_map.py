"""The tracker's map: a bounded set of keyframes, and the poses of all anchors that were ever given out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.tracking.visual.keyframe import MapKeyframe

METRES_PER_DEGREE = 0.02
"""So many metres are as far as a degree, in how near two views are."""


class SparseMap:
    """At most `most` keyframes. One too many: the keyframe goes whose nearest neighbour is nearest, the older of the
    two staying, and none of those kept out of it. Its anchor stays known, hung on that neighbour, for the last
    `anchors` of them.
    """

    def __init__(self, most: int, anchors: int) -> None:
        self.most, self.anchors = most, anchors
        self.dropped = 0
        self.next_id = 0
        self._held: dict[int, MapKeyframe] = {}
        self._hung: dict[int, tuple[int, NDArray[np.float64]]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[MapKeyframe]:
        """Oldest first."""
        return iter(self._held.values())

    def __getitem__(self, number: int) -> MapKeyframe:
        return self._held[number]

    def __contains__(self, number: int) -> bool:
        return number in self._held

    def insert(self, keyframe: MapKeyframe, keep: Sequence[int] = ()) -> MapKeyframe | None:
        """Take a keyframe in. Returns the one that had to go, or None. keep: ids that stay."""
        self._held[keyframe.id] = keyframe
        self.next_id = keyframe.id + 1
        if len(self._held) <= self.most:
            return None
        return self._drop({*keep, keyframe.id})

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        """Pose of a keyframe held, or of one that went; None for one never given out, or gone too long ago."""
        T = np.eye(4)
        while anchor not in self._held:
            if anchor not in self._hung:
                return None
            anchor, T_next = self._hung[anchor]
            T = T_next @ T
        out: NDArray[np.float64] = self._held[anchor].T_world_camera @ T
        return out

    def around(self, T_world_camera: NDArray[np.float64], count: int, recent: int, segment: int) -> list[MapKeyframe]:
        """The newest `recent` keyframes and those that see most alike, `count` in all, oldest first."""
        mine = [one for one in self if one.segment == segment]
        chosen = {one.id for one in mine[-recent:]} if recent else set()
        far = self.distances(T_world_camera, mine)
        for i in np.argsort(far, kind="stable"):
            if len(chosen) >= count:
                break
            chosen.add(mine[int(i)].id)
        return [one for one in mine if one.id in chosen]

    @staticmethod
    def distances(T_world_camera: NDArray[np.float64], keyframes: Sequence[MapKeyframe]) -> NDArray[np.float64]:
        """(N,) how far apart the views are: metres, and degrees at METRES_PER_DEGREE."""
        if not keyframes:
            return np.empty(0)
        poses = np.stack([one.T_world_camera for one in keyframes])
        metres = np.linalg.norm(poses[:, :3, 3] - T_world_camera[:3, 3], axis=1)
        trace = np.einsum("nij,ij->n", poses[:, :3, :3], T_world_camera[:3, :3])
        degrees = np.degrees(np.arccos(np.clip(0.5 * (trace - 1.0), -1.0, 1.0)))
        return np.asarray(metres + METRES_PER_DEGREE * degrees)

    def _drop(self, keep: set[int]) -> MapKeyframe | None:
        held = list(self)
        poses = np.stack([one.T_world_camera for one in held])
        best: tuple[float, MapKeyframe, MapKeyframe] | None = None
        metres = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=2)
        trace = np.einsum("nij,mij->nm", poses[:, :3, :3], poses[:, :3, :3])
        far = metres + METRES_PER_DEGREE * np.degrees(np.arccos(np.clip(0.5 * (trace - 1.0), -1.0, 1.0)))
        segments = np.array([one.segment for one in held])
        far[segments[:, None] != segments[None]] = 1e3
        np.fill_diagonal(far, np.inf)
        for i, one in enumerate(held):
            if one.id in keep or i == 0:
                continue
            j = int(np.argmin(far[i]))
            # Of a pair the older stays: it has drifted less.
            distance = float(far[i, j]) + (1e-6 if held[j].id > one.id else 0.0)
            if best is None or distance < best[0]:
                best = (distance, one, held[j])
        if best is None:
            return None
        _, gone, neighbour = best
        self._hung[gone.id] = (neighbour.id, pose.inverse(neighbour.T_world_camera) @ gone.T_world_camera)
        for hung, (on, T) in list(self._hung.items()):
            if on == gone.id:  # so that a chain never grows
                to, T_next = self._hung[gone.id]
                self._hung[hung] = (to, T_next @ T)
        while len(self._hung) > self.anchors:
            del self._hung[next(iter(self._hung))]
        del self._held[gone.id]
        self.dropped += 1
        return gone
