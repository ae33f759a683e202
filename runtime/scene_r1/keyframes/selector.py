"""Online keyframe selection: exact-swap local search with hysteresis, k frames held."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.observation import FULL, Observation, ObservationSettings, Observer
from scene_r1.keyframes.quality import Quality, QualityMeter
from scene_r1.keyframes.voxel_table import VoxelTable, gains
from scene_r1_engines.errors import BadConfig


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """The dial between coverage and churn. c is in units of f / k, the worth of an average keyframe.

    c_at_once: a frame whose swap gains more goes in at once. c: the best frame of the last `patience` frames goes in
    when its swap gains more than this. Lower: more coverage, more insertions (each costs the VLM an image). c_at_once
    = c = 1 is the rule with the worst-case bound of 1/4 of the optimum; the default has no worst-case bound, and
    0.97-1.0 of offline greedy in docs/benchmarks.md.
    fill: while fewer than k are held, a frame goes in when what it adds exceeds this share of its own weight.
    voxel_capacity: see VoxelTable.
    """

    c_at_once: float = 0.35
    c: float = 0.15
    patience: int = 20
    fill: float = 0.02
    voxel_capacity: int = 1 << 16

    def __post_init__(self) -> None:
        for name in ("c_at_once", "c", "fill"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise BadConfig(f"{name} must be 0 or more, got {value!r}")
        if self.c > self.c_at_once:
            raise BadConfig(f"c must not exceed c_at_once, got {self.c} > {self.c_at_once}")
        if self.patience < 1:
            raise BadConfig(f"patience must be 1 frame or more, got {self.patience}")


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What one offered frame led to.

    inserted: the frame that became a keyframe now (this one or one of the last `patience`), or None. evicted: index of
    the keyframe whose place it took, or None. gain: what f gained, in voxels seen perfectly. quality: of the frame
    offered, None where it had no pose.
    """

    index: int
    inserted: RgbdFrame | None = None
    evicted: int | None = None
    gain: float = 0.0
    quality: Quality | None = None


@dataclass(slots=True)
class SelectionCounters:
    """offered = considered + without_pose. inserted - evicted - forgotten = keyframes held."""

    offered: int = 0
    without_pose: int = 0
    inserted: int = 0
    evicted: int = 0
    forgotten: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    frame: RgbdFrame
    observation: Observation
    gain: int
    place: int


class KeyframeSelector:
    """Keeps the k frames that together see the room best: f(S) = sum over voxels of the best q of any kept frame.

    f is monotone submodular. Gains are exact whole numbers: what `Decision.gain` says is what f gained. Memory is
    bounded: the voxel table, and one candidate frame. One object for one thread.
    """

    def __init__(
        self,
        k: int = 16,
        settings: SelectionSettings | None = None,
        observation: ObservationSettings | None = None,
    ) -> None:
        self.settings = settings or SelectionSettings()
        self.table = VoxelTable(k, self.settings.voxel_capacity)
        self.counters = SelectionCounters()
        self._observe = Observer(observation)
        self._judge = QualityMeter()
        self._places: list[int | None] = [None] * k
        self._loss = np.zeros(k, np.int64)
        self._net = np.zeros(k, np.int64)
        self._value = 0
        self._candidate: _Candidate | None = None
        self._waited = 0

    @property
    def k(self) -> int:
        return len(self._places)

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Indices of the kept frames, in order of time."""
        return tuple(sorted(index for index in self._places if index is not None))

    @property
    def coverage(self) -> float:
        """f of the kept frames over f of all frames offered, in [0, 1]; 0 before the first."""
        ever = self.table.value_ever()
        return self._value / ever if ever else 0.0

    def offer(self, frame: RgbdFrame) -> Decision:
        """Consider one frame. Never raises for a frame without a pose: it is counted and left out."""
        self.counters.offered += 1
        if frame.T_world_camera is None:
            self.counters.without_pose += 1
            return Decision(frame.index)
        quality = self._judge(frame)
        return self.consider(frame, self._observe(frame, quality.score), quality)

    def consider(self, frame: RgbdFrame, observation: Observation, quality: Quality | None = None) -> Decision:
        """The second half of `offer`, for callers that have observed the frame themselves."""
        halved = self.table.sampled
        rows, q = self.table.rows_of(observation)
        if self.table.sampled != halved:
            self._recount()
        self._waited += 1
        gain, place, least = self._best_place(rows, q)
        if gain > least and (self._candidate is None or gain > self._candidate.gain):
            self._candidate = _Candidate(frame, observation, gain, place)
        best = self._candidate
        if best is None or (self._waited < self.settings.patience and best.gain <= self._at_once()):
            return Decision(frame.index, quality=quality)
        gain_voxels = best.gain / FULL / self.table.sampled
        return Decision(frame.index, best.frame, self._insert(best), gain_voxels, quality)

    def forget(self, index: int) -> None:
        """Give up a keyframe (its memory was refused, its pose proved wrong); its place is free for another."""
        place = self._places.index(index)
        self._places[place] = None
        self.table.clear_column(place)
        self.counters.forgotten += 1
        self._recount()

    def _best_place(self, rows: NDArray[np.int32], q: NDArray[np.uint16]) -> tuple[int, int, float]:
        """(gain, place, what the gain must exceed) of the best insertion or swap for a frame."""
        table = self.table
        add = int(gains(rows, q, table.best, table.second, table.owner, self._loss, self._net))
        if None in self._places:
            return add, self._places.index(None), self.settings.fill * int(q.sum(dtype=np.int64))
        place = int(np.argmax(self._net))
        return int(self._net[place]), place, self.settings.c * self._value / self.k

    def _at_once(self) -> float:
        if None in self._places:
            return 0.0
        return self.settings.c_at_once * self._value / self.k

    def _insert(self, candidate: _Candidate) -> int | None:
        rows, q = self.table.rows_of(candidate.observation)
        evicted = self._places[candidate.place]
        self.table.set_column(candidate.place, rows, q)
        self._places[candidate.place] = candidate.frame.index
        self.counters.inserted += 1
        self.counters.evicted += evicted is not None
        self._recount()
        return evicted

    def _recount(self) -> None:
        """f and every keyframe's loss afresh; the candidate's gain was against the old set."""
        self._loss = self.table.rank()
        self._value = self.table.value()
        self._candidate = None
        self._waited = 0
