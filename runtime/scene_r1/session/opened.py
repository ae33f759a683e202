"""What a session has opened, and how it lets go of it in little time whatever is going on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol, TypeVar

from scene_r1.session.company import Company
from scene_r1.session.informer import Informer
from scene_r1.session.turn import Turn
from scene_r1.sources import FrameSource
from scene_r1.watching import Accounting
from scene_r1_engines.errors import SceneR1Error
from scene_r1_engines.reasoner import Reasoner

ELSEWHERE_S = 0.3
"""How long a question that was cancelled may take to end where closing the reasoner ends it anyway."""
HERE_S = 10.0
"""And where the reasoner is in this process: it cannot be closed under one who uses it."""
BESIDE_S = 1.5
"""For the source, the recorder and the viewer, which close beside the reasoner."""
POLL_S = 0.005
log = logging.getLogger(__name__)


class Closable(Protocol):
    def close(self) -> None: ...


One = TypeVar("One", bound=Closable)


class Opened:
    """Refers to nothing that refers to the session, so that one that is let go of unclosed takes its workers along."""

    def __init__(self, reasoner: Reasoner, company: Company, turn: Turn, closing: threading.Event) -> None:
        self.reasoner = reasoner
        self.informer: Informer | None = None
        self._company = company
        self._turn = turn
        self._closing = closing
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._closed = False

    def keep(self, one: One) -> One:
        """Close it with the rest."""
        self._stack.callback(one.close)
        return one

    def close(self, source: FrameSource | None = None) -> None:
        """Twice is fine. source: the one that runs, which is closed too."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._closing.set()
        ends_s = time.monotonic() + BESIDE_S
        beside = [_beside(self._company.close)]
        if source is not None:
            beside.append(_beside(source.close))
        if self.informer is not None:
            self.informer.close()
        elsewhere = isinstance(self.reasoner, Accounting)
        if self._at_rest(ELSEWHERE_S if elsewhere else HERE_S) or elsewhere:
            with suppress(SceneR1Error):
                self.reasoner.close()
            self._stack.close()
        else:
            log.warning("the reasoner does not come to an end: it is left as it is")
        for thread in beside:
            thread.join(max(0.0, ends_s - time.monotonic()))

    def _at_rest(self, seconds: float) -> bool:
        """Wait until nobody uses the reasoner; False where somebody still does."""
        ends_s = time.monotonic() + seconds
        while self._turn.inside or (self.informer is not None and self.informer.alive):
            if time.monotonic() > ends_s:
                return False
            time.sleep(POLL_S)
        return True


def _beside(close: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            close()
        except SceneR1Error as error:
            log.warning("while closing: %s", error)

    thread = threading.Thread(target=run, name="scene-r1-closing", daemon=True)
    thread.start()
    return thread
