"""Whose turn it is to ask: one question is answered, one waits, the next is told so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from scene_r1_engines.errors import Busy
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish

POLL_S = 0.02
MOST = 2
"""Questions in here at a time: the one that is answered, and the one that waits."""


class Turn:
    """For many threads, first come first served, as there is never more than one that waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine = threading.Lock()
        self._inside = 0

    @property
    def inside(self) -> int:
        """Questions that are answered or wait."""
        return self._inside

    @contextmanager
    def taken(self, limits: Limits) -> Iterator[Finish | None]:
        """The block runs when it is this question's turn. Gives how the limits ended the waiting, None where they did
        not. Raises Busy where one waits already."""
        with self._lock:
            if self._inside >= MOST:
                raise Busy("a question is being answered and another one waits: ask again when one of them is done")
            self._inside += 1
        try:
            finish = self._waited(limits)
            try:
                yield finish
            finally:
                if finish is None:
                    self._mine.release()
        finally:
            with self._lock:
                self._inside -= 1

    def _waited(self, limits: Limits) -> Finish | None:
        while not self._mine.acquire(timeout=POLL_S):
            if limits.cancelled():
                return Finish.CANCELLED
            if limits.remaining_s <= 0.0:
                return Finish.TIMED_OUT
        return None
