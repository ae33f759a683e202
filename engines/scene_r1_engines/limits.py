"""How much a question may take: tokens, seconds, and the caller's wish to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from scene_r1_engines.errors import BadConfig

MOST_TOKENS = 4096


def never() -> bool:
    """A question that nobody cancels."""
    return False


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call of a reasoner.

    deadline_ns: on time.monotonic_ns(), when work stops with `timed_out`; None = none. max_tokens: generated in all;
    where they run out the answer is `truncated`. think_tokens, think_s: budget of the thinking, after which `</think>`
    is written for the model; think_tokens = 0 switches thinking off. cancelled: asked often and from the thread that
    works; True stops with `cancelled`. search_s: of a whole question, after which no more keyframes are looked through
    for a thing that two of them have not shown yet; no bound of one call.

    Raises BadConfig for impossible values.
    """

    deadline_ns: int | None = None
    max_tokens: int = 512
    think_tokens: int = 256
    think_s: float = 20.0
    cancelled: Callable[[], bool] = never
    search_s: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= MOST_TOKENS:
            raise BadConfig(f"max_tokens must be in 1..{MOST_TOKENS}, got {self.max_tokens}")
        if not 0 <= self.think_tokens <= MOST_TOKENS:
            raise BadConfig(f"think_tokens must be in 0..{MOST_TOKENS}, got {self.think_tokens}")
        if not (math.isfinite(self.think_s) and self.think_s >= 0.0):
            raise BadConfig(f"think_s must be 0 or more seconds, got {self.think_s!r}")
        if not (math.isfinite(self.search_s) and self.search_s >= 0.0):
            raise BadConfig(f"search_s must be 0 or more seconds, got {self.search_s!r}")

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, 0 when it has passed, infinity without one."""
        if self.deadline_ns is None:
            return math.inf
        return max(0.0, (self.deadline_ns - time.monotonic_ns()) / 1e9)
