"""Which images of two streams belong together, by time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scene_r1_engines.errors import BadInput

MAX_CANDIDATES = 64
"""Candidates for each image; streams of 1 kHz have 40 within 0.02 s."""


class CrowdedTimes(BadInput):
    """So many times lie so close together that they cannot be those of a camera."""


def associate(a_ns: Sequence[int], b_ns: Sequence[int], max_dt_ns: int) -> list[tuple[int, int]]:
    """Pairs (i, j) with |a_ns[i] - b_ns[j]| < max_dt_ns: the best pairs first, each entry at most once, by a's time.

    a_ns, b_ns: ascending times in nanoseconds. The greedy rule and its tie-breaks are those of associate.py of the
    TUM RGB-D benchmark. Raises CrowdedTimes rather than trying millions of candidates.
    """
    a, b = np.asarray(a_ns, dtype=np.int64), np.asarray(b_ns, dtype=np.int64)
    low = np.searchsorted(b, a - max_dt_ns, side="right")
    high = np.searchsorted(b, a + max_dt_ns, side="left")
    if int((high - low).sum()) > MAX_CANDIDATES * (len(a) + len(b)):
        raise CrowdedTimes(f"more than {MAX_CANDIDATES} images within {max_dt_ns / 1e9:g} s of each other")
    candidates = [
        (abs(int(a[i] - b[j])), int(i), int(j)) for i in range(len(a)) for j in range(int(low[i]), int(high[i]))
    ]
    taken_a, taken_b = set(), set()
    pairs = []
    for _, i, j in sorted(candidates):
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            pairs.append((i, j))
    return sorted(pairs)
