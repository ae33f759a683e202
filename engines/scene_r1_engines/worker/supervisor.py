"""Keeps a worker standing: starts it, hands it orders, and when it dies starts another with the same keyframes."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BudgetExceeded, EngineFailed, SceneR1Error
from scene_r1_engines.worker.messages import Ask, Forget, Reply, Settled, Standing, Watch
from scene_r1_engines.worker.parcels import Parcel, Parcels
from scene_r1_engines.worker.process import WorkerProcess

_log = logging.getLogger(__name__)

Replay: TypeAlias = Callable[[], Iterable[tuple[int, NDArray[np.uint8], float]]]
"""Gives the caller's keyframes once more: (id, image, timestamp_s), those of `watch`."""

LOOK_S = 0.25
"""How often the watchdog looks."""
FIRST_REST_S, MOST_REST_S = 0.2, 5.0
"""Before a second start in a row, doubled for each further one."""
MOST_FAULTS = 16


class State(Enum):
    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    BROKEN = "broken"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Patience:
    """See IsolatedReasoner. step_s: for one step of settling, for taking a keyframe, or for a question that is due."""

    start_s: float
    grace_s: float
    step_s: float
    restarts: int


class _Died(Exception):
    """The worker is no more, or has to be killed; the message says why where its own end does not."""


class Supervisor:
    """One thread that owns the worker; everything else here is called by the callers' threads.

    changed: held to read or change anything below it, and notified of each change.
    """

    def __init__(self, order: bytes, parcels: Parcels, replay: Replay, patience: Patience, niceness: int = 0) -> None:
        self.changed = threading.Condition()
        self.state = State.STARTING
        self.parcels = parcels
        self.standing: Standing | None = None
        self.failure: SceneR1Error | None = None
        """Why the worker died last; raised by every call once the state is BROKEN."""
        self.faults: deque[SceneR1Error] = deque(maxlen=MOST_FAULTS)
        """Errors of work that nobody waited for, to be raised by the next call that may."""
        self.refusals: dict[int, SceneR1Error] = {}
        """Why the worker did not take keyframes, by id: a question raises these too, for it is about all that the
        caller wants held. No more than waited at once: `watch` raises them first."""
        self.deaths = 0
        self._deaths_in_a_row = 0
        self._order = order
        self._replay = replay
        self._patience = patience
        self._niceness = niceness
        self._worker: WorkerProcess | None = None
        self._in_hand: Parcel | None = None
        self._handed = 0
        self._settled_after = -1
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._run, name="scene-r1-worker", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        return None if self._worker is None else self._worker.pid

    @property
    def grace_s(self) -> float:
        return self._patience.grace_s

    @property
    def settled(self) -> bool:
        """The worker has nothing left to do of all that it was ever told."""
        at_rest = self._in_hand is None and self.parcels.empty
        return self.state is State.UP and at_rest and self._settled_after == self._handed

    def hand_over(self) -> None:
        """Give the worker its next order, when it waits for one. It has one at a time: so no pipe is ever full, and
        what it has not begun is still here when it dies."""
        while self.state is State.UP and self._in_hand is None:
            parcel = self.parcels.take()
            if parcel is None:
                return
            self._hand(parcel)

    def has_begun(self, parcel: Parcel) -> bool:
        """Whether the worker works on it, and does not only have it before it while it ends a step of settling."""
        worker = self._worker
        return worker is not None and parcel is self._in_hand and worker.block.taken == self._handed

    def cancel(self, number: int) -> None:
        if self._worker is not None and not self._is_closed():
            self._worker.block.cancelled = number

    def check(self) -> None:
        """Raises EngineFailed after `close`, and the last failure when no worker is started any more."""
        if self.state is State.CLOSED:
            raise EngineFailed("the reasoner is closed: open another")
        if self.state is State.BROKEN:
            raise EngineFailed(f"the reasoner is given up: {self.failure}")

    def raise_refusal(self) -> None:
        """Raises the oldest refusal of a keyframe that nobody was told of, once."""
        if self.refusals:
            raise self.refusals.pop(next(iter(self.refusals)))

    def forget(self, keyframe_id: int) -> None:
        """As Parcels.forget; and no question raises any more why it was refused."""
        if keyframe_id in self.refusals:
            self.faults.append(self.refusals.pop(keyframe_id))
        self.parcels.forget(keyframe_id)

    def raise_due(self) -> None:
        """Raises the oldest error that nobody was told of, refusals first, once."""
        self.raise_refusal()
        if self.faults:
            raise self.faults.popleft()

    def close(self) -> None:
        """End the worker and the thread; from any thread, and again. At most 2 s."""
        if os.getpid() != self._owner:
            return  # a fork of the owner: the worker is not its own
        with self.changed:
            worker = self._worker
            if not self._is_closed():
                self.state = State.CLOSED
                if worker is not None and isinstance(order := self._order_in_hand(), Ask):
                    worker.block.cancelled = order.number
                self._give_up(EngineFailed("the reasoner was closed while it worked"))
                self.changed.notify_all()
        if worker is not None:
            worker.end()
        if threading.current_thread() is not self._thread:
            self._thread.join(0.5)  # it may be inside the caller's replay, for as long as that takes

    def _run(self) -> None:
        # The worker inherits this: it starts deaf to a terminal's interrupt, before it can say so itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while self._may_start():
            why = "it cannot be started"
            try:
                self._start()
                self._listen_until(lambda: False)
            except (EOFError, _Died) as end:
                why = str(end)
            except SceneR1Error as error:
                self._bury(error)
                continue
            except Exception as error:  # noqa: BLE001 - told to every caller, as the death of the worker
                _log.exception("the supervisor of a worker broke")
                why = f"its supervisor broke: {error}"
            self._bury(self._obituary(why))

    def _may_start(self) -> bool:
        with self.changed:
            if self.state is State.DOWN and self._deaths_in_a_row > 1:
                rest_s = min(FIRST_REST_S * 2 ** (self._deaths_in_a_row - 2), MOST_REST_S)
                self.changed.wait_for(self._is_closed, rest_s)
            return self.state in (State.STARTING, State.DOWN)

    def _start(self) -> None:
        worker = WorkerProcess(self._order, self._niceness)
        with self.changed:
            self._worker = worker
            closed = self._is_closed()
        if closed:
            worker.end()
            raise EOFError
        first = worker.listen(self._patience.start_s)
        if first is None:
            raise _Died(f"it did not open the reasoner within {self._patience.start_s:g} s and was killed")
        if isinstance(first, Reply) and first.error is not None:
            raise first.error
        assert isinstance(first, Standing)
        with self.changed:
            self._handed, self._settled_after = 0, -1
            self.standing = first
        if self.deaths:
            self._give_again()
        with self.changed:
            if not self._is_closed():
                self.state = State.UP
                self.hand_over()
                self.changed.notify_all()

    def _give_again(self) -> None:
        """Hand the caller's keyframes to a new worker, one at a time."""
        try:
            for keyframe_id, image, timestamp_s in self._replay():
                with self.changed:
                    if self._is_closed():
                        raise EOFError
                    parcel = self.parcels.give_again(keyframe_id, image, timestamp_s)
                    if parcel is not None:
                        self._hand(parcel)
                if parcel is not None:
                    self._listen_until(partial(_is_done, parcel))
        except (EOFError, _Died):
            raise
        except Exception as error:  # noqa: BLE001 - the caller's own; raised by its next call
            _log.exception("the replay of a worker's keyframes broke")
            with self.changed:
                self.faults.append(EngineFailed(f"the keyframes could not all be given to the new worker: {error}"))
        with self.changed:
            lost = self.parcels.all_given_again()
        if lost:
            _log.warning("keyframes %s were lost with the worker process and not given again", lost)

    def _hand(self, parcel: Parcel) -> None:
        assert self._worker is not None
        parcel.handed_ns = time.monotonic_ns()
        try:
            if parcel.image is not None:
                self._worker.block.put(parcel.image)
        except BudgetExceeded as error:
            self._take_reply(parcel, Reply(error=error))
            return
        self._in_hand = parcel
        self._handed += 1
        self._worker.send(parcel.order)

    def _listen_until(self, enough: Callable[[], bool]) -> None:
        """Take the worker's messages. Raises EOFError when it is dead, _Died when it has to be killed."""
        worker = self._worker
        assert worker is not None
        while not enough():
            message = worker.listen(LOOK_S)
            with self.changed:
                if isinstance(message, Settled):
                    self._settled_after = message.orders
                    if message.error is not None:
                        self.faults.append(message.error)
                elif isinstance(message, Reply) and self._in_hand is not None:
                    parcel, self._in_hand = self._in_hand, None
                    self._take_reply(parcel, message)
                    self.hand_over()
                elif message is None:
                    self._watch_over(worker)
                self.changed.notify_all()

    def _take_reply(self, parcel: Parcel, reply: Reply) -> None:
        parcel.reply, parcel.image = reply, None
        if isinstance(parcel.order, Ask):
            if reply.error is None:
                self._deaths_in_a_row = 0
        elif reply.error is not None:
            if isinstance(parcel.order, Watch):
                self._refused(parcel.order.keyframe_id, reply.error)
            elif not isinstance(parcel.order, Forget) or isinstance(reply.error, EngineFailed):
                self.faults.append(reply.error)  # else it follows from a refused keyframe, which has its own error

    def _refused(self, keyframe_id: int, error: SceneR1Error) -> None:
        """The worker did not take a keyframe. A question behind it is not put to what is left: it raises the cause."""
        if not self.parcels.refused(keyframe_id):
            self.faults.append(error)
        elif asked := self.parcels.asked():
            for parcel in asked:
                self.parcels.withdraw(parcel)
                parcel.reply = Reply(error=error)
        else:
            self.refusals[keyframe_id] = error

    def _watch_over(self, worker: WorkerProcess) -> None:
        """Raises _Died for a worker that does not come back."""
        now_ns, block, patience = time.monotonic_ns(), worker.block, self._patience
        order, taken = self._order_in_hand(), block.taken == self._handed
        if isinstance(order, Ask) and taken:
            assert self._in_hand is not None
            due_ns = self._in_hand.due_ns
            # A picture in work cannot be interrupted and may take a minute: to be late is no deadlock yet. An order
            # that was taken when it was due already, after a long step of settling, is late only from then on.
            if due_ns is not None and now_ns > max(due_ns, block.working_ns) + patience.step_s * 1e9:
                when = "its deadline" if due_ns == order.deadline_ns else "it was given up"
                late = f"{order.method} was not back {patience.step_s:g} s after {when}"
                raise _Died(f"{late}: a deadlock, so it was killed")
        elif block.working_ns:
            if now_ns > block.working_ns + patience.step_s * 1e9:
                what = "taking an order" if order is not None and taken else "settling"
                raise _Died(f"one step of {what} took more than {patience.step_s:g} s: a deadlock, so it was killed")
        elif self._in_hand is not None and not taken:
            waits_ns = now_ns - max(self._in_hand.handed_ns, block.rested_ns)
            if waits_ns > patience.grace_s * 1e9:
                raise _Died(f"it did not take an order for {patience.grace_s:g} s: it hangs, so it was killed")

    def _obituary(self, why: str) -> EngineFailed:
        worker, order = self._worker, self._order_in_hand()
        if worker is None:
            return EngineFailed(f"the reasoner's worker process: {why}")
        if why:
            worker.kill()
        how, tail = worker.last_words()
        during = f" during {order.method}" if isinstance(order, Ask) else ""
        return EngineFailed(f"the reasoner's worker process died{during}: {why or 'it ' + how}; {tail}")

    def _bury(self, failure: SceneR1Error) -> None:
        """The worker is dead: tell those who wait, keep what is to be handed to the next."""
        worker = self._worker
        if worker is not None:
            worker.end()
        with self.changed:
            self._worker = None
            if self.state is State.STARTING:
                self.state, self.failure = State.BROKEN, failure
            elif not self._is_closed():
                again = self._deaths_in_a_row < self._patience.restarts
                self.deaths += 1
                self._deaths_in_a_row += 1
                self.state = State.DOWN if again else State.BROKEN
                self.failure = failure
                what = str(failure).partition("; its last words")[0]
                _log.warning("%s; %s", what, "another is started" if again else "it is given up")
            self._give_up(failure)
            self.changed.notify_all()
        if worker is not None:
            worker.close()

    def _give_up(self, failure: SceneR1Error) -> None:
        """Nobody waits any more for what was asked."""
        in_hand, self._in_hand = self._in_hand, None
        for parcel in [in_hand, *self.parcels.worker_died(in_hand)]:
            if parcel is not None and isinstance(parcel.order, Ask):
                parcel.reply = Reply(error=EngineFailed(str(failure)))

    def _order_in_hand(self) -> object:
        return None if self._in_hand is None else self._in_hand.order

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED


def _is_done(parcel: Parcel) -> bool:
    return parcel.reply is not None
