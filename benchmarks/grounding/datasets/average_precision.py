"""Average precision of segmented instances over many queries, as ScanNet's benchmark script computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OVERLAPS = tuple(round(0.5 + 0.05 * i, 2) for i in range(9))
"""0.50, 0.55 … 0.90: AP is the mean over these. The script says 0.95, but its range leaves the end out."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """One query. ious: of its prediction with each true instance, in order. confidence: None: nothing was predicted."""

    ious: tuple[float, ...]
    confidence: float | None


def average_precision(queries: Sequence[Segmented], overlap: float) -> float | None:
    """AP of one class at one IoU, in [0, 1]; None where there is no true instance.

    A prediction is right when its IoU with an instance is above `overlap`, not equal to it; it can stand for one
    instance only, the first of them. The others, and those of queries without a prediction, are missed.

    Source: `evaluate_matches` of the SceneFun3D toolkit's eval_script.py (after ScanNet's
    evaluate_semantic_instance.py) for one prediction a query: precision and recall at every distinct confidence, an
    artificial last point (1, 0), each precision weighted by half the recall between its neighbours.
    """
    instances = sum(len(query.ious) for query in queries)
    judged = [(one.confidence, any(iou > overlap for iou in one.ious)) for one in queries if one.confidence is not None]
    if instances == 0:
        return None
    if not judged:
        return 0.0
    judged.sort()
    confidences = np.array([confidence for confidence, _ in judged])
    right = np.array([hit for _, hit in judged], np.int64)
    _, first = np.unique(confidences, return_index=True)
    left_out = np.concatenate([[0], np.cumsum(right)])[first]
    hits = right.sum() - left_out  # with at least each distinct confidence
    precision = np.append(hits / (len(right) - first), 1.0)
    recall = np.append(hits / instances, 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (0.5 * (around[:-2] - around[2:])))


def mean_average_precision(queries: Sequence[Segmented]) -> float | None:
    """AP averaged over OVERLAPS; None where there is no true instance."""
    found = [average_precision(queries, overlap) for overlap in OVERLAPS]
    known = [one for one in found if one is not None]
    return sum(known) / len(known) if known else None
