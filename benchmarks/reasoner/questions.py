"""Questions to a settled reasoner: how it is asked in the race, what it encodes for them, what a token costs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.reasoner.cache import CountedDecodes
from benchmarks.reasoner.race import Asked
from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama import LlamaReasoner

QUESTION = "the mug next to the laptop"
ANSWER_ROOM = 64
"""Tokens for what comes after the thinking."""


def limits(think_tokens: int) -> Limits:
    """A question that thinks so many tokens and then answers; greedy decoding makes it the same every time."""
    return Limits(None, think_tokens + ANSWER_ROOM, think_tokens, think_s=1e6)


def asked(reasoner: LlamaReasoner, think_tokens: int) -> Asked:
    """`when`, timed. Raises EngineFailed where a picture was encoded or the prefix was not ready: not settled."""
    before, start = reasoner.encodes, time.perf_counter_ns()
    said = reasoner.when(QUESTION, limits(think_tokens))
    total_ms = (time.perf_counter_ns() - start) / 1e6
    if said.effort.encodes or "first_token" not in said.effort.timings_ms:
        raise EngineFailed(f"the question ended {said.finish.value} with {said.effort.encodes} pictures encoded")
    first_ms = said.effort.timings_ms["first_token"]
    return Asked(first_ms, total_ms, said.effort.generated_tokens, reasoner.encodes - before)


def encodes_per_question(reasoner: LlamaReasoner) -> float:
    """Pictures through the vision tower for one question, of a `when` and an `answer`, as the reasoner counts them over
    its life. Raises EngineFailed where the two say something else of themselves."""
    before, said = reasoner.encodes, 0
    for ask in (reasoner.when, reasoner.answer):
        said += ask(QUESTION, Limits(None, 8, 0)).effort.encodes  # how much it writes makes no difference to that
    if said != reasoner.encodes - before:
        raise EngineFailed(f"two questions say {said} pictures were encoded, {reasoner.encodes - before} were counted")
    return said / 2


def decode_cost(reasoner: LlamaReasoner, think_tokens: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a token after the first, and the share of it that is not spent inside llama.cpp: Python, numpy, the
    grammar's own words, and the calls themselves. Median over rounds."""
    per_token, share = [], []
    for _ in range(rounds):
        with CountedDecodes() as native:
            start = time.perf_counter_ns()
            said = reasoner.when(QUESTION, limits(think_tokens))
            end = time.perf_counter_ns()
        first = start + said.effort.timings_ms["first_token"] * 1e6
        inside = sum(spent for began, spent in native.spent if began >= first)
        per_token.append((end - first) / 1e6 / max(1, said.effort.generated_tokens - 1))
        share.append(1.0 - inside / (end - first))
    return {
        "decode_ms_per_token": float(np.median(per_token)),
        "decode_python_share": float(np.median(share)),
        "decode_rounds": rounds,
    }
