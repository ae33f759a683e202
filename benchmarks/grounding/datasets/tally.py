"""Means over rows of cases, with how many stand behind each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.grounding.datasets.case import Case, Outcome
from scene_r1_engines.errors import BadInput

OVERALL = "overall"


class Tally:
    """Every case once, in the rows it belongs to and in OVERALL.

    total: how many cases the data set has, so that a part of it is never taken for all. A failed question counts with
    its values, which are those of a wrong answer.
    """

    def __init__(self, rows: Sequence[str], metrics: Sequence[str], total: int) -> None:
        self.total = total
        self._metrics = tuple(metrics)
        self._sums = {row: dict.fromkeys(metrics, 0.0) for row in (*rows, OVERALL)}
        self._counts = dict.fromkeys((*rows, OVERALL), 0)
        self._seen: set[str] = set()
        self._failed = 0

    def check(self, case: Case) -> None:
        """Raises BadInput for a case that was added before."""
        if case.id in self._seen:
            raise BadInput(f"case {case.id} was added before: an outcome counts once")

    def add(self, case: Case, outcome: Outcome, rows: Iterable[str], values: Mapping[str, float]) -> None:
        """values: of every metric. Raises BadInput for a case that was added before."""
        self.check(case)
        self._seen.add(case.id)
        self._failed += bool(outcome.failed)
        for row in (*rows, OVERALL):
            self._counts[row] += 1
            for metric in self._metrics:
                self._sums[row][metric] += values[metric]

    def row(self, name: str) -> dict[str, Any]:
        """{"n": …, metric: mean, or None without cases}."""
        n = self._counts[name]
        return {"n": n} | {metric: total / n if n else None for metric, total in self._sums[name].items()}

    def result(self, dataset: str, **more: object) -> dict[str, Any]:
        """What every scorer says. n: scored; of: in the data set; complete: whether that is all of it."""
        n = self._counts[OVERALL]
        return {
            "dataset": dataset,
            "n": n,
            "of": self.total,
            "complete": n == self.total,
            "failed": self._failed,
            **more,
            "rows": {name: self.row(name) for name in self._counts},
        }
