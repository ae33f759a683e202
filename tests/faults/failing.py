"""Failing the first call of something, then the second, and so on until it is not called as often: as SQLite is tested.

for nth in each_call(cv2, "imencode", MemoryError):
    with nth:
        ...  # its n-th call raises
    assert ...  # everything is as it was, or as it should have become
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from unittest.mock import patch

MOST = 500


class NthCall:
    """Within the block, the n-th call of an attribute raises. n, and whether it happened."""

    def __init__(self, owner: object, name: str, n: int, error: Callable[[], BaseException]) -> None:
        self.n = n
        self.happened = False
        self._owner, self._name, self._error = owner, name, error

    def __enter__(self) -> NthCall:
        original, calls = getattr(self._owner, self._name), count(1)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == self.n:
                self.happened = True
                raise self._error()
            return original(*args, **kwargs)

        self._patch = patch.object(self._owner, self._name, counted)
        self._patch.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._patch.stop()


def each_call(owner: object, name: str, error: Callable[[], BaseException], step: int = 1) -> Iterator[NthCall]:
    """One block after another, in which call 1, 1 + step, ... fails; the last is the first in which none did."""
    for n in range(1, MOST, step):
        nth = NthCall(owner, name, n, error)
        yield nth
        if not nth.happened:
            assert n > 1, f"{name} was never called: nothing was shown"
            return
    raise AssertionError(f"{name} is called more than {MOST} times: look at fewer with step")
