"""Multi3DRefer (Zhang et al., ICCV 2023, arXiv 2309.05251): none, one or several objects of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.grounding.datasets.case import Case, Outcome, truth_of
from benchmarks.grounding.datasets.entries import Entry, by_scene, read_entries
from benchmarks.grounding.datasets.queries import select
from benchmarks.grounding.datasets.scannet import ScanNet
from benchmarks.grounding.datasets.scanrefer import annotation_file
from benchmarks.grounding.datasets.tally import Tally
from scene_r1.box import Box3D, iou
from scene_r1_engines.errors import BadInput

FILES = ("multi3drefer_val.json", "multi3drefer_train.json")
ZERO_TARGET = ("zt_w_d", "zt_wo_d")
TYPES = (*ZERO_TARGET, "st_w_d", "st_wo_d", "mt")
"""Zero, single, multiple targets; with and without distractors of the same class."""
THRESHOLDS = {"f1_25": 0.25, "f1_50": 0.5}


@dataclass(frozen=True, slots=True)
class Targets:
    """boxes: of all that is meant, in the scan's axis-aligned frame; () for zero targets, None: not on this disk."""

    kind: str
    boxes: tuple[Box3D, ...] | None


class Multi3DRefer:
    """`multi3drefer_val.json` of a folder, else the training split's, with the scans around it (see `ScanNet`)."""

    name = "multi3drefer"

    def __init__(self, path: Path, queries: Path | None) -> None:
        self.path = path
        self._scans = ScanNet(path.parent)
        self._entries = read_entries(path)
        self.selection = select(((case_id(entry), entry) for entry in self._entries), path.name, queries)

    @property
    def total(self) -> int:
        return len(self.selection.ids)

    def cases(self) -> Iterator[Case]:
        for scene, entries in by_scene(self._entries, "scene_id"):
            chosen = [entry for entry in entries if case_id(entry) in self.selection.ids]
            recording = self._scans.recording(scene) if chosen else None
            boxes = {} if recording is None else self._scans.boxes(scene)
            for entry in chosen:
                kind = entry.text("eval_type")
                targets = [int(one) for one in entry.wholes("object_ids")]
                if kind not in TYPES:
                    entry.refuse(f"eval_type must be one of {', '.join(TYPES)}, got {kind[:40]!r}")
                if (kind in ZERO_TARGET) != (not targets):
                    entry.refuse(f"eval_type {kind} does not go with {len(targets)} object_ids")
                if recording is not None and (unknown := [one for one in targets if one not in boxes]):
                    entry.refuse(f"the scan {scene} has no object {unknown[0]}")
                truth = Targets(kind, None if recording is None else tuple(boxes[one] for one in targets))
                yield Case(case_id(entry), scene, recording, entry.text("description"), "find", truth, (kind,))

    def scorer(self) -> Multi3DReferScorer:
        return Multi3DReferScorer(self)


class Multi3DReferScorer:
    """Mean F1@0.25 and F1@0.5 of the queries, of each type and of all.

    F1 of a query is 2 TP / (predicted + true), TP being the pairs with at least that IoU in the assignment that
    maximises the sum of IoUs (Hungarian; one for both thresholds). With zero targets it is 1 for no box, else 0.
    Source: section 4 of the paper and `Multi3DReferEvaluator` of the authors' M3DRef-CLIP. One thing is added: a
    question that failed counts 0 even where no box is right, for it says nothing about abstention.
    """

    def __init__(self, dataset: Multi3DRefer) -> None:
        self._dataset = dataset
        self._tally = Tally(TYPES, tuple(THRESHOLDS), dataset.total)

    def add(self, case: Case, outcome: Outcome) -> None:
        truth = truth_of(case, Targets)
        if truth.boxes is None:
            raise BadInput(f"case {case.id}: its scan is not on this disk, so it cannot be scored: leave it out")
        if outcome.failed:
            values = dict.fromkeys(THRESHOLDS, 0.0)
        else:
            values = {name: f1(outcome.boxes, truth.boxes, least) for name, least in THRESHOLDS.items()}
        self._tally.add(case, outcome, (truth.kind,), values)

    def result(self) -> dict[str, Any]:
        return self._tally.result(self._dataset.name, queries=self._dataset.selection.said)


def f1(predicted: Sequence[Box3D], true: Sequence[Box3D], least_iou: float) -> float:
    """F1 of one query, see `Multi3DReferScorer`. Raises BadInput for boxes in different frames."""
    if not predicted or not true:
        return float(not predicted and not true)
    overlaps = np.array([[iou(a, b) for b in true] for a in predicted])
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    hits = int(np.count_nonzero(overlaps[rows, columns] >= least_iou))
    return 2.0 * hits / (len(predicted) + len(true))


def case_id(entry: Entry) -> str:
    """scene and description as one name, e.g. "scene0011_00_12"."""
    return f"{entry.name('scene_id')}_{entry.whole('ann_id')}"


def open_dataset(data: Path, queries: Path | None = None) -> Multi3DRefer:
    """data: the folder of the annotation file and the scans, or the file. queries: a subset, see `read_queries`.

    Raises BadRecording naming file and entry.
    """
    return Multi3DRefer(annotation_file(Path(data), FILES, "Multi3DRefer annotations"), queries)
