"""One call of a reasoner: what it may take, and what it has cost so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.writing import Outcome
from scene_r1_engines.reasoner import Effort, Finish


class Call:
    """limits: what the call may take. encodes, late_encodes: as in Effort. prompt_tokens: decoded by the call before
    the answer's own prompt."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.encodes = self.late_encodes = self.prompt_tokens = 0
        self._began_ns = time.perf_counter_ns()
        self._spent_ns = {"encode": 0, "prefix": 0, "prefill": 0}
        self._why: Finish | None = None

    def stop(self) -> bool:
        """Whether the call is to end now: its deadline has passed, or it was cancelled. Once it was, it stays so."""
        if self._why is None:
            if self.limits.remaining_s <= 0.0:
                self._why = Finish.TIMED_OUT
            elif self.limits.cancelled():
                self._why = Finish.CANCELLED
        return self._why is not None

    @property
    def stopped(self) -> Finish:
        """Why the call was stopped."""
        assert self._why is not None
        return self._why

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time spent within counts towards that stage: encode, prefix or prefill."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self._spent_ns[name] += time.perf_counter_ns() - start

    def effort(self, outcome: Outcome | None = None) -> Effort:
        """What the call has cost. outcome: of its answer, where it came so far."""
        spent = dict(self._spent_ns)
        if outcome is None:
            return Effort(self.encodes, self.late_encodes, self.prompt_tokens, timings_ms=_ms(spent))
        spent["prefill"] += outcome.prefill_ns
        spent["decode"] = outcome.decode_ns
        if outcome.first_token_ns:
            spent["first_token"] = outcome.first_token_ns - self._began_ns
        return Effort(
            self.encodes,
            self.late_encodes,
            self.prompt_tokens + outcome.prompt_tokens,
            sum(outcome.free),
            outcome.verdict.think_forced,
            _ms(spent),
        )


def _ms(spent_ns: dict[str, int]) -> dict[str, float]:
    return {name: round(ns / 1e6, 3) for name, ns in spent_ns.items()}
