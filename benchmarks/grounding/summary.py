"""From scored questions to the figures of a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.grounding.scored import Scored
from benchmarks.percentiles import samples_needed
from scene_r1.rooms.questions.question import FIND_FAMILIES, VQA_FAMILIES

NOT_THERE = "not_found"


def summary(rows: Sequence[Scored]) -> dict[str, Any]:
    """families: of each family its n and means, as of `grounding`; `absent` has n and how many were said to be absent.
    abstention_*: of find questions, not_found being the positive. vqa_acc: mean of the families' scores (macro).
    find_latency, p50_s, p90_s: of find questions and of all, by nearest rank; supported_percentiles: those that enough
    questions stand behind.
    """
    find = [row for row in rows if row.family in FIND_FAMILIES]
    there = [row for row in find if row.there]
    vqa = [row for row in rows if row.family in VQA_FAMILIES]
    out: dict[str, Any] = {"n": len(rows), "statuses": dict(Counter(row.status for row in rows).most_common())}
    families: dict[str, Any] = {}
    for family in ("attribute", "relation"):
        families[family] = grounding([row for row in there if row.family == family])
    absent = [row for row in find if not row.there]
    families["absent"] = {"n": len(absent), "not_found": sum(row.status == NOT_THERE for row in absent)}
    for family in VQA_FAMILIES:
        own = [row for row in vqa if row.family == family]
        if own:
            families[family] = {"n": len(own), "score": _mean(own, lambda row: row.vqa)}
    out["families"] = families
    out["forms"] = {form: grounding([row for row in there if row.form == form]) for form in _forms(there)}
    out["found"] = grounding(there)
    out["large"] = grounding([row for row in there if row.large])
    out["small"] = grounding([row for row in there if not row.large])
    out["held_out"] = grounding([row for row in there if row.held_out])
    out |= abstention(find)
    scores = [families[family]["score"] for family in VQA_FAMILIES if family in families]
    out["vqa_acc"] = float(np.mean(scores)) if scores else None
    out["vqa_n"] = len(vqa)
    out["find_latency"] = latency([row.total_s for row in find])
    return out | latency([row.total_s for row in rows])


def grounding(rows: Sequence[Scored]) -> dict[str, Any]:
    """Of questions whose thing is there: n; box_iou50: share with a 2D box of IoU >= 0.5; acc25, acc50: share with a
    3D box of IoU >= 0.25 and 0.5 (ScanRefer's Acc@k); mean_iou; temporal_iou: mean. None where n is 0."""
    return {
        "n": len(rows),
        "box_iou50": _mean(rows, lambda row: float((row.box_iou or 0.0) >= 0.5)),
        "acc25": _mean(rows, lambda row: float((row.iou_3d or 0.0) >= 0.25)),
        "acc50": _mean(rows, lambda row: float((row.iou_3d or 0.0) >= 0.5)),
        "mean_iou": _mean(rows, lambda row: row.iou_3d),
        "temporal_iou": _mean(rows, lambda row: row.temporal_iou),
    }


def abstention(find: Sequence[Scored]) -> dict[str, float | None]:
    """Precision, recall and F1 of saying that a thing is not there, over all find questions."""
    said = [row for row in find if row.status == NOT_THERE]
    right = sum(not row.there for row in said)
    absent = sum(not row.there for row in find)
    precision = right / len(said) if said else None
    recall = right / absent if absent else None
    f1 = None if absent == 0 else 2.0 * right / (len(said) + absent)
    return {"abstention_precision": precision, "abstention_recall": recall, "abstention_f1": f1}


def latency(seconds: Sequence[float]) -> dict[str, Any]:
    """p50_s and p90_s by nearest rank; supported_percentiles names those with enough samples for a claim."""
    ranked = sorted(seconds)
    out: dict[str, Any] = {
        f"p{p}_s": ranked[math.ceil(len(ranked) * p / 100) - 1] if ranked else None for p in (50, 90)
    }
    out["supported_percentiles"] = [p for p in (50, 90) if len(ranked) >= samples_needed(p)]
    return out


def _forms(rows: Sequence[Scored]) -> list[str]:
    return sorted({row.form for row in rows})


def _mean(rows: Sequence[Scored], of: Callable[[Scored], float | None]) -> float | None:
    return float(np.mean([of(row) or 0.0 for row in rows])) if rows else None
