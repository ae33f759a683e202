"""What an answer is: a status, a metric 3D box, and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.box import Box3D

if TYPE_CHECKING:
    from scene_r1.memory import Keyframe


class Status(str, Enum):
    """How a question ended. A fault of the runtime is never one of these: it is raised."""

    OK = "ok"
    NOT_FOUND = "not_found"
    TRUNCATED = "truncated"
    TIMED_OUT = "timed_out"
    NOT_READY = "not_ready"

    @property
    def exit_code(self) -> int:
        """What the command line returns: 0 ok, 3 not found, 4 for work that was not finished."""
        return {Status.OK: 0, Status.NOT_FOUND: 3}.get(self, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One view that was looked at. frame: its index in the source.

    mask: (H, W) bool, pixels of its colour image. xyxy: the mask's extent, or the box asked about. score: the
    segmenter's. supports: whether the view agrees with the box in 3D. found_by: "prompt" where the mask comes from a 2D
    box in this view, "memory" where from what the segmenter remembers of other views, "hint" where from the object's
    points reprojected into this one; "" where it does not say or found nothing.
    """

    frame: int
    xyxy: tuple[float, float, float, float]
    mask: NDArray[np.bool_]
    score: float
    supports: bool
    found_by: str = ""


@dataclass(frozen=True, slots=True)
class Box2D:
    """Where the model saw the thing. frame: its index in the source. xyxy: pixels of its colour image. label: the
    model's own word for it."""

    frame: int
    xyxy: tuple[float, float, float, float]
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """What an answer knows of the stream that it was given in.

    stale_ms: since the newest frame came in. evidence_age_ms: since the newest view that shows the thing did; None
    without a view. Both on the host's clock, when the answer was done.
    revision: of the map of poses. anchor: what the box hangs on there, and T_world_anchor, (4, 4), where that was; -1
    and None where it hangs on nothing. keyframes: those of the evidence, in its order, as they were then.
    """

    stale_ms: float | None
    evidence_age_ms: float | None
    revision: int
    anchor: int = -1
    T_world_anchor: NDArray[np.float64] | None = None
    keyframes: tuple[Keyframe, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Ages and revision, as plain numbers."""
        ages = {"stale_ms": self.stale_ms, "evidence_age_ms": self.evidence_age_ms}
        return {**{name: None if ms is None else round(ms, 1) for name, ms in ages.items()}, "revision": self.revision}


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The box and where it comes from. reason: why the status is not ok, in words for people; empty when it is.

    engine: which engine did what, e.g. {"segmenter": "depth_cut"}; degraded: those that are stand-ins for learned
    ones. xyz, rgb: the object's points, (N, 3) float32 metres in the world and uint8.

    Of a question that was asked of a model: answer: its words, or its word for the thing that was found. rationale:
    what it thought. window_s: (start, end) seconds since the start of the recording in which it saw the thing.
    boxes_2d: all that it pointed at. confidence: in [0, 1], see `ask.confidence`; 0 unless ok, None where no model was
    asked. late_encodes: keyframes that had to be encoded while the question waited.

    timings_ms: by stage; a name with a dot is a part of the stage before it, and `total` is all of it.

    live: of an answer that was given while frames came in: how old it is, and what moves it with the map.
    """

    status: Status
    box_3d: Box3D | None
    engine: Mapping[str, str]
    timings_ms: Mapping[str, float]
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    degraded: tuple[str, ...] = ()
    xyz: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 3), np.float32))
    rgb: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 3), np.uint8))
    answer: str = ""
    rationale: str = ""
    window_s: tuple[float, float] | None = None
    boxes_2d: tuple[Box2D, ...] = ()
    confidence: float | None = None
    late_encodes: int = 0
    live: Live | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but masks and points, as plain numbers; no NaN."""
        return {
            "status": self.status.value,
            "reason": self.reason,
            "answer": self.answer,
            "rationale": self.rationale,
            "window_s": None if self.window_s is None else [round(t, 3) for t in self.window_s],
            "boxes_2d": [
                {"frame": box.frame, "xyxy": [round(v, 2) for v in box.xyxy], "label": box.label}
                for box in self.boxes_2d
            ],
            "box_3d": None if self.box_3d is None else self.box_3d.to_json(),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "engine": dict(self.engine),
            "degraded": list(self.degraded),
            "points": len(self.xyz),
            "views": [
                {
                    "frame": view.frame,
                    "xyxy": [round(v, 2) for v in view.xyxy],
                    "mask_px": int(np.count_nonzero(view.mask)),
                    "score": round(view.score, 3),
                    "supports": view.supports,
                    "found_by": view.found_by,
                }
                for view in self.evidence
            ],
            "timings_ms": dict(self.timings_ms),
            "late_encodes": self.late_encodes,
            **({} if self.live is None else self.live.to_json()),
        }
