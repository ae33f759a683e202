"""Policies that see the whole recording, to judge the online one by. Memory grows with the recording."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.keyframes.observation import Observation


@dataclass(frozen=True, slots=True, eq=False)
class Universe:
    """All frames of a recording over one numbering of its voxels.

    rows[i], q[i]: voxels (int64, 0 <= row < size) and weights of frame i, as `Observation`.
    """

    rows: tuple[NDArray[np.int64], ...]
    q: tuple[NDArray[np.int64], ...]
    size: int

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Universe:
        keys = np.unique(np.concatenate([o.keys for o in observations])) if observations else np.empty(0, np.int64)
        rows = tuple(np.searchsorted(keys, o.keys) for o in observations)
        return cls(rows, tuple(o.q.astype(np.int64) for o in observations), len(keys))

    def __len__(self) -> int:
        return len(self.rows)

    def best(self, frames: Sequence[int]) -> NDArray[np.int64]:
        """(size,) best q of each voxel over the given frames."""
        out = np.zeros(self.size, np.int64)
        for i in frames:
            np.maximum.at(out, self.rows[i], self.q[i])
        return out

    def value(self, frames: Sequence[int]) -> int:
        """f of a set of frames."""
        return int(self.best(frames).sum())

    def raw(self, frames: Sequence[int]) -> int:
        """How many voxels a set of frames sees at all."""
        return int(np.count_nonzero(self.best(frames)))


def greedy(universe: Universe, k: int, frames: int | None = None) -> list[int]:
    """Offline lazy greedy (Minoux 1978) over the first `frames` frames: at least 1 - 1/e of the best k of them."""
    best = np.zeros(universe.size, np.int64)
    heap = [(-int(universe.q[i].sum()), i, 0) for i in range(len(universe) if frames is None else frames)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < k:
        _, i, round_of_gain = heapq.heappop(heap)
        if round_of_gain == len(chosen):
            best[universe.rows[i]] = np.maximum(best[universe.rows[i]], universe.q[i])
            chosen.append(i)
        else:
            gain = int(np.maximum(universe.q[i] - best[universe.rows[i]], 0).sum())
            heapq.heappush(heap, (-gain, i, len(chosen)))
    return chosen


def uniform(frames: int, k: int) -> list[int]:
    """k frames evenly in time, first and last among them."""
    return sorted({round(x) for x in np.linspace(0, frames - 1, min(k, frames))})
