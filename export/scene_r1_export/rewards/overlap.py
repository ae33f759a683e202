"""Overlap of an answer with its truth: in time, and in a picture."""

from __future__ import annotations

from collections.abc import Iterable

from scene_r1_engines.answer_format import Window
from scene_r1_engines.reasoner import Box


def temporal_iou(window_s: Window, windows_s: Iterable[Window]) -> float:
    """The best overlap of a time span with any of the true ones: intersection / union, in [0, 1].

    A thing that is visible in several stretches is found by any of them: the answer names one. 0 where there is none.
    """
    start, end = window_s
    best = 0.0
    for true_start, true_end in windows_s:
        common = min(end, true_end) - max(start, true_start)
        if common > 0.0:
            best = max(best, common / (max(end, true_end) - min(start, true_start)))
    return best


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes of one picture, xyxy pixels, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
