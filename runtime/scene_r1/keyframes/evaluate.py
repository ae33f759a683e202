"""How well an online selection does against the policies that see everything, at every tenth of the stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.observation import Observation, ObservationSettings, Observer
from scene_r1.keyframes.offline import Universe, greedy, uniform
from scene_r1.keyframes.quality import QualityMeter
from scene_r1.keyframes.selector import Decision, KeyframeSelector, SelectionSettings

TENTHS = 10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All with the same f and the same k. Coverages are f of the policy's frames over f of all frames.

    coverage_raw*: share of the recording's voxels that the policy's frames see at all.
    min_prefix_ratio: the least f(online) / f(greedy on the same prefix) over the tenths; mean_prefix_ratio: the mean.
    ms_per_frame: thread CPU time of quality + voxels + selection, mean.
    """

    frames: int
    inserted: int
    coverage: float
    coverage_greedy: float
    coverage_uniform: float
    coverage_raw: float
    coverage_raw_greedy: float
    coverage_raw_uniform: float
    min_prefix_ratio: float
    mean_prefix_ratio: float
    ms_per_frame: float
    kept: tuple[int, ...]


def evaluate(
    frames: Iterable[RgbdFrame],
    k: int,
    settings: SelectionSettings | None = None,
    observation: ObservationSettings | None = None,
    on_decision: Callable[[Decision], None] | None = None,
) -> Evaluation:
    """Run the online selection over a recording and every offline policy beside it. Frames without a pose are skipped.

    on_decision is called after each frame, for callers who keep the keyframes.
    """
    selector = KeyframeSelector(k, settings, observation)
    observe, judge = Observer(observation), QualityMeter()
    observations: list[Observation] = []
    indices: list[int] = []
    kept_after: list[tuple[int, ...]] = []
    spent_ns = 0
    for frame in frames:
        if frame.T_world_camera is None:
            continue
        start = time.thread_time_ns()
        quality = judge(frame)
        seen = observe(frame, quality.score)
        decision = selector.consider(frame, seen, quality)
        if indices:  # the first frame compiles the kernels
            spent_ns += time.thread_time_ns() - start
        observations.append(seen)
        indices.append(frame.index)
        kept_after.append(selector.if_settled)
        if on_decision is not None:
            on_decision(decision)
    last = selector.settle()
    if on_decision is not None:
        on_decision(last)
    return compare(observations, indices, kept_after, k, selector.counters.inserted, spent_ns)


def compare(
    observations: Sequence[Observation],
    indices: Sequence[int],
    kept_after: Sequence[tuple[int, ...]],
    k: int,
    inserted: int,
    spent_ns: int,
) -> Evaluation:
    """A selection that has run, beside the offline policies, for callers who ran it themselves.

    observations, indices: of each frame with a pose, in order. kept_after: the selector's `if_settled` after
    each.
    inserted: how often a keyframe was inserted. spent_ns: thread CPU time of all frames but the first.
    """
    n = len(indices)
    if n == 0:
        return Evaluation(0, 0, *(0.0,) * 9, ())
    universe = Universe.of(observations)
    position = {index: i for i, index in enumerate(indices)}
    online = [position[index] for index in kept_after[-1]]
    offline, even = greedy(universe, k), uniform(n, k)
    everything = range(n)
    whole, whole_raw = universe.value(everything), universe.raw(everything)
    ratios = []
    for end in sorted({max(1, round(n * tenth / TENTHS)) for tenth in range(1, TENTHS + 1)}):
        best = universe.value(greedy(universe, k, end))
        value = universe.value([position[index] for index in kept_after[end - 1]])
        ratios.append(value / best if best else 1.0)

    def share(value: int, of: int) -> float:
        return value / of if of else 0.0

    return Evaluation(
        frames=n,
        inserted=inserted,
        coverage=share(universe.value(online), whole),
        coverage_greedy=share(universe.value(offline), whole),
        coverage_uniform=share(universe.value(even), whole),
        coverage_raw=share(universe.raw(online), whole_raw),
        coverage_raw_greedy=share(universe.raw(offline), whole_raw),
        coverage_raw_uniform=share(universe.raw(even), whole_raw),
        min_prefix_ratio=min(ratios),
        mean_prefix_ratio=sum(ratios) / len(ratios),
        ms_per_frame=spent_ns / max(1, n - 1) / 1e6,
        kept=kept_after[-1],
    )
