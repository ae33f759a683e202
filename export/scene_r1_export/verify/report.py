"""The comparison of an exported model with its checkpoint, case by case, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EXACT = 5e-3
"""Largest logit difference of an f32 export. Seen on random checkpoints: 1.0e-3 to 2.8e-3, at logits of ±8."""
TOLERANCE = {"F32": EXACT, "F16": 0.1, "BF16": 0.5}
"""By the coarser type of the two files; other types are lossy on purpose: their difference is reported, not judged."""
BOX_TOLERANCE_PX = 0.5


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One case. max_logit_diff: over the prompt's end and all greedy tokens. first_difference: index of the first
    greedy token that differs, None where none does. same_tokens: the prompts were the same."""

    name: str
    video: bool
    max_logit_diff: float
    same_tokens: bool
    first_difference: int | None
    max_box_error_px: float

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "max_logit_diff": _number(self.max_logit_diff),
            "same_tokens": self.same_tokens,
            "same_greedy": self.first_difference is None,
            "first_difference": self.first_difference,
            "max_box_error_px": _number(self.max_box_error_px),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All cases. reference: whether a checkpoint was there to compare with; without one the cases say only how far the
    streamed way is from the one-shot way. streamed_max_logit_diff: between these two, over the keyframe cases;
    None where there was none."""

    name: str
    quantization: str
    vision_quantization: str
    reference: bool
    cases: tuple[CaseReport, ...]
    streamed_max_logit_diff: float | None

    @property
    def tolerance(self) -> float | None:
        both = [TOLERANCE.get(self.quantization), TOLERANCE.get(self.vision_quantization)]
        judged = [tolerance for tolerance in both if tolerance is not None]
        return max(judged) if len(judged) == 2 else None

    def faults(self) -> list[str]:
        """What is wrong, in words; empty when the model may be trusted."""
        found = []
        for case in self.cases:
            if not case.same_tokens:
                found.append(f"{case.name}: the prompt is tokenised differently")
            if self.tolerance is not None and not case.max_logit_diff <= self.tolerance:
                found.append(f"{case.name}: logits differ by {case.max_logit_diff:.2g}, more than {self.tolerance:g}")
            if self.tolerance == EXACT and case.first_difference is not None:
                found.append(f"{case.name}: greedy token {case.first_difference} differs")
            if not case.max_box_error_px <= BOX_TOLERANCE_PX:
                found.append(f"{case.name}: boxes are off by {case.max_box_error_px:.2f} px")
        if self.streamed_max_logit_diff is not None and not self.streamed_max_logit_diff <= 2e-3:
            found.append(f"streaming changes logits by {self.streamed_max_logit_diff:.2g}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; None where a kind of case was not run, and for what is no number: that is among the faults."""
        pictures = [case for case in self.cases if not case.video]
        videos = [case for case in self.cases if case.video]
        return {
            "ok": not self.faults(),
            "faults": self.faults(),
            "name": self.name,
            "quantization": self.quantization,
            "vision_quantization": self.vision_quantization,
            "reference": self.reference,
            "max_logit_diff": _worst([case.max_logit_diff for case in pictures]),
            "video_max_logit_diff": _worst([case.max_logit_diff for case in videos]),
            "streamed_max_logit_diff": _number(self.streamed_max_logit_diff),
            "max_box_error_px": _worst([case.max_box_error_px for case in self.cases]),
            "same_greedy": all(case.first_difference is None for case in self.cases) if self.cases else None,
            "cases": [case.to_json() for case in self.cases],
        }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _worst(values: Sequence[float]) -> float | None:
    return None if not values or any(not math.isfinite(value) for value in values) else max(values)
