"""The voxels seen so far and how well each kept frame sees them: a hash table under a hard cap."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.jit import JIT
from scene_r1.keyframes.observation import Observation
from scene_r1.voxels import find_slot, voxel_hash
from scene_r1_engines.errors import BadConfig


class VoxelTable:
    """For each known voxel a row of q, one column for each of the k places for keyframes, and the best q ever seen.

    capacity: voxels held at the most. When it is reached, half of all voxels (chosen by a hash of their position, so
    without regard to what is in them) are dropped, now and for ever: what is left is an unbiased sample of the
    universe, `sampled` tells its share, and sums over it divided by `sampled` estimate sums over all.

    best, second, owner: of each row the two highest q and the column of the highest, as of the last `rank`.

    Memory: capacity x (2 k + 24) bytes; 65,536 voxels (650 m² of surface at 10 cm) and k = 16: 3.7 MB.
    """

    def __init__(self, k: int, capacity: int = 1 << 16) -> None:
        if not 1 <= k <= 1024:
            raise BadConfig(f"k must be in 1..1024 keyframes, got {k}")
        if not 64 <= capacity <= 1 << 24:
            raise BadConfig(f"capacity must be in 64..{1 << 24} voxels, got {capacity}")
        self.k = k
        self.capacity = capacity
        self.q = np.zeros((capacity, k), np.uint16)
        self.best_ever = np.zeros(capacity, np.uint16)
        self.best = np.zeros(capacity, np.uint16)
        self.second = np.zeros(capacity, np.uint16)
        self.owner = np.zeros(capacity, np.int16)
        self._keys = np.zeros(capacity, np.int64)
        self._slots = np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32)  # 1 + row, 0 = free
        self._size = 0
        self._halvings = 0

    def __len__(self) -> int:
        return self._size

    @property
    def sampled(self) -> float:
        """Share of the universe that is held: 1, 1/2, 1/4, ..."""
        return 0.5**self._halvings

    def rows_of(self, observation: Observation) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Rows and q of the voxels of an observation that are in the sample; voxels not known yet are added.

        Returns rows (M',) int32 and q (M',) uint16. Adding may halve the table: rows from earlier calls are void.
        """
        rows = np.empty(len(observation.keys), np.int32)
        while True:
            size = find_or_add(
                observation.keys,
                observation.q,
                self._keys,
                self._slots,
                self._size,
                self._halvings,
                self.best_ever,
                self.best,
                self.second,
                rows,
            )
            if size >= 0:
                self._size = size
                held = rows >= 0
                return rows[held], observation.q[held]
            self._halve()

    def rank(self) -> NDArray[np.int64]:
        """Bring best, second and owner up to date. Returns (k,) what f would lose without each keyframe."""
        losses = np.zeros(self.k, np.int64)
        rank(self.q[: self._size], self.best, self.second, self.owner, losses)
        return losses

    def value(self) -> int:
        """f of the kept frames, as of the last `rank`: the sum over voxels of their best q."""
        return int(self.best[: self._size].sum(dtype=np.int64))

    def value_ever(self) -> int:
        """f of all frames seen, kept or not."""
        return int(self.best_ever[: self._size].sum(dtype=np.int64))

    def covered(self) -> int:
        """Voxels that some kept frame sees."""
        return int(np.count_nonzero(self.best[: self._size]))

    def set_column(self, column: int, rows: NDArray[np.int32], q: NDArray[np.uint16]) -> None:
        """Give a place to a frame; what it held before is gone."""
        self.q[: self._size, column] = 0
        self.q[rows, column] = q

    def clear_column(self, column: int) -> None:
        self.q[: self._size, column] = 0

    def _halve(self) -> None:
        self._halvings += 1
        self._size = keep_half(self._keys, self._slots, self._size, self._halvings, self.q, self.best_ever)


@njit(inline="always", **JIT)
def _in_sample(key, halvings):  # type: ignore[no-untyped-def]
    # The high bits; the low ones choose the slot, and both from the same bits would crowd the table.
    return (voxel_hash(key) >> np.int64(40)) & np.int64((1 << halvings) - 1) == 0


@njit(**JIT)
def find_or_add(new_keys, new_q, keys, slots, size, halvings, best_ever, best, second, rows):  # type: ignore[no-untyped-def]
    """rows[m] = row of new_keys[m], -1 where it is not in the sample. Returns the new size, or -1: table full."""
    for m in range(len(new_keys)):
        key = new_keys[m]
        rows[m] = -1
        if not _in_sample(key, halvings):
            continue
        slot = find_slot(key, keys, slots)
        if slots[slot] == 0:
            if size == len(keys):
                return -1
            keys[size] = key
            best_ever[size] = 0
            best[size] = 0
            second[size] = 0
            size += 1
            slots[slot] = size
        row = slots[slot] - 1
        rows[m] = row
        best_ever[row] = max(best_ever[row], new_q[m])
    return size


@njit(**JIT)
def keep_half(keys, slots, size, halvings, q, best_ever):  # type: ignore[no-untyped-def]
    """Drop the rows that are no longer in the sample; move the others together. Returns the new size."""
    slots[:] = 0
    kept = 0
    for row in range(size):
        if not _in_sample(keys[row], halvings):
            continue
        keys[kept] = keys[row]
        best_ever[kept] = best_ever[row]
        q[kept] = q[row]
        slots[find_slot(keys[kept], keys, slots)] = kept + 1
        kept += 1
    q[kept:size] = 0
    return kept


@njit(**JIT)
def rank(q, best, second, owner, losses):  # type: ignore[no-untyped-def]
    """Two highest of each row, column of the highest (the first of equals); losses[j] = sum of best - second."""
    for row in range(len(q)):
        first = np.uint16(0)
        next_best = np.uint16(0)
        column = 0
        for j in range(q.shape[1]):
            value = q[row, j]
            if value > first:
                next_best = first
                first = value
                column = j
            elif value > next_best:
                next_best = value
        best[row], second[row], owner[row] = first, next_best, column
        losses[column] += np.int64(first) - np.int64(next_best)


@njit(**JIT)
def gains(rows, new_q, best, second, owner, loss, net):  # type: ignore[no-untyped-def]
    """What a new frame would add, and net[j] what f would gain were it to take the place of keyframe j.

    With o the keyframe that sees a voxel best: the frame adds max(q - best, 0) whichever other one leaves, and where o
    itself leaves, it saves max(second, q) - second of o's loss instead. One pass over the frame's own voxels.
    """
    add = np.int64(0)
    net[:] = 0
    for m in range(len(rows)):
        row = rows[m]
        new, first, then = np.int64(new_q[m]), np.int64(best[row]), np.int64(second[row])
        more = max(new - first, np.int64(0))
        add += more
        if first > 0:
            net[owner[row]] += max(then, new) - then - more
    for j in range(len(loss)):
        net[j] += add - loss[j]
    return add
