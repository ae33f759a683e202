"""IsolatedReasoner: any reasoner, in a process of its own."""

from __future__ import annotations

import itertools
import math
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig, BadFrame, BadQuestion, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, ImageGrounding, Reasoner, TextAnswer, TimeGrounding, open_reasoner
from scene_r1_engines.worker.messages import Ask
from scene_r1_engines.worker.parcels import MOST_WAITING_BYTES, Parcel, Parcels
from scene_r1_engines.worker.supervisor import Patience, Replay, State, Supervisor

POLL_S = 0.02
"""How often a waiting call looks whether it is cancelled."""
MOST_CHARACTERS = 16384
"""Of a question: it has to fit the pipe. What the model takes is less."""

T = TypeVar("T", TimeGrounding, ImageGrounding, TextAnswer)


def nothing() -> Iterator[tuple[int, NDArray[np.uint8], float]]:
    """A replay of no keyframes: what a dead worker held is lost."""
    return iter(())


class IsolatedReasoner:
    """Implements Reasoner through a worker process, which native code may abort without harm to the caller.

    replay: gives the keyframes that the caller holds once more, (id, image, timestamp_s) as in `watch`. Called in a
    thread of this object after a worker has died; those that were forgotten are passed over. That thread lives until
    `close`, or until nobody refers to this object: so replay must not refer to it, nor to what owns it.
    start_timeout_s: for the reasoner to open. grace_s: a question not back so long after its deadline, or after it was
    cancelled, returns `timed_out` or `cancelled`, and the worker is left to end it: a picture in work cannot be
    interrupted. step_timeout_s: a worker not back so long after that deadline, or after the question was given up, is
    taken for a deadlock and killed; so is one whose step of work in between takes longer. A question that has no
    deadline and is not given up has no such watch. restarts: new workers in a row without a question answered; then
    every call raises EngineFailed. niceness: how much the worker gives way to other processes, 0..19. opener: as
    open_reasoner, a function of a module that can be imported.

    When the worker dies, the question that was asked raises EngineFailed with its last words, and another is started
    in the background. Until that stands and has its keyframes, questions return `not_ready` at once, `settle` returns
    False, and `watch` and `forget` are noted. Keyframes that replay does not give are lost: `where` raises BadInput
    for them, and they may be watched again.

    `watch` and `forget` never wait for the worker, so what its reasoner refuses (and what fails while it settles) is
    raised by the next `watch` or `settle`. What was refused is raised by a question too, also by one that waits behind
    it. In between the worker settles by itself, in short steps, up to the stream's time as `settle` last told it or as
    the latest keyframe says.

    For several threads: questions take turns, and one that waits for its turn, or for a worker that still has an
    earlier one in work, does so until its deadline (`timed_out`). Deadlines hold in the worker as they are:
    time.monotonic_ns() is one clock for all processes on Linux. `close()` takes 2 s at most; the worker also ends with
    its caller, however that ends.

    Raises BadConfig for settings or an opener that cannot be sent, EngineFailed when no worker comes to stand, and
    what the opener raises.
    """

    name: str
    grounding_pixels: int | None

    def __init__(
        self,
        name: str,
        settings: Any,
        replay: Replay = nothing,
        *,
        start_timeout_s: float = 300.0,
        grace_s: float = 5.0,
        step_timeout_s: float = 300.0,
        restarts: int = 3,
        niceness: int = 0,
        opener: Callable[[str, Any], Reasoner] = open_reasoner,
    ) -> None:
        _check_patience(start_timeout_s=start_timeout_s, grace_s=grace_s, step_timeout_s=step_timeout_s)
        if restarts < 0:
            raise BadConfig(f"restarts must be 0 or more, got {restarts}")
        if not 0 <= niceness <= 19:
            raise BadConfig(f"niceness must be in 0..19, got {niceness}")
        try:
            order = pickle.dumps((opener, name, settings))
        except Exception as error:
            raise BadConfig(f"the settings or the opener of reasoner {name!r} cannot be sent: {error}") from error
        keyframes = getattr(settings, "keyframes", None)
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)
        patience = Patience(start_timeout_s, grace_s, step_timeout_s, restarts)
        parcels = Parcels(keyframes if isinstance(keyframes, int) else None)
        self._supervisor = supervisor = Supervisor(order, parcels, replay, patience, niceness)
        self._end = weakref.finalize(self, supervisor.close)  # also when the interpreter exits
        try:
            with supervisor.changed:
                supervisor.changed.wait_for(lambda: supervisor.state is not State.STARTING)
        except BaseException:  # an interrupt while the model loads
            self.close()
            raise
        if supervisor.standing is None:
            self.close()
            raise supervisor.failure or EngineFailed(f"the worker of reasoner {name!r} came not to stand")
        self.name = supervisor.standing.name
        self.grounding_pixels = supervisor.standing.grounding_pixels

    @property
    def deaths(self) -> int:
        """How many workers have died."""
        return self._supervisor.deaths

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None while there is none."""
        with self._supervisor.changed:
            return self._supervisor.pid

    @property
    def held(self) -> frozenset[int]:
        """The ids of the keyframes that the worker holds, or is to be handed: without those refused or lost."""
        with self._supervisor.changed:
            return self._supervisor.parcels.held

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        """As Reasoner.watch. Raises BudgetExceeded also when too much waits for the worker."""
        _check_image(keyframe_id, image)
        if not math.isfinite(timestamp_s):
            raise BadFrame(f"keyframe {keyframe_id}: timestamp_s must be finite, got {timestamp_s!r}")
        own = image.copy(order="C")  # the caller may use its array again
        with self._noting() as supervisor:
            supervisor.parcels.watch(keyframe_id, own, float(timestamp_s))

    def forget(self, keyframe_id: int) -> None:
        """As Reasoner.forget. What is due to be raised is left to the next call, so a BadInput is about this id."""
        with self._noting(raise_due=False) as supervisor:
            supervisor.forget(keyframe_id)

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        """Tell the worker the stream's time, and wait until it has settled or the deadline has passed.

        Returns whether it is known that nothing is left; False at once while no worker stands. Raises EngineFailed
        when the worker dies meanwhile.
        """
        with self._noting() as supervisor:
            supervisor.parcels.tell(now_s)
            deaths = supervisor.deaths
        limits = Limits(deadline_ns)
        with supervisor.changed:
            while supervisor.state is State.UP and not supervisor.settled and limits.remaining_s > 0.0:
                supervisor.changed.wait(min(limits.remaining_s, threading.TIMEOUT_MAX))
            supervisor.check()
            if supervisor.deaths != deaths:
                raise EngineFailed(str(supervisor.failure))
            supervisor.raise_due()
            return supervisor.settled

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        """As Reasoner.when."""
        return self._ask("when", question, limits, TimeGrounding)

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        """As Reasoner.where."""
        if image is not None:
            _check_image(keyframe_id, image)
        return self._ask(
            "where", question, limits, lambda finish: ImageGrounding(finish, keyframe_id), keyframe_id, image
        )

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        """As Reasoner.answer."""
        return self._ask("answer", question, limits, TextAnswer)

    def close(self) -> None:
        self._end()

    def __enter__(self) -> IsolatedReasoner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _noting(self, raise_due: bool = True) -> Iterator[Supervisor]:
        """To note something for the worker. raise_due: what is due to be raised is, and then nothing is noted."""
        supervisor = self._supervisor
        with supervisor.changed:
            supervisor.check()
            if raise_due:
                supervisor.raise_due()
            yield supervisor
            supervisor.hand_over()

    def _ask(
        self,
        method: str,
        question: str,
        limits: Limits,
        early: Callable[[Finish], T],
        keyframe_id: int | None = None,
        image: NDArray[np.uint8] | None = None,
    ) -> T:
        """early: the result of a question that never came to the model."""
        if not isinstance(question, str) or len(question) > MOST_CHARACTERS:
            raise BadQuestion(f"a question must be text of at most {MOST_CHARACTERS} characters")
        while not self._turn.acquire(timeout=POLL_S):
            if (finish := _over(limits)) is not None:
                return early(finish)
        try:
            order = Ask(
                next(self._numbers),
                method,
                question,
                keyframe_id,
                limits.deadline_ns,
                limits.max_tokens,
                limits.think_tokens,
                limits.think_s,
                None if image is None else image.shape,
            )
            parcel = Parcel(order, image)
            with self._supervisor.changed:
                self._supervisor.check()
            if (finish := _over(limits)) is not None:
                return early(finish)
            with self._supervisor.changed:
                self._supervisor.check()
                if self._supervisor.state is not State.UP:
                    return early(Finish.NOT_READY)
                self._supervisor.raise_refusal()
                self._supervisor.parcels.ask(parcel)
                self._supervisor.hand_over()
            finish = self._wait(parcel, order.number, limits)
        finally:
            self._turn.release()
        if parcel.reply is None:
            return early(finish or Finish.CANCELLED)
        if parcel.reply.error is not None:
            raise parcel.reply.error
        return cast(T, parcel.reply.value)

    def _wait(self, parcel: Parcel, number: int, limits: Limits) -> Finish | None:
        """Until the reply is there, or the limits end the question: at once while the worker has not begun; else the
        worker has a while to say so itself, and then the question is left to it."""
        supervisor = self._supervisor
        left_s = math.inf
        finish: Finish | None = None
        try:
            while True:
                with supervisor.changed:
                    if supervisor.changed.wait_for(lambda: parcel.reply is not None, POLL_S):
                        return None
                finish = finish if finish is Finish.CANCELLED else _over(limits)
                if finish is None:
                    continue
                with supervisor.changed:
                    if not supervisor.has_begun(parcel) and parcel.reply is None:
                        return finish
                    if finish is Finish.CANCELLED:
                        supervisor.cancel(number)
                left_s = min(left_s, time.monotonic() + supervisor.grace_s)
                if time.monotonic() > left_s:
                    return finish
        finally:
            if parcel.reply is None:  # also when the caller's own thread is interrupted
                with supervisor.changed:
                    supervisor.parcels.withdraw(parcel)
                    supervisor.cancel(number)
                    parcel.given_up_ns = time.monotonic_ns()


def _over(limits: Limits) -> Finish | None:
    """Why the limits end a question now."""
    if limits.cancelled():
        return Finish.CANCELLED
    return Finish.TIMED_OUT if limits.remaining_s <= 0.0 else None


def _check_image(keyframe_id: int, image: object) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise BadFrame(f"keyframe {keyframe_id}: image must be (H, W, 3) uint8 RGB, got {got}")
    if not 0 < image.nbytes <= MOST_WAITING_BYTES:
        raise BadFrame(f"keyframe {keyframe_id}: image must have 1..{MOST_WAITING_BYTES} bytes, got {image.nbytes}")


def _check_patience(**seconds: float) -> None:
    for name, value in seconds.items():
        if not (math.isfinite(value) and value > 0.0):
            raise BadConfig(f"{name} must be a positive number of seconds, got {value!r}")
