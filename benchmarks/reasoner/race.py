"""Questions side by side: time to the first token and to the last, of several who are asked in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Interleaved, Timing, clock_resolution
from scene_r1_engines.errors import BadInput


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, timed by who asked it. first_token_ms, total_ms: since the call. encodes: pictures through the
    vision tower meanwhile."""

    first_token_ms: float
    total_ms: float
    generated_tokens: int
    encodes: int


@dataclass(frozen=True, slots=True, eq=False)
class Race:
    """first, total: as of `benchmarks.measure`, wall clock only: their cpu_ms are NaN, for the work is on threads of
    llama.cpp. last: each one's last question."""

    first: Interleaved
    total: Interleaved
    last: Mapping[str, Asked]


def race(candidates: Mapping[str, Callable[[], Asked]], rounds: int, *, warmup_rounds: int = 1, seed: int = 0) -> Race:
    """Ask all candidates round-robin, in an order shuffled each round; warm-up rounds are asked and discarded.

    Unlike `interleaved`, never more questions than that: one may take minutes. Raises BadInput for none or no rounds.
    """
    if not candidates or rounds < 1 or warmup_rounds < 0:
        raise BadInput(f"a race takes one or more candidates and rounds, got {len(candidates)} and {rounds}")
    rng = np.random.default_rng(seed)
    names = list(candidates)
    asked: dict[str, list[Asked]] = {name: [] for name in names}
    for _ in range(warmup_rounds + rounds):
        for i in rng.permutation(len(names)):
            asked[names[i]].append(candidates[names[i]]())
    resolution, nothing = clock_resolution(), np.full(rounds, np.nan)

    def of(times: Callable[[Asked], float]) -> Interleaved:
        timings = {
            name: Timing(name, np.array([times(one) for one in all_of[warmup_rounds:]]), nothing, 1, False)
            for name, all_of in asked.items()
        }
        return Interleaved(timings, rounds, warmup_rounds, seed, False, resolution)

    return Race(
        of(lambda one: one.first_token_ms),
        of(lambda one: one.total_ms),
        {name: all_of[-1] for name, all_of in asked.items()},
    )


def pictures(count: int, side: int, seed: int) -> list[NDArray[np.uint8]]:
    """(side, side, 3) uint8 RGB pictures, all different, smooth with some grain as photographs are."""
    rng = np.random.default_rng([seed, count, side])
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        grain = rng.standard_normal((side, side, 3), dtype=np.float32) * np.float32(2.0)
        made.append(np.asarray(np.clip(smooth + grain, 0, 255), np.uint8))
    return made
