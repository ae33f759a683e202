"""ScanRefer (Chen et al., ECCV 2020, arXiv 1912.08830): one object of a scan from its description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.grounding.datasets.case import Case, Outcome, truth_of
from benchmarks.grounding.datasets.entries import Entry, by_scene, read_entries
from benchmarks.grounding.datasets.nyu_classes import OTHERS, labels_file, read_classes
from benchmarks.grounding.datasets.queries import select
from benchmarks.grounding.datasets.scannet import ScanNet
from benchmarks.grounding.datasets.tally import Tally
from scene_r1.box import Box3D, iou
from scene_r1_engines.errors import BadInput, BadRecording

FILES = ("ScanRefer_filtered_val.json", "ScanRefer_filtered_train.json")
UNIQUE, MULTIPLE = "unique", "multiple"
THRESHOLDS = {"acc_25": 0.25, "acc_50": 0.5}


@dataclass(frozen=True, slots=True)
class Referred:
    """box: of the object, in the scan's axis-aligned frame; None where the scan is not on this disk."""

    box: Box3D | None


class ScanRefer:
    """`ScanRefer_filtered_val.json` of a folder, else the training split's, with the scans around it (see `ScanNet`).

    unique_by: "nyu40" where ScanNet's table of labels is there, else "object_name", which is not the published
    definition: it calls more objects unique.
    """

    name = "scanrefer"

    def __init__(self, path: Path, queries: Path | None) -> None:
        self.path = path
        self._scans = ScanNet(path.parent)
        self._entries = read_entries(path)
        labels = labels_file(path.parent)
        self._classes = None if labels is None else read_classes(labels)
        self.unique_by = "object_name" if labels is None else "nyu40"
        self.selection = select(((case_id(entry), entry) for entry in self._entries), path.name, queries)

    @property
    def total(self) -> int:
        return len(self.selection.ids)

    def cases(self) -> Iterator[Case]:
        for scene, entries in by_scene(self._entries, "scene_id"):
            # of the whole file, as published: a subset must not make an object unique
            uniques = self._uniques(entries)
            chosen = [entry for entry in entries if case_id(entry) in self.selection.ids]
            recording = self._scans.recording(scene) if chosen else None
            boxes = {} if recording is None else self._scans.boxes(scene)
            for entry in chosen:
                target = entry.whole("object_id")
                if recording is not None and target not in boxes:
                    entry.refuse(f"the scan {scene} has no object {target}")
                tag = UNIQUE if target in uniques else MULTIPLE
                truth = Referred(boxes.get(target))
                yield Case(case_id(entry), scene, recording, entry.text("description"), "find", truth, (tag,))

    def scorer(self) -> ScanReferScorer:
        return ScanReferScorer(self)

    def _uniques(self, entries: list[Entry]) -> set[int]:
        """Ids of the objects whose class no other object has that the file describes in this scene.

        Source: `_get_unique_multiple_lookup` of ScanRefer's lib/dataset.py: objects that nobody described do not count,
        and all of class "others" are of one class.
        """
        classes = {entry.whole("object_id"): self._class(entry) for entry in entries}
        counts = Counter(classes.values())
        return {target for target, one in classes.items() if counts[one] == 1}

    def _class(self, entry: Entry) -> str:
        name = " ".join(entry.text("object_name").split("_"))
        return name if self._classes is None else self._classes.get(name, OTHERS)


class ScanReferScorer:
    """Acc@0.25 and Acc@0.5: the share of queries whose answer's first box has an IoU of at least that with the truth.

    An answer without a box is wrong. `queries` of the result says which part of which file these figures are of: those
    of the full validation split, 9,508 queries, and of a subset must not be compared.
    """

    def __init__(self, dataset: ScanRefer) -> None:
        self._dataset = dataset
        self._tally = Tally((UNIQUE, MULTIPLE), tuple(THRESHOLDS), dataset.total)

    def add(self, case: Case, outcome: Outcome) -> None:
        truth = truth_of(case, Referred).box
        if truth is None:
            raise BadInput(f"case {case.id}: its scan is not on this disk, so it cannot be scored: leave it out")
        overlap = iou(outcome.boxes[0], truth) if outcome.boxes and not outcome.failed else 0.0
        values = {name: float(overlap >= least) for name, least in THRESHOLDS.items()}
        self._tally.add(case, outcome, case.tags, values)

    def result(self) -> dict[str, Any]:
        dataset = self._dataset
        return self._tally.result(dataset.name, queries=dataset.selection.said, unique_by=dataset.unique_by)


def case_id(entry: Entry) -> str:
    """scene, object and description as one name, e.g. "scene0011_00_5_2"."""
    return f"{entry.name('scene_id')}_{entry.whole('object_id')}_{entry.whole('ann_id')}"


def annotation_file(data: Path, names: tuple[str, ...], what: str) -> Path:
    """The file itself, or the first of these names that its folder has. Raises BadRecording when there is none."""
    if data.is_file():
        return data
    for name in names:
        if (data / name).is_file():
            return data / name
    raise BadRecording(data, f"has no {what}: put {' or '.join(names)} here, or name the file itself")


def open_dataset(data: Path, queries: Path | None = None) -> ScanRefer:
    """data: the folder of the annotation file and the scans, or the file. queries: a subset, see `read_queries`.

    Raises BadRecording naming file and entry.
    """
    return ScanRefer(annotation_file(Path(data), FILES, "ScanRefer annotations"), queries)
