"""Timing calls that take seconds, on whatever threads they work: wall clock and CPU time of the whole process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from benchmarks.measure import ClockResolution, Interleaved, Timing, clock_resolution
from scene_r1_engines.errors import BadInput

Given = TypeVar("Given")


def race(
    candidates: Mapping[str, Callable[[], object]], rounds: int, *, warmup_rounds: int = 1, seed: int = 0
) -> Interleaved:
    """Call all candidates round-robin, in an order shuffled each round; warm-up rounds are run and discarded.

    Unlike `interleaved`, never more calls than that, since one may take half a minute, and the CPU time is of the
    process: what torch or ONNX Runtime do on threads of their own counts. Nothing else may run in this process.
    Raises BadInput for no candidates or no rounds.
    """
    if not candidates or rounds < 1 or warmup_rounds < 0:
        raise BadInput(f"a race takes one or more candidates and rounds, got {len(candidates)} and {rounds}")
    rng = np.random.default_rng(seed)
    names = list(candidates)
    taken: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    for _ in range(warmup_rounds + rounds):
        for i in rng.permutation(len(names)):
            taken[names[i]].append(clocked(candidates[names[i]])[1])
    timings = {name: _timing(name, all_of[warmup_rounds:]) for name, all_of in taken.items()}
    return Interleaved(timings, rounds, warmup_rounds, seed, False, _resolution())


def clocked(call: Callable[[], Given]) -> tuple[Given, tuple[int, int]]:
    """What the call gives, and the nanoseconds that it took: of the wall clock, and of the CPU in all threads."""
    wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
    given = call()
    return given, (time.perf_counter_ns() - wall_ns, time.process_time_ns() - cpu_ns)


def _timing(name: str, taken: list[tuple[int, int]]) -> Timing:
    times = np.array(taken, np.float64).reshape(-1, 2) / 1e6
    return Timing(name, times[:, 0], times[:, 1], 1, False)


def _resolution() -> ClockResolution:
    """Of the clocks that were read. process_time has the kernel's resolution of its own, far below a millisecond."""
    return ClockResolution(clock_resolution().wall_ns, round(time.get_clock_info("process_time").resolution * 1e9))
