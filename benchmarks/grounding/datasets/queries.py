"""A subset of a data set, by a file that names its cases: the 250 queries that several papers report on, say."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.grounding.datasets.entries import Entry, read_json
from scene_r1.sources.recorded_file import read_text
from scene_r1_engines.errors import BadRecording

COLUMNS = ("scene_id", "object_id", "ann_id")


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases that are asked. ids: theirs. in_file: how many the annotation file has. where: its name."""

    ids: frozenset[str]
    in_file: int
    where: str

    @property
    def said(self) -> str:
        """In words, for results: "all: 9508 of 9508 in ScanRefer_filtered_val.json"."""
        part = "all" if len(self.ids) == self.in_file else "subset"
        return f"{part}: {len(self.ids)} of {self.in_file} in {self.where}"


def select(named: Iterable[tuple[str, Entry]], where: str, queries: Path | None) -> Selection:
    """named: every case's id and where it is from. queries: a subset, see `read_queries`; None: all.

    Raises BadRecording for an id that is there twice, for none at all, and as `read_queries`.
    """
    ids: set[str] = set()
    for name, entry in named:
        if name in ids:
            entry.refuse(f"{name} is there twice")
        ids.add(name)
    chosen = frozenset(ids) if queries is None else read_queries(queries, ids)
    return Selection(chosen, len(ids), where)


def read_queries(path: Path, known: Collection[str]) -> frozenset[str]:
    """Ids of cases, each of them in `known`.

    A line is the parts of an id, separated by commas or white space ("scene0011_00, 5, 2"), or the id itself
    ("scene0011_00_5_2"); # begins a comment. A `.json` file holds a list of ids, of lists of their parts, or of objects
    with scene_id, object_id (where the data set has one) and ann_id.

    Raises BadRecording naming the line or entry that is not in the data set or is there twice, and for a file without
    any.
    """
    if path.suffix.lower() == ".json":
        found = _from_json(path)
    else:
        lines = enumerate(read_text(path).split("\n"), 1)
        parts = ((f"line {number}", line.split("#")[0].replace(",", " ").split()) for number, line in lines)
        found = [(where, "_".join(words)) for where, words in parts if words]
    chosen: set[str] = set()
    for where, name in found:
        if name not in known:
            raise BadRecording(path, f"{where}: {name[:80]!r} is not in the data set: correct it, or take another file")
        if name in chosen:
            raise BadRecording(path, f"{where}: {name[:80]!r} is named twice: remove one")
        chosen.add(name)
    if not chosen:
        raise BadRecording(path, "names no queries: leave --queries out for all of them")
    return frozenset(chosen)


def _from_json(path: Path) -> list[tuple[str, str]]:
    values = read_json(path)
    if not isinstance(values, list):
        raise BadRecording(path, "must hold a list of queries")
    return [(f"entry {i}", _id(path, i, value)) for i, value in enumerate(values)]


def _id(path: Path, number: int, value: Any) -> str:
    if isinstance(value, dict):
        value = [value[key] for key in COLUMNS if key in value]
    parts = value if isinstance(value, list) else [value]
    if not parts or not all(type(part) in (str, int) and len(str(part)) <= 200 for part in parts):
        raise BadRecording(path, f"entry {number}: a query is an id, or its parts {', '.join(COLUMNS)}")
    return "_".join(str(part) for part in parts)
