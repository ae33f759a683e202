"""Online keyframe selection: exact-swap local search with hysteresis, k frames held."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.observation import FULL, Observation, ObservationSettings, Observer
from scene_r1.keyframes.quality import Quality, QualityMeter
from scene_r1.keyframes.voxel_table import VoxelTable, gains
from scene_r1_engines.errors import BadConfig, BadFrame


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """The dial between coverage and churn. c and c_at_once are in units of f / k, the worth of an average keyframe.

    c: a frame whose swap would gain more than this becomes the candidate. The candidate goes in when no better one
    has come for `unbeaten` frames, or `patience` frames after the first, or at once when it gains more than c_at_once:
    so the best frame of a sweep goes in and not every one that is a little better than the last.
    swaps_per_1000, burst: a budget of swaps. Both thresholds are halved while `burst` swaps are left, doubled when none
    is, and rise further with debt. None: the thresholds stay as they are.
    still_m, still_deg: a frame taken no further than this from where a keyframe was taken can only take that one's
    place. Depth noise alone makes every frame look new: without this a camera at rest fills all k places with one view.
    fill: while fewer than k are held, a frame goes in when what it adds exceeds this share of its own weight.
    voxel_capacity: see VoxelTable.

    Lower thresholds and a larger budget: more coverage, more insertions (each costs the VLM an image). With c =
    c_at_once = 1, patience 1 and no budget it is the rule with the worst-case bound of 1/4 of the optimum; the default
    has no such bound, but at k = 8 and 16 at least 0.97 of offline greedy at every tenth of the streams in
    docs/benchmarks.md (k = 32: 0.93).
    """

    c: float = 0.1
    c_at_once: float = 0.5
    unbeaten: int = 3
    patience: int = 20
    swaps_per_1000: float | None = 80.0
    burst: float = 12.0
    still_m: float = 0.005
    still_deg: float = 0.2
    fill: float = 0.02
    voxel_capacity: int = 1 << 16

    def __post_init__(self) -> None:
        for name in ("c_at_once", "c", "fill", "still_m", "still_deg"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise BadConfig(f"{name} must be 0 or more, got {value!r}")
        if self.c > self.c_at_once:
            raise BadConfig(f"c must not exceed c_at_once, got {self.c} > {self.c_at_once}")
        if self.patience < 1 or self.unbeaten < 0:
            raise BadConfig(f"patience >= 1 and unbeaten >= 0 frames; got {self.patience}, {self.unbeaten}")
        budget = self.swaps_per_1000
        if budget is not None and not (math.isfinite(budget) and budget > 0.0):
            raise BadConfig(f"swaps_per_1000 must be above 0, or left out for no budget; got {budget!r}")
        if not (math.isfinite(self.burst) and self.burst > 0.0):
            raise BadConfig(f"burst must be above 0 swaps, got {self.burst!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What one offered frame led to.

    inserted: the frame that became a keyframe now (this one or one of the last few), or None. evicted: index of the
    keyframe whose place it took, or None. gain: what f gained, in voxels seen perfectly. quality: of the frame
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
        self._taken_at = np.full((k, 4, 4), np.nan)  # poses of the keyframes; NaN: no keyframe, or none that is posed
        self._loss = np.zeros(k, np.int64)
        self._net = np.zeros(k, np.int64)
        self._value = 0
        self._candidate: _Candidate | None = None
        self._waited = 0  # frames since the first candidate
        self._unbeaten = 0  # frames since this one
        self._swaps_left = self.settings.burst

    @property
    def k(self) -> int:
        return len(self._places)

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Indices of the kept frames, in order of time."""
        return tuple(sorted(index for index in self._places if index is not None))

    @property
    def if_settled(self) -> tuple[int, ...]:
        """Indices of the frames that `settle` would leave: what a question asked now is answered from."""
        places = list(self._places)
        if self._candidate is not None:
            places[self._candidate.place] = self._candidate.frame.index
        return tuple(sorted(index for index in places if index is not None))

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
        if self.settings.swaps_per_1000 is not None:
            self._swaps_left = min(self.settings.burst, self._swaps_left + self.settings.swaps_per_1000 / 1000.0)
        gain, place, least = self._best_place(frame, rows, q)
        self._waited += self._candidate is not None
        self._unbeaten += 1
        if gain > least and (self._candidate is None or gain > self._candidate.gain):
            self._candidate = _Candidate(frame, observation, gain, place)
            self._unbeaten = 0
        if not self._is_time():
            return Decision(frame.index, quality=quality)
        return replace(self.settle(frame.index), quality=quality)

    def settle(self, index: int = -1) -> Decision:
        """Insert the candidate now, if there is one: a question is asked, or the stream has ended.

        index: for the decision that is returned.
        """
        best = self._candidate
        if best is None:
            return Decision(index)
        gain_voxels = best.gain / FULL / self.table.sampled
        return Decision(index, best.frame, self._insert(best), gain_voxels)

    def _is_time(self) -> bool:
        """Whether the candidate has waited long enough, or is too good to wait."""
        s = self.settings
        if self._candidate is None:
            return False
        if None in self._places or self._waited + 1 >= s.patience or self._unbeaten >= s.unbeaten:
            return True
        return self._candidate.gain > s.c_at_once * self._strictness() * self._value / self.k

    def _strictness(self) -> float:
        """What the thresholds are multiplied by: 1/2 with all of the budget left, 2 with none, more with debt."""
        if self.settings.swaps_per_1000 is None:
            return 1.0
        return float(2.0 ** (1.0 - 2.0 * self._swaps_left / self.settings.burst))

    def forget(self, index: int) -> None:
        """Give up a keyframe (its memory was refused, its pose proved wrong); its place is free for another."""
        place = self._places.index(index)
        self._places[place] = None
        self._taken_at[place] = np.nan
        self.table.clear_column(place)
        self.counters.forgotten += 1
        self._recount()

    def clear(self) -> None:
        """Give up every keyframe, voxel and candidate, uncounted: the map has moved, and `hold` takes back what it
        still shows."""
        self.table = VoxelTable(self.k, self.settings.voxel_capacity)
        self._places = [None] * self.k
        self._taken_at[:] = np.nan
        self._recount()

    def hold(self, frame: RgbdFrame) -> None:
        """Hold a keyframe again after `clear`, whatever it adds, uncounted. Raises BadFrame where all places are taken,
        or the frame has no pose."""
        if None not in self._places or frame.T_world_camera is None:
            raise BadFrame(f"frame {frame.index} cannot be held: {self.k} are, or it has no pose")
        place = self._places.index(None)
        score = QualityMeter()(frame).score  # one of its own: it is not what the stream's next frames are compared with
        rows, q = self.table.rows_of(self._observe(frame, score))
        self.table.set_column(place, rows, q)
        self._places[place] = frame.index
        self._taken_at[place] = frame.T_world_camera
        self._recount()

    def _best_place(self, frame: RgbdFrame, rows: NDArray[np.int32], q: NDArray[np.uint16]) -> tuple[int, int, float]:
        """(gain, place, what the gain must exceed) of the best insertion or swap for a frame."""
        table = self.table
        add = int(gains(rows, q, table.best, table.second, table.owner, self._loss, self._net))
        beside = self._taken_beside(frame)
        if not beside and None in self._places:
            return add, self._places.index(None), self.settings.fill * int(q.sum(dtype=np.int64))
        held = sum(index is not None for index in self._places)
        place = max(beside or range(self.k), key=lambda j: int(self._net[j]))
        return int(self._net[place]), place, self.settings.c * self._strictness() * self._value / held

    def _taken_beside(self, frame: RgbdFrame) -> list[int]:
        """Places of keyframes taken from where this frame was taken."""
        s, here = self.settings, frame.T_world_camera
        if here is None:
            return []
        away = self._taken_at[:, :3, 3] - here[:3, 3]
        return [
            int(j)
            for j in np.flatnonzero(np.einsum("ij,ij->i", away, away) <= s.still_m**2)
            if pose.angle_deg(self._taken_at[j], here) <= s.still_deg
        ]

    def _insert(self, candidate: _Candidate) -> int | None:
        rows, q = self.table.rows_of(candidate.observation)
        evicted = self._places[candidate.place]
        self.table.set_column(candidate.place, rows, q)
        self._places[candidate.place] = candidate.frame.index
        T = candidate.frame.T_world_camera
        self._taken_at[candidate.place] = np.nan if T is None else T
        self.counters.inserted += 1
        if evicted is not None:
            self.counters.evicted += 1
            self._swaps_left -= 1.0
        self._recount()
        return evicted

    def _recount(self) -> None:
        """f and every keyframe's loss afresh; the candidate's gain was against the old set."""
        self._loss = self.table.rank()
        self._value = self.table.value()
        self._candidate = None
        self._waited = self._unbeaten = 0
