"""One question of a published data set, what the runtime made of it, and what a data set offers a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scene_r1.box import Box3D
from scene_r1.grounder import Task
from scene_r1_engines.errors import BadInput

Truth = TypeVar("Truth")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A question and its truth. id: the data set's own, unique in it. scene: of the data set; cases of one scene come
    together, so that it is streamed once.

    recording: what `open_source` opens, or None where it is not on this disk. truth: a type of the data set's own, for
    its scorer alone. tags: the rows of the result that it counts in, besides the row of all.
    """

    id: str
    scene: str
    recording: Path | None
    question: str
    task: Task
    truth: Any
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the runtime answered. boxes: best first; none: it abstained. points: (N, 3) float32 metres, of the object.

    Both are in the recording's world. answer: in words. failed: why there is no answer, which is never the same as an
    abstention. confidence: in [0, 1]; it ranks answers where a metric needs that.

    Raises BadInput for points or a confidence that are not these.
    """

    boxes: tuple[Box3D, ...] = ()
    points: NDArray[np.float32] | None = None
    answer: str = ""
    failed: str = ""
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise BadInput(f"a confidence lies in 0..1, got {self.confidence!r}")
        points = self.points
        if points is not None and (points.ndim != 2 or points.shape[1] != 3 or not np.all(np.isfinite(points))):
            raise BadInput(f"an outcome's points must be (N, 3) finite metres, got {points.shape} {points.dtype}")


@runtime_checkable
class Scorer(Protocol):
    """Collects outcomes and says how right they are, by the data set's published metric."""

    def add(self, case: Case, outcome: Outcome) -> None:
        """Raises BadInput for a case that was added before, whose truth is not known, or of another data set."""
        ...

    def result(self) -> dict[str, Any]:
        """Plain values. `rows`: name to {"n": …, metric: …}; a metric without cases is None."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Cases from files that somebody put on this disk. total: how many `cases` gives."""

    @property
    def name(self) -> str: ...

    @property
    def total(self) -> int: ...

    def cases(self) -> Iterator[Case]:
        """From the beginning at each call, grouped by scene. Raises BadRecording where a scene's truth is broken."""
        ...

    def scorer(self) -> Scorer: ...


def truth_of(case: Case, kind: type[Truth]) -> Truth:
    """The truth of a case. Raises BadInput when it is not of this kind."""
    if not isinstance(case.truth, kind):
        raise BadInput(f"case {case.id}: is of another data set: its truth is no {kind.__name__}")
    return case.truth
