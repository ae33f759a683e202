"""Whole videos: everybody tracks the same box through the same pictures, one picture each in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sam2.race import clocked

Masks = Iterator[NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """What one candidate found and took. masks: (F, H, W) bool. wall_s, cpu_s: (F - 1,) seconds of each picture after
    the prompted one; the CPU's of all threads."""

    masks: NDArray[np.bool_]
    wall_s: NDArray[np.float64]
    cpu_s: NDArray[np.float64]

    def ious(self, other: Tracked) -> list[float]:
        """Of each picture's mask with the other's."""
        return [iou(a, b) for a, b in zip(self.masks, other.masks, strict=True)]

    def as_dict(self, reference: Tracked) -> dict[str, Any]:
        """For result.json. ratios: medians over pictures of the ratio in that picture."""
        ious = self.ious(reference)
        return {
            "iou": ious,
            "min_iou": min(ious),
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "mean_wall_s_per_frame": float(self.wall_s.mean()),
            "mean_cpu_s_per_frame": float(self.cpu_s.mean()),
            "cpu_vs_original": float(np.median(self.cpu_s / reference.cpu_s)),
            "wall_vs_original": float(np.median(self.wall_s / reference.wall_s)),
        }


def side_by_side(candidates: Mapping[str, Masks], seed: int) -> dict[str, Tracked]:
    """Ask everybody for the next mask, in an order shuffled for each picture, until the film is over."""
    rng = np.random.default_rng(seed)
    names = list(candidates)
    masks: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in names}
    times: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    over = False
    while not over:
        for i in rng.permutation(len(names)):
            mask, spent = clocked(partial(next, candidates[names[i]], None))
            if mask is None:
                over = True
            else:
                masks[names[i]].append(mask)
                times[names[i]].append(spent)
    return {name: _tracked(masks[name], times[name]) for name in names}


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W); 1 where both are empty, for they agree."""
    union = np.count_nonzero(a | b)
    return 1.0 if union == 0 else float(np.count_nonzero(a & b) / union)


def _tracked(masks: list[NDArray[np.bool_]], times: list[tuple[int, int]]) -> Tracked:
    seconds = np.array(times[1:], np.float64) / 1e9
    return Tracked(np.stack(masks), seconds[:, 0], seconds[:, 1])
