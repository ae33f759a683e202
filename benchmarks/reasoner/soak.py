"""Whether a reasoner's memory stays flat: hundreds of questions, and thousands of keyframes that come and go."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.memory import flatness, rss_now_bytes
from benchmarks.reasoner.cache import settled
from benchmarks.reasoner.questions import QUESTION
from benchmarks.reasoner.race import pictures
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.llama.settings import LlamaSettings

QUESTIONS, QUICK_QUESTIONS = 500, 12
CYCLES_PER_QUESTION = 4
HELD = 4


def soaked(settings: LlamaSettings, side: int, questions: int = QUESTIONS, seed: int = 0) -> dict[str, Any]:
    """Resident memory of this process over so many questions, with four keyframes replaced before each.

    Every cycle watches a new picture, forgets the oldest keyframe, encodes and brings the prefix up to date, which is
    then decoded anew. side: of the pictures, pixels. Memory is read after each question; as `flatness` has it the first
    third is warm-up. rss_spread_percent: (max - min) / median of the rest.
    """
    shown = pictures(16, side, seed)
    limits = Limits(None, 24, 0)
    series: list[tuple[float, float]] = []
    with LlamaReasoner(settings) as reasoner:
        cycle = 0
        for number in tqdm(range(questions), desc="soak", unit="question", disable=None, leave=False):
            for _ in range(CYCLES_PER_QUESTION):
                if cycle >= HELD:
                    reasoner.forget(cycle - HELD)
                reasoner.watch(cycle, shown[cycle % len(shown)], float(cycle))
                settled(reasoner, cycle + 1e3)
                cycle += 1
            (reasoner.when if number % 2 else reasoner.answer)(QUESTION, limits)
            series.append((time.monotonic(), float(rss_now_bytes())))
        encodes = reasoner.encodes
    flat = flatness(series)
    last = np.array([rss for _, rss in series[len(series) // 3 :]])
    return {
        "questions": questions,
        "cycles": cycle,
        "encodes": encodes,
        "rss_growth_percent": 100.0 * flat.growth,
        "rss_spread_percent": 100.0 * float(np.ptp(last) / np.median(last)),
        "rss_spread_bytes": float(np.ptp(last)),
        "rss_median_bytes": float(np.median(last)),
        "flatness": asdict(flat),
    }
