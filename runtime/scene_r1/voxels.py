"""Voxels of the world by their integer coordinates: keys, hashes, and the one way of finding a key in a table."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from scene_r1.jit import JIT

AXIS_BITS: Final = 20
"""Bits of a key for each axis: a million voxels along each, then it wraps around."""
AXIS_MASK: Final = (1 << AXIS_BITS) - 1


@njit(inline="always", **JIT)
def voxel_key(i, j, k):  # type: ignore[no-untyped-def]
    """The int64 key of voxel (i, j, k), negative coordinates included."""
    axis = np.int64(AXIS_MASK)
    bits = np.int64(AXIS_BITS)
    return ((i & axis) << (bits + bits)) | ((j & axis) << bits) | (k & axis)


@njit(inline="always", **JIT)
def voxel_hash(key):  # type: ignore[no-untyped-def]
    """63 well-mixed bits of a voxel key (the finaliser of SplitMix64), as a non-negative int64."""
    z = np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(1))


@njit(inline="always", **JIT)
def find_slot(key, keys, slots):  # type: ignore[no-untyped-def]
    """The slot that holds `key`, or the free one where it belongs. Open addressing, linear probing.

    slots: (power of two,) int32: 1 + the key's row in `keys`, 0 = free; at least one is free.
    """
    mask = np.int64(len(slots) - 1)
    slot = voxel_hash(key) & mask
    while slots[slot] != 0 and keys[slots[slot] - 1] != key:
        slot = (slot + 1) & mask
    return slot
