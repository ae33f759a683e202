"""VSI-Bench (Yang et al., CVPR 2025, arXiv 2412.14171): questions in words about a video of a room."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.grounding.datasets.case import Case, Outcome, truth_of
from benchmarks.grounding.datasets.entries import Entry, by_scene, checked_entries, read_lines
from benchmarks.grounding.datasets.queries import select
from benchmarks.grounding.datasets.scannet import ScanNet
from benchmarks.grounding.datasets.scanrefer import annotation_file
from benchmarks.grounding.datasets.tally import Tally
from benchmarks.grounding.scores import mean_relative_accuracy
from scene_r1_engines.errors import BadRecording, MissingExtra

FILES = ("test-00000-of-00001.parquet", "test.jsonl")
CHOICE = (
    "object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard", "object_rel_distance",
    "route_planning", "obj_appearance_order",
)  # fmt: skip
NUMBER = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
DIRECTIONS = CHOICE[:3]
TASKS = {
    "object_counting": ("object_counting",), "object_abs_distance": ("object_abs_distance",),
    "object_size_estimation": ("object_size_estimation",), "room_size_estimation": ("room_size_estimation",),
    "object_rel_distance": ("object_rel_distance",), "object_rel_direction": DIRECTIONS,
    "route_planning": ("route_planning",), "obj_appearance_order": ("obj_appearance_order",),
}  # fmt: skip
"""The eight columns of the paper's table 1, each the plain mean of its question types."""
BEFORE = "These are frames of a video."
AFTER_NUMBER = "Please answer the question using a single word or phrase."
AFTER_CHOICE = "Answer with the option's letter from the given choices directly."
COLUMNS = ("id", "dataset", "scene_name", "question_type", "question", "ground_truth", "options")
VIDEOS = ("arkitscenes", "ARKitScenes", "arkitscenes/raw", "ARKitScenes/raw")
SPLITS = ("", "Training", "Validation")
MAX_FILE_BYTES, MAX_ROWS, MAX_UNPACKED_BYTES = 64 << 20, 1_000_000, 1 << 30


@dataclass(frozen=True, slots=True)
class Answered:
    """kind: the question's type. answer: the right letter, or the right number as text."""

    kind: str
    answer: str


class VsiBench:
    """`test-00000-of-00001.parquet` (needs pyarrow) of a folder, else `test.jsonl`, an export of it with the same keys.

    Scenes of ScanNet are looked for as `ScanNet` says; of ARKitScenes as `arkitscenes/<video>/`, also in Training/,
    Validation/ or raw/; ScanNet++ has no reader here, so its scenes are never on this disk.
    """

    name = "vsi-bench"

    def __init__(self, path: Path, queries: Path | None) -> None:
        self.path = path
        self._data = path.parent
        self._scans = ScanNet(path.parent)
        self._entries = read_lines(path) if path.suffix != ".parquet" else read_parquet(path)
        self.selection = select(((entry.name("id"), entry) for entry in self._entries), path.name, queries)

    @property
    def total(self) -> int:
        return len(self.selection.ids)

    def cases(self) -> Iterator[Case]:
        for scene, entries in by_scene(self._entries, "scene_name"):
            for entry in entries:
                name = entry.name("id")
                if name in self.selection.ids:
                    truth = _truth(entry)
                    recording = self._recording(entry.text("dataset"), scene)
                    yield Case(name, scene, recording, prompt(entry), "vqa", truth, (truth.kind,))

    def scorer(self) -> VsiBenchScorer:
        return VsiBenchScorer(self)

    def _recording(self, dataset: str, scene: str) -> Path | None:
        if dataset == "scannet":
            return self._scans.recording(scene)
        if dataset == "arkitscenes":
            places = (self._data / place / split / scene for place in VIDEOS for split in SPLITS)
            return next((place for place in places if place.is_dir()), None)
        return None


class VsiBenchScorer:
    """Accuracy of choices and mean relative accuracy of numbers: of each question type, of each of the paper's eight
    tasks, and `average`, the plain mean of the tasks that have cases (`average_of` says how many).

    Source: section 3 of the paper and the authors' evaluation (lmms-eval task vsibench): the three kinds of relative
    direction are averaged first. Row `overall` is the mean over questions, which the paper does not print.
    """

    def __init__(self, dataset: VsiBench) -> None:
        self._dataset = dataset
        self._tally = Tally((*CHOICE, *NUMBER), ("score",), dataset.total)

    def add(self, case: Case, outcome: Outcome) -> None:
        truth = truth_of(case, Answered)
        value = 0.0 if outcome.failed else score(truth, outcome.answer)
        self._tally.add(case, outcome, (truth.kind,), {"score": value})

    def result(self) -> dict[str, Any]:
        tasks = {}
        for task, kinds in TASKS.items():
            rows = [row for row in map(self._tally.row, kinds) if row["n"]]
            mean = sum(row["score"] for row in rows) / len(rows) if rows else None
            tasks[task] = {"n": sum(row["n"] for row in rows), "score": mean}
        scored = [task["score"] for task in tasks.values() if task["n"]]
        return self._tally.result(
            self._dataset.name,
            queries=self._dataset.selection.said,
            tasks=tasks,
            average=sum(scored) / len(scored) if scored else None,
            average_of=len(scored),
        )


def prompt(entry: Entry) -> str:
    """The question as the authors' evaluation puts it: a line before it, its options, a line after it."""
    kind = _kind(entry)
    if kind in NUMBER:
        return "\n".join((BEFORE, entry.text("question"), AFTER_NUMBER))
    return "\n".join((BEFORE, entry.text("question"), "Options:", *entry.texts("options"), AFTER_CHOICE))


def score(truth: Answered, said: str) -> float:
    """In [0, 1]: of a letter, whether it is the right one; of a number, `mean_relative_accuracy`.

    Only the first word counts, without full stops at its end and whatever its case, as the authors read answers:
    "A", "a." and "A. the chair" are A, "2.4 m" is 2.4; "two", "2.4m" and "The answer is A" are wrong.
    """
    word = said.split(" ")[0].rstrip(".").strip()
    if truth.kind in CHOICE:
        return float(word.lower() == truth.answer.lower())
    number = _number(word)
    return 0.0 if number is None else mean_relative_accuracy(number, float(truth.answer))


def read_parquet(path: Path) -> tuple[Entry, ...]:
    """The rows of the published file. Raises MissingExtra without pyarrow, BadRecording for a file that it refuses."""
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra("datasets", f"reading {path.name}", f"or put it there as {FILES[1]}") from error
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadRecording(path, f"has {path.stat().st_size} bytes, more than {MAX_FILE_BYTES}: is it VSI-Bench?")
        # page checksums are optional; where they are, a damaged page is found before it is decoded
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        facts = file.metadata
        unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if facts.num_rows > MAX_ROWS or unpacked > MAX_UNPACKED_BYTES:
            raise BadRecording(
                path, f"says {facts.num_rows} rows, {unpacked} bytes: more than VSI-Bench has: get it again"
            )
        missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise BadRecording(path, f"has no column {missing[0]!r}: is it VSI-Bench?")
        rows = file.read(columns=list(COLUMNS)).to_pylist()
    except BadRecording:
        raise
    except Exception as error:
        raise BadRecording(path, f"cannot be read as Parquet ({error}): download it again") from error
    return checked_entries(path, rows)


def _truth(entry: Entry) -> Answered:
    kind, answer = _kind(entry), entry.text("ground_truth").strip()
    if kind in NUMBER and not ((number := _number(answer)) is not None and 0.0 < number < math.inf):
        entry.refuse(f"ground_truth of {kind} must be a number above 0, got {answer[:40]!r}")
    if kind in CHOICE and not (len(answer) == 1 and answer.isalpha()):
        entry.refuse(f"ground_truth of {kind} must be a letter, got {answer[:40]!r}")
    return Answered(kind, answer)


def _kind(entry: Entry) -> str:
    kind = entry.text("question_type")
    if kind not in CHOICE and kind not in NUMBER:
        entry.refuse(f"question_type {kind[:40]!r} is none of {', '.join((*CHOICE, *NUMBER))}")
    return kind


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def open_dataset(data: Path, queries: Path | None = None) -> VsiBench:
    """data: the folder of the annotation file and the recordings, or the file. queries: a subset, see `read_queries`.

    Raises BadRecording naming file and entry, MissingExtra as `read_parquet`.
    """
    return VsiBench(annotation_file(Path(data), FILES, "VSI-Bench questions"), queries)
