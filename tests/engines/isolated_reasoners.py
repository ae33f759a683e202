"""The obedient reasoner in a process of its own for tests: how it is opened, waited for and seen to leave nothing."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil
from tests.engines.small_reasoners import Behaviour, open_obedient

from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish
from scene_r1_engines.worker import IsolatedReasoner
from scene_r1_engines.worker.isolated import nothing

ROOM = np.random.default_rng(5).integers(0, 60, (48, 64, 3), dtype=np.uint8)
NO_LIMITS = Limits()


def opened(behaviour: Behaviour | None = None, replay=nothing, **more) -> IsolatedReasoner:
    return IsolatedReasoner("obedient", behaviour or Behaviour(), replay, opener=open_obedient, **more)


def within(seconds: float = 5.0) -> Limits:
    return Limits(deadline_ns=time.monotonic_ns() + int(seconds * 1e9))


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "never came true"
        time.sleep(0.01)


def stands_again(reasoner: IsolatedReasoner) -> None:
    eventually(lambda: reasoner.when("", NO_LIMITS).finish is not Finish.NOT_READY)


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Checks that no descriptor, thread or process is left of what was done inside."""
    me = psutil.Process()
    before = me.num_fds(), threading.active_count(), len(me.children(recursive=True))
    yield
    gc.collect()
    eventually(lambda: threading.active_count() <= before[1])
    after = me.num_fds(), threading.active_count(), len(me.children(recursive=True))
    assert after == before, f"descriptors, threads and processes: {after} after {before}"
