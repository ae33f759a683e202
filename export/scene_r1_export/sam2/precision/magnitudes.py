"""How large the values of a tensor are, counted, and the step at which eight bits lose least of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS_PER_OCTAVE, LOWEST, OCTAVES = 32, -30, 60
"""2**-30 to 2**30 in bins of 2 %: no range has to be known before the first picture."""
TRIED = 6 * BINS_PER_OCTAVE
"""Clips that are tried, from the largest value down; the last cuts at 1/64 of it."""


class Magnitudes:
    """A histogram of magnitudes, with bins of equal ratio."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS_PER_OCTAVE * OCTAVES, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values of any shape, finite ones. Zeros cost nothing at any step and are left out."""
        sizes = np.abs(values[values != 0])
        bins = np.clip((np.log2(sizes) - LOWEST) * BINS_PER_OCTAVE, 0, self._counts.size - 1)
        self._counts += np.bincount(bins.astype(np.int64), minlength=self._counts.size)

    def step(self, levels: int) -> float:
        """The step at which rounding to -levels..levels steps costs the least squared error, clipping included; 1 where
        nothing but zeros was seen.

        A value between two steps costs step**2 / 12 on average; one that rounds to zero, its square; one beyond the
        last step, the square of what is cut off.
        """
        used = np.flatnonzero(self._counts)
        if used.size == 0:
            return 1.0
        counts = self._counts[used].astype(np.float64)
        sizes = 2.0 ** ((used + 0.5) / BINS_PER_OCTAVE + LOWEST)
        largest = 2.0 ** ((used[-1] + 1) / BINS_PER_OCTAVE + LOWEST)
        clips = largest * 2.0 ** (-np.arange(TRIED) / BINS_PER_OCTAVE)
        steps = clips / levels
        costs = [
            counts @ np.where(sizes > clip, (sizes - clip) ** 2, np.minimum(sizes**2, step**2 / 12))
            for clip, step in zip(clips, steps, strict=True)
        ]
        return float(steps[int(np.argmin(costs))])
