"""Timing several things side by side, so that a busy machine is busy for all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.percentiles import Summary, samples_needed, summarise
from scene_r1_engines.errors import BadInput

Clock = Literal["wall", "cpu"]
RESOLUTIONS_PER_SAMPLE = 50
"""A sample spans at least this many steps of the coarser clock, so that reading the clock is at most 2 % of it."""
MAX_SAMPLE_S = 0.2
"""Where a clock is so coarse that 50 steps of it take longer than this, the batch stops here and is marked coarse."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class ClockResolution:
    """The smallest step each clock was seen to make, reading it included. Nanoseconds."""

    wall_ns: int
    cpu_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """One candidate's times.

    wall_ms, cpu_ms: (rounds,) float64 milliseconds for one call; cpu is of the calling thread alone, so what a library
        does on threads of its own shows in wall only.
    calls_per_sample: how many calls were batched into each sample because one is too short for the clock.
    coarse: True when even so a sample spans fewer than 50 steps of a clock.
    """

    name: str
    wall_ms: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]
    calls_per_sample: int
    coarse: bool

    def summary(self, clock: Clock = "wall") -> Summary:
        return summarise(self.wall_ms if clock == "wall" else self.cpu_ms)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long `of` takes as `to`: the median over rounds of the ratio inside each round.

    low, high: 95 % bootstrap interval of that median, or None with fewer than 11 rounds.
    """

    of: str
    to: str
    clock: Clock
    median: float
    low: float | None
    high: float | None
    rounds: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.median:.2f}x (n={self.rounds})"
        return f"{self.median:.2f}x [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True, eq=False)
class Interleaved:
    """Several candidates timed in one run. Round i of every timing was taken within the same short while."""

    timings: Mapping[str, Timing]
    rounds: int
    warmup_rounds: int
    seed: int
    stopped_early: bool
    resolution: ClockResolution

    def ratio(self, of: str, to: str, clock: Clock = "wall") -> Ratio:
        """How many times as long `of` takes as `to`. Raises BadInput for an unknown name, or a clock too coarse."""
        pair = []
        for name in (of, to):
            if name not in self.timings:
                raise BadInput(f"{name!r} was not timed in this run; timed: {', '.join(self.timings)}")
            timing = self.timings[name]
            pair.append(timing.wall_ms if clock == "wall" else timing.cpu_ms)
        if np.any(pair[1] <= 0.0):
            raise BadInput(f"the {clock} clock saw no time pass in {to!r}: compare by the other clock")
        ratios = pair[0] / pair[1]
        low = high = None
        if self.rounds >= samples_needed(50):
            rng = np.random.default_rng(self.seed)
            medians = np.median(ratios[rng.integers(0, len(ratios), (RESAMPLES, len(ratios)))], axis=1)
            low, high = (float(x) for x in np.quantile(medians, (0.025, 0.975)))
        return Ratio(of, to, clock, float(np.median(ratios)), low, high, self.rounds)

    def as_dict(self) -> dict[str, Any]:
        """For result.json: how it was measured, and each candidate's summary by both clocks."""
        return {
            "rounds": self.rounds,
            "warmup_rounds_discarded": self.warmup_rounds,
            "outliers_discarded": 0,
            "order": "round-robin, shuffled anew each round",
            "seed": self.seed,
            "stopped_early": self.stopped_early,
            "clock_resolution_wall_ns": self.resolution.wall_ns,
            "clock_resolution_thread_cpu_ns": self.resolution.cpu_ns,
            "candidates": {
                name: {
                    "calls_per_sample": timing.calls_per_sample,
                    "coarse_clock": timing.coarse,
                    "wall": asdict(timing.summary("wall")),
                    "thread_cpu": asdict(timing.summary("cpu")),
                }
                for name, timing in self.timings.items()
            },
        }


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup_rounds: int = 3,
    seed: int = 0,
    limit_s: float | None = None,
) -> Interleaved:
    """Time candidates round-robin, in an order shuffled each round, so that none always follows the same other one.

    The warm-up rounds are run and discarded (compilers, caches); then it is found how many calls make a sample. After
    `limit_s` seconds no further round is begun; one round is always finished. What a candidate raises comes through.

        run = interleaved({"numba": lambda: kernel(depth), "numpy": lambda: twin(depth)}, rounds=64)
        print(run.timings["numba"].summary().cell(90), run.ratio("numpy", "numba"))

    Raises BadInput for no candidates, or fewer than one round or warm-up round.
    """
    if not candidates:
        raise BadInput("there is nothing to time: give one or more named callables")
    if rounds < 1 or warmup_rounds < 1:
        raise BadInput(f"rounds and warmup_rounds must be 1 or more, got {rounds} and {warmup_rounds}")
    resolution = clock_resolution()
    rng = np.random.default_rng(seed)
    names = list(candidates)
    for _ in range(warmup_rounds):
        for i in rng.permutation(len(names)):
            candidates[names[i]]()
    calls = {name: _calls_per_sample(call, resolution) for name, call in candidates.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    begun_ns = time.perf_counter_ns()
    done = 0
    while done < rounds:
        if done and limit_s is not None and time.perf_counter_ns() - begun_ns > limit_s * 1e9:
            break
        for i in rng.permutation(len(names)):
            taken[names[i]].append(_sample(candidates[names[i]], calls[names[i]]))
        done += 1
    timings = {name: _timing(name, taken[name], calls[name], resolution) for name in names}
    return Interleaved(timings, done, warmup_rounds, seed, done < rounds, resolution)


def clock_resolution(readings: int = 300) -> ClockResolution:
    """The median smallest step of `perf_counter_ns` and `thread_time_ns` on this machine, by reading them in a row."""
    return ClockResolution(_step_ns(time.perf_counter_ns, readings), _step_ns(time.thread_time_ns, readings))


def _step_ns(clock: Callable[[], int], readings: int) -> int:
    steps: list[int] = []
    end_ns = time.perf_counter_ns() + 500_000_000  # a clock of 10 ms ticks gives 50 readings, which is enough
    while len(steps) < readings and (time.perf_counter_ns() < end_ns or not steps):
        first = later = clock()
        while later == first:
            later = clock()
        steps.append(later - first)
    return int(np.median(steps))


def _sample(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """Wall and thread CPU nanoseconds for one call, the mean over `calls` of them."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - wall) / calls, (time.thread_time_ns() - cpu) / calls


def _calls_per_sample(call: Callable[[], object], resolution: ClockResolution) -> int:
    """Double the calls until a sample spans enough steps of the clock: one short call alone cannot tell."""
    wanted_ns = min(_wanted_ns(resolution), MAX_SAMPLE_S * 1e9)
    calls = 1
    # A machine that pauses makes one sample long; hardly three in a row.
    while any(_sample(call, calls)[0] * calls < wanted_ns for _ in range(3)):
        calls *= 2
    return calls


def _wanted_ns(resolution: ClockResolution) -> float:
    return RESOLUTIONS_PER_SAMPLE * max(resolution.wall_ns, resolution.cpu_ns)


def _timing(name: str, taken: list[tuple[float, float]], calls: int, resolution: ClockResolution) -> Timing:
    times = np.array(taken, dtype=np.float64)
    span_ns = float(np.median(times[:, 0])) * calls
    # A tenth is forgiven: the sample that set the batch may have been a slow one.
    coarse = span_ns < 0.9 * _wanted_ns(resolution)
    return Timing(name, times[:, 0] / 1e6, times[:, 1] / 1e6, calls, coarse)
