"""Percentiles that say no when there are too few samples behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scene_r1_engines.errors import BadInput

CONFIDENCE = 0.99
PERCENTILES = (50, 90, 95, 99)


def samples_needed(percentile: int) -> int:
    """How many samples a claim on a percentile takes: 64 for p90, 130 for p95, 662 for p99, 11 for p50.

    The early-stopping rule of MLPerf Inference: the fewest samples n for which, with one of them beyond the bound, the
    bound still holds with confidence 0.99: P(Binomial(n, 1 - p) <= 1) <= 0.01. Raises BadInput outside 1..99.
    """
    if not 1 <= percentile <= 99:
        raise BadInput(f"a percentile must lie in 1..99, got {percentile!r}")
    beyond = 1.0 - percentile / 100.0
    n = 2
    while (1.0 - beyond) ** (n - 1) * (1.0 - beyond + n * beyond) > 1.0 - CONFIDENCE:
        n += 1
    return n


@dataclass(frozen=True, slots=True)
class Summary:
    """One column of a table of times. A percentile that too few samples stand behind is None.

    n: samples. min_ms, mean_ms, max_ms: of all of them; nothing is discarded. p50_ms ... p99_ms: by nearest rank, so
    each is a time that was seen, none interpolated.
    """

    n: int
    min_ms: float
    mean_ms: float
    max_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    def cell(self, percentile: int, unit: str = "ms") -> str:
        """One of PERCENTILES as a table prints it: "1.23 ms", or "n/a (n=41)" where it is None."""
        value: float | None = getattr(self, f"p{percentile}_ms")
        return f"n/a (n={self.n})" if value is None else f"{value:.3g} {unit}"


def summarise(samples_ms: ArrayLike) -> Summary:
    """Summary of times. samples_ms: (N,) finite milliseconds. Raises BadInput for none, or for NaN or infinity."""
    samples = np.sort(np.asarray(samples_ms, dtype=np.float64).ravel())
    n = len(samples)
    if n == 0 or not np.all(np.isfinite(samples)):
        raise BadInput(
            f"a summary needs one or more finite times in milliseconds, got {n} with NaN or infinity or none"
        )
    ranked: dict[int, float | None] = {
        p: float(samples[math.ceil(n * p / 100) - 1]) if n >= samples_needed(p) else None for p in PERCENTILES
    }
    return Summary(
        n=n,
        min_ms=float(samples[0]),
        mean_ms=float(samples.mean()),
        max_ms=float(samples[-1]),
        p50_ms=ranked[50],
        p90_ms=ranked[90],
        p95_ms=ranked[95],
        p99_ms=ranked[99],
    )
