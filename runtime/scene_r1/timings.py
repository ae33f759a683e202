"""Where the time of an answer went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Wall-clock milliseconds by stage; a stage that runs several times is summed."""

    def __init__(self) -> None:
        self._spent_ns: dict[str, int] = {}
        self._start_ns = time.perf_counter_ns()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of stage `name`."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self._spent_ns[name] = self._spent_ns.get(name, 0) + time.perf_counter_ns() - start

    @property
    def total_s(self) -> float:
        """Seconds since this object was made."""
        return (time.perf_counter_ns() - self._start_ns) / 1e9

    def add(self, name: str, ms: float) -> None:
        """What somebody else has timed. A name with a dot, such as `when.decode`, is a part of the stage before it."""
        self._spent_ns[name] = self._spent_ns.get(name, 0) + round(ms * 1e6)

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, rounded to the microsecond, and `total` since this object was made."""
        total = {"total": self.total_s * 1e9}
        return {name: round(ns / 1e6, 3) for name, ns in {**self._spent_ns, **total}.items()}
