"""A real recording has no true boxes, but asking for one thing from two of its frames should give one box."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import with_progress
from scene_r1.answer import Answer, Evidence
from scene_r1.box import iou
from scene_r1.keyframes import KeyframeSelector
from scene_r1.lift import Lifter
from scene_r1.locate import locate
from scene_r1.memory import SceneMemory
from scene_r1.sources import open_source
from scene_r1.stream import remember
from scene_r1_engines.errors import BadInput
from scene_r1_engines.segmenter import open_segmenter

SEGMENTER = "depth_cut"
MEMORY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, and where it is: xyxy in pixels of the colour image of that frame."""

    query: str
    frame: int
    xyxy: tuple[float, float, float, float]


def read_queries(data: Path) -> list[Query] | None:
    """The queries.json of a recording's folder, or None where it has none. Raises BadInput for a broken one."""
    path = data / "queries.json"
    if not path.is_file():
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        queries = []
        for row in rows:
            x0, y0, x1, y1 = (float(v) for v in row["xyxy"])
            queries.append(Query(str(row["query"]), int(row["frame"]), (x0, y0, x1, y1)))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"{path}: not a list of queries ({error}): each needs query, frame and xyxy of four numbers"
        ) from error
    return queries


def ask_again(data: Path, queries: Sequence[Query], k: int) -> list[dict[str, Any]]:
    """Locate each query from its own frame, then from another that supports the first box, and compare the two.

    The other is the keyframe with the largest mask, and what is asked there is the extent of that mask. Where there is
    no first or no second box, centers_apart_cm and iou are None. Raises BadInput for a frame that is not there.
    """
    memory = SceneMemory(MEMORY_BYTES)
    with open_source(data) as source:
        frames = with_progress(source.frames(), source.info.frames, data.name)
        asked = remember(frames, KeyframeSelector(k), memory, {query.frame for query in queries})
    missing = sorted({query.frame for query in queries} - set(asked))
    if missing:
        raise BadInput(f"{data}: queries.json asks for frame {missing[0]}, which the recording does not have")
    keyframes = {keyframe.index: keyframe.frame() for keyframe in memory}
    lifter = Lifter()
    answers = []
    with open_segmenter(SEGMENTER) as segmenter:
        for query in queries:
            first = locate(asked[query.frame], query.xyxy, keyframes.values(), segmenter, lifter)
            other = _best_support(first)
            again = None
            if other is not None:
                again = locate(keyframes[other.frame], other.xyxy, keyframes.values(), segmenter, lifter)
            answers.append(_compared(query, first, other, again))
    return answers


def _best_support(answer: Answer) -> Evidence | None:
    others = [view for view in answer.evidence[1:] if view.supports]
    return max(others, key=lambda view: np.count_nonzero(view.mask), default=None)


def _compared(query: Query, first: Answer, other: Evidence | None, again: Answer | None) -> dict[str, Any]:
    a, b = first.box_3d, again.box_3d if again is not None else None
    apart_cm = None if a is None or b is None else 100.0 * float(np.linalg.norm(np.subtract(a.center, b.center)))
    return {
        "query": query.query,
        "frame": query.frame,
        "views": 0 if a is None else a.supporting_views,
        "other_frame": None if other is None else other.frame,
        "other_views": None if b is None else b.supporting_views,
        "centers_apart_cm": None if apart_cm is None else round(apart_cm, 2),
        "iou": None if a is None or b is None else round(iou(a, b), 3),
        "size_m": None if a is None else [round(side, 3) for side in a.size],
    }
