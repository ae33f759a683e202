"""Published data sets that grounding and question answering are judged by. One table; each is imported on use.

None of them comes with this repository: each is under its own terms, and is read from where somebody put it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from benchmarks.grounding.datasets.case import Case, Dataset, Outcome, Scorer
from scene_r1_engines.errors import BadConfig

__all__ = ["DATASETS", "Case", "Dataset", "Outcome", "Scorer", "open_dataset"]

DATASETS = {
    "scanrefer": "benchmarks.grounding.datasets.scanrefer",
    "multi3drefer": "benchmarks.grounding.datasets.multi3drefer",
    "scenefun3d": "benchmarks.grounding.datasets.scenefun3d",
    "vsi-bench": "benchmarks.grounding.datasets.vsi_bench",
}
"""Name to module; the module's `open_dataset(data, queries=None)` gives the Dataset and says which files it reads."""


def open_dataset(name: str, data: Path, queries: Path | None = None) -> Dataset:
    """A data set by its name. data: its folder, or its annotation file. queries: a file that names a subset.

    Raises BadConfig for a name that is not in the table, BadRecording for what is wrong with its files.
    """
    if name not in DATASETS:
        raise BadConfig(f"there is no data set {name[:40]!r}: known are {', '.join(DATASETS)}")
    dataset: Dataset = import_module(DATASETS[name]).open_dataset(data, queries)
    return dataset
