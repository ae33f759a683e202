"""Progress of long work, on stderr, when somebody is looking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress(what: str, total: int | None, unit: str = "frame") -> Iterator[Callable[[], None]]:
    """A bar while the block runs; call what it gives once for each unit. Nothing is shown when stderr is a file."""
    with tqdm(total=total, desc=what, unit=unit, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance() -> None:
            bar.update(1)

        yield advance
