"""What the reasoner is to watch, and what keeps it watching just that whatever breaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scene_r1.memory import Keyframe
from scene_r1_engines.errors import BadInput, BudgetExceeded, SceneR1Error
from scene_r1_engines.reasoner import Reasoner

Replay: TypeAlias = Callable[[], Iterable[tuple[int, NDArray[np.uint8], float]]]
"""Gives a reasoner its keyframes again: (id, (H, W, 3) uint8 RGB, seconds since the start of the recording)."""

MOST_FAILURES = 3
"""In a row, before nobody waits any longer for a reasoner that breaks."""
log = logging.getLogger(__name__)


@runtime_checkable
class Accounting(Protocol):
    """A reasoner that learns only later what was refused or lost, and says what it holds, or is still to be handed."""

    @property
    def held(self) -> frozenset[int]: ...


class Wanted:
    """The keyframes that the reasoner is to watch, and their clock: the part of a grounder that a replay needs.

    A reasoner in a worker asks for them from a thread of its own, which lives until that reasoner is let go of. So it
    gets this and not the grounder, which would else keep itself alive through that thread.
    """

    def __init__(self) -> None:
        self.start_ns: int | None = None
        """timestamp_ns of the first frame, which is 0 s; None before it."""
        self.keyframes: tuple[Keyframe, ...] = ()
        """In order of time; replaced, never changed, for it is read by that thread."""

    def again(self) -> Iterator[tuple[int, NDArray[np.uint8], float]]:
        """As a Replay; from any thread."""
        for keyframe in self.keyframes:
            yield keyframe.index, keyframe.image(), self.seconds(keyframe)

    def seconds(self, keyframe: Keyframe) -> float:
        """A keyframe's time since the start of the recording."""
        return (keyframe.timestamp_ns - (self.start_ns or 0)) / 1e9


class Watching:
    """Shows a reasoner what is wanted of it, and again what it has refused or lost. One object for one thread.

    A reasoner that breaks is noted, and what it missed is offered again with the next `show` and before a question.
    """

    def __init__(self, reasoner: Reasoner, wanted: Wanted) -> None:
        self.failures = 0
        """How often the reasoner broke while nobody asked."""
        self._reasoner = reasoner
        self._wanted = wanted
        self._fault: SceneR1Error | None = None  # the last of them, since the last question
        self._watched: set[int] = set()

    def show(self) -> None:
        """Make what the reasoner watches what is wanted, as far as it works."""
        held = {keyframe.index: keyframe for keyframe in self._wanted.keyframes}
        self._strike()
        try:
            for index in sorted(self._watched - held.keys()):
                with suppress(BadInput):  # it is not held: that is what is wanted
                    self._reasoner.forget(index)
                self._watched.discard(index)
            for index in sorted(held.keys() - self._watched):
                # what the memory holds and not the camera's picture: so a replay shows the reasoner the same pixels
                self._reasoner.watch(index, held[index].image(), self._wanted.seconds(held[index]))
                self._watched.add(index)
        except SceneR1Error as error:  # one in a worker says here what it refused a while ago
            self._note(error)
        except MemoryError as error:  # there may be some again with the next keyframe
            starved = BudgetExceeded("no memory left to show the reasoner a keyframe: ask again, or hold fewer")
            starved.__cause__ = error
            self._note(starved)

    def settle(self, now_s: float | None, deadline_ns: int) -> bool | None:
        """As Reasoner.settle; None where it broke."""
        try:
            return self._reasoner.settle(now_s, deadline_ns)
        except SceneR1Error as error:
            self._note(error)
            return None

    def mend(self) -> None:
        """Before a question: what the reasoner missed. Raises what it says if it still does not take it."""
        before, self._fault = self._fault, None
        if before is not None:
            log.warning("the reasoner failed while nobody asked: %s", before)
        for _ in range(MOST_FAILURES):
            if self.in_step:
                return
            self.show()
        if not self.in_step and self._fault is not None:
            raise self._fault

    @property
    def in_step(self) -> bool:
        """Whether the reasoner watches what is wanted."""
        self._strike()
        return self._watched == {keyframe.index for keyframe in self._wanted.keyframes}

    def _strike(self) -> None:
        """Strike off what the reasoner was shown and has refused or lost since: it is to be shown that again. What it
        is to forget stays, so that it is told to."""
        if isinstance(self._reasoner, Accounting):
            self._watched -= {keyframe.index for keyframe in self._wanted.keyframes} - self._reasoner.held

    def _note(self, error: SceneR1Error) -> None:
        self.failures += 1
        self._fault = error
        log.info("the reasoner failed, the stream goes on: %s", error)
