"""SceneFun3D (Delitzas et al., CVPR 2024), task 2: which parts of a room a task needs to touch.

What is evaluated: of each description one instance, the points of the answer. Each of them that has a point of the
cropped laser scan within 2 cm marks the nearest one; what it marks is compared with the annotated elements, point by
point, as the toolkit's `eval/affordance_grounding` does: points labelled `exclude` count neither in the truth nor in
the prediction, one class, AP at IoU 0.25, 0.50 and the mean over 0.50 … 0.90. One instance is all that an answer has,
so a task that needs several elements is recalled in part at best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding.datasets.average_precision import Segmented, average_precision, mean_average_precision
from benchmarks.grounding.datasets.case import Case, Outcome, truth_of
from benchmarks.grounding.datasets.entries import Entry, read_entries
from benchmarks.grounding.datasets.laser_scan import LaserScan, laser_from_recording
from benchmarks.grounding.datasets.queries import select
from benchmarks.grounding.datasets.tally import OVERALL, Tally
from scene_r1 import pose
from scene_r1.sources.arkit_scenes import looks_like_arkit_scenes
from scene_r1_engines.errors import BadInput, BadRecording

TAIL = "descriptions"
EXCLUDE = "exclude"
ONE, SEVERAL = "one_element", "several_elements"


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """visit, video: their folders; video None: not on this disk. elements: of each, (N,) indices into the laser scan;
    excluded: (N,) indices that do not count."""

    visit: Path
    video: Path | None
    elements: tuple[NDArray[np.int64], ...]
    excluded: NDArray[np.int64]


class SceneFun3D:
    """`<visit>/<visit>_descriptions.json` and `<visit>_annotations.json`, `_laser_scan.ply`, `_crop_mask.npy` beside
    it, videos in `<visit>/<video>/`. Of several videos the first by name is watched.
    """

    name = "scenefun3d"

    def __init__(self, data: Path, queries: Path | None) -> None:
        found = sorted(path for path in data.glob("*/*_descriptions.json") if path.stem == f"{path.parent.name}_{TAIL}")
        if not found:
            raise BadRecording(data, f"has no <visit>/<visit>_{TAIL}.json: put SceneFun3D's visits here")
        self._described = {path.parent: read_entries(path, TAIL) for path in found}
        named = ((case_id(visit, entry), entry) for visit, entries in self._described.items() for entry in entries)
        self.selection = select(named, f"{len(found)} visits", queries)

    @property
    def total(self) -> int:
        return len(self.selection.ids)

    def cases(self) -> Iterator[Case]:
        for visit, entries in self._described.items():
            chosen = [entry for entry in entries if case_id(visit, entry) in self.selection.ids]
            if not chosen:
                continue
            video = _first_video(visit)
            annotations = read_entries(visit / f"{visit.name}_annotations.json", "annotations")
            indices = {
                one.name("annot_id"): one.wholes("indices") for one in annotations if one.text("label") != EXCLUDE
            }
            excluded = [one.wholes("indices") for one in annotations if one.text("label") == EXCLUDE]
            every = np.unique(np.concatenate([np.empty(0, np.int64), *excluded]))
            for entry in chosen:
                truth = _elements(entry, visit, video, indices, every)
                tag = ONE if len(truth.elements) == 1 else SEVERAL
                yield Case(case_id(visit, entry), visit.name, video, entry.text("description"), "find", truth, (tag,))

    def scorer(self) -> SceneFun3DScorer:
        return SceneFun3DScorer(self)


class SceneFun3DScorer:
    """ap, ap_50, ap_25 over all descriptions together, and of each row the mean IoU of what is marked with the union
    of its elements. The docstring of the module says what exactly is compared. Holds one laser scan at a time."""

    def __init__(self, dataset: SceneFun3D) -> None:
        self._dataset = dataset
        self._tally = Tally((ONE, SEVERAL), ("mean_iou",), dataset.total)
        self._segmented: dict[str, list[Segmented]] = {ONE: [], SEVERAL: [], OVERALL: []}
        self._scan: tuple[Path, LaserScan] | None = None

    def add(self, case: Case, outcome: Outcome) -> None:
        """Raises also BadRecording for annotations that point outside the laser scan, and as LaserScan does."""
        truth = truth_of(case, Elements)
        self._tally.check(case)
        if truth.video is None:
            raise BadInput(f"case {case.id}: no video of its visit is on this disk: leave it out")
        scan = self._laser(truth.visit)
        owner = _owners(truth, len(scan.xyz))
        marked = np.empty(0, np.int64)
        if outcome.points is not None and not outcome.failed:
            marked = scan.nearest(pose.apply(laser_from_recording(truth.video), outcome.points))
        marked_owner = owner[marked]
        predicted = int(np.count_nonzero(marked_owner >= 0))
        sizes = np.bincount(owner[owner > 0], minlength=len(truth.elements) + 1)[1:]
        common = np.bincount(marked_owner[marked_owner > 0], minlength=len(truth.elements) + 1)[1:]
        # an element that later ones or nothing are left of is no instance, as in the toolkit
        ious = tuple(float(c / (size + predicted - c)) for c, size in zip(common, sizes, strict=True) if size)
        segmented = Segmented(ious, outcome.confidence if predicted else None)
        whole = sizes.sum() + predicted - common.sum()
        self._tally.add(case, outcome, case.tags, {"mean_iou": float(common.sum() / whole) if whole else 0.0})
        for row in (*case.tags, OVERALL):
            self._segmented[row].append(segmented)

    def result(self) -> dict[str, Any]:
        found = self._tally.result(self._dataset.name, queries=self._dataset.selection.said)
        for row, segmented in self._segmented.items():
            found["rows"][row] |= {
                "instances": sum(len(one.ious) for one in segmented),
                "ap": mean_average_precision(segmented),
                "ap_50": average_precision(segmented, 0.5),
                "ap_25": average_precision(segmented, 0.25),
            }
        return found

    def _laser(self, visit: Path) -> LaserScan:
        if self._scan is None or self._scan[0] != visit:
            self._scan = None  # the old one goes before the new one comes: a scan has 100 MB
            self._scan = (visit, LaserScan(visit))
        return self._scan[1]


def case_id(visit: Path, entry: Entry) -> str:
    """visit and description as one name, as the toolkit names its files of truth."""
    return f"{visit.name}_{entry.name('desc_id')}"


def _elements(
    entry: Entry, visit: Path, video: Path | None, indices: dict[str, NDArray[np.int64]], excluded: NDArray[np.int64]
) -> Elements:
    names = entry.texts("annot_id")
    for name in names:
        if name not in indices:
            entry.refuse(f"annot_id {name[:60]!r} is not in {visit.name}_annotations.json")
    if not names:
        entry.refuse("it names no annotation")
    return Elements(visit, video, tuple(indices[name] for name in names), excluded)


def _owners(truth: Elements, count: int) -> NDArray[np.int64]:
    """(count,) of each laser point: 1, 2 … its element, 0 none, -1 excluded. Later elements own what two of them have,
    and an element what is excluded, as the toolkit's `prepare_gt_val_data` writes its truth."""
    owner = np.zeros(count, np.int64)
    for number, indices in ((-1, truth.excluded), *enumerate(truth.elements, 1)):
        if len(indices) and indices.max() >= count:
            path = truth.visit / f"{truth.visit.name}_annotations.json"
            raise BadRecording(
                path, f"has index {indices.max()}, but the laser scan has {count} points: get both again"
            )
        owner[indices] = number
    return owner


def _first_video(visit: Path) -> Path | None:
    folders = sorted(path for path in visit.iterdir() if path.is_dir())
    return next((path for path in folders if looks_like_arkit_scenes(path)), None)


def open_dataset(data: Path, queries: Path | None = None) -> SceneFun3D:
    """data: the folder with the visits. queries: a subset, see `read_queries`.

    Raises BadRecording naming file and entry.
    """
    return SceneFun3D(Path(data), queries)
