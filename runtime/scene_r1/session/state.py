"""The states of a session, which of them may follow which, and why it is not at its best."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from scene_r1_engines.errors import BadState


class State(str, Enum):
    """CREATED: nothing is open yet. READY: the engines are, no frame has come. RUNNING: frames come. DEGRADED: part of
    it is missing (the pose, the camera, the recording); questions are answered all the same. CLOSED: for good."""

    CREATED = "created"
    READY = "ready"
    RUNNING = "running"
    DEGRADED = "degraded"
    CLOSED = "closed"


FOLLOWS: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.READY, State.CLOSED}),
    State.READY: frozenset({State.RUNNING, State.DEGRADED, State.CLOSED}),
    State.RUNNING: frozenset({State.DEGRADED, State.CLOSED}),
    State.DEGRADED: frozenset({State.RUNNING, State.CLOSED}),
    State.CLOSED: frozenset(),
}
"""What may come after each state. DEGRADED from READY: the camera may be gone before its first frame."""
OPEN = frozenset({State.READY, State.RUNNING, State.DEGRADED})
"""In which frames are taken and questions answered."""
DO = {
    State.CREATED: "call start(), or make it with Session.open()",
    State.CLOSED: "open another",
}


class States:
    """The state of one session. For several threads. told: called with every state that is entered, and why."""

    def __init__(self, told: Callable[[State, tuple[str, ...]], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._state = State.CREATED
        self._told = told

    @property
    def now(self) -> State:
        return self._state

    def enter(self, state: State, reasons: tuple[str, ...] = ()) -> None:
        """Raises BadState, naming both, for one that may not follow."""
        with self._lock:
            if state not in FOLLOWS[self._state]:
                raise BadState(self._refused(f"become {state.value}"))
            self._state = state
        if self._told is not None:
            self._told(state, reasons)

    def look(self, reasons: tuple[str, ...]) -> None:
        """Become degraded where there are reasons to be, and running where there are none any more; only from one of
        the two to the other, or from READY to DEGRADED."""
        with self._lock:
            state = State.DEGRADED if reasons else State.RUNNING
            if state is self._state or self._state not in OPEN or (self._state is State.READY and not reasons):
                return
            self._state = state
        if self._told is not None:
            self._told(state, reasons)

    def require(self, what: str) -> None:
        """Raises BadState where `what` (such as "ask") needs a session that is open, and it is not."""
        if self._state not in OPEN:
            raise BadState(self._refused(what))

    def _refused(self, what: str) -> str:
        hint = DO.get(self._state)
        return f"a session that is {self._state.value} cannot {what}" + (f": {hint}" if hint else "")
