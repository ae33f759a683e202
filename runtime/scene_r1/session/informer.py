"""The one thread that tells the reasoner of keyframes: while frames come in, and never while a question is asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scene_r1.memory import Keyframe
from scene_r1.watching import Wanted, Watching
from scene_r1_engines.errors import EngineFailed, SceneR1Error
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, Reasoner

LOOK_S = 0.25
"""How often the reasoner is told the time when nothing comes: one in this process then encodes a keyframe."""
POLL_S = 0.02
"""How often a question that waits looks whether it is cancelled."""
log = logging.getLogger(__name__)


class _Request:
    """One question's: two questions about the same keyframes are still two."""

    def __init__(self, keyframes: tuple[Keyframe, ...]) -> None:
        self.keyframes = keyframes


class Informer:
    """Keeps the reasoner in step with what it is told, on a thread of its own that starts with the first word.

    What is to be told is the difference between two sets of keyframes, so nothing queues up behind a long question:
    after it, the reasoner learns what has changed since, once. `failure` says why the thread has ended before `close`.
    """

    def __init__(self, reasoner: Reasoner, wanted: Wanted) -> None:
        self.failure: BaseException | None = None
        self._wanted = wanted
        self._watching = Watching(reasoner, wanted)
        self._changed = threading.Condition()
        self._latest: tuple[Keyframe, ...] = ()
        self._now_s: float | None = 0.0
        self._news = False
        self._request: _Request | None = None  # the question that is let through, or wants to be, until it is done
        self._still = False
        self._refusal: SceneR1Error | None = None
        self._at_rest = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="scene-r1-informer", daemon=True)

    @property
    def failures(self) -> int:
        """How often the reasoner broke while nobody asked."""
        return self._watching.failures

    @property
    def at_rest(self) -> bool:
        """Whether the reasoner has nothing left to do of all that it was told."""
        return self._at_rest

    def tell(self, keyframes: tuple[Keyframe, ...], start_ns: int, now_s: float | None) -> None:
        """What is held now, and the stream's time; None: it has ended, every keyframe is due. Never waits."""
        with self._changed:
            if self._closed or self.failure is not None:
                return  # the next question says it
            self._wanted.start_ns = start_ns
            self._latest, self._now_s = keyframes, now_s
            self._news, self._at_rest = True, False
            self._start()
            self._changed.notify_all()

    @contextmanager
    def still(self, keyframes: tuple[Keyframe, ...], limits: Limits) -> Iterator[Finish | None]:
        """While the block runs, the reasoner watches just these and is told nothing. One block at a time.

        Gives how the limits ended the waiting for that, None where they did not. Raises what the reasoner says if it
        does not take the keyframes, EngineFailed where the thread has died.
        """
        with self._changed:
            if self._closed or self.failure is not None:
                raise EngineFailed("the reasoner is told nothing any more: open another session") from self.failure
            self._start()
            self._request, self._still, self._refusal = _Request(keyframes), False, None
            self._changed.notify_all()
        try:
            finish = self._until_still(limits)
            if self._refusal is not None:
                raise self._refusal
            yield finish
        finally:
            with self._changed:
                self._request, self._still = None, False
                self._changed.notify_all()

    @property
    def alive(self) -> bool:
        """Whether the thread may still use the reasoner."""
        return self._thread.is_alive() and self._thread is not threading.current_thread()

    def close(self) -> None:
        """Let the thread end, which it does after the word it has in its mouth; from any thread, and again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _until_still(self, limits: Limits) -> Finish | None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._still or self._closed or self.failure is not None, POLL_S):
                    if not self._still:
                        raise EngineFailed("the session was closed, or failed, before this was asked") from self.failure
                    return None
            if limits.cancelled():
                return Finish.CANCELLED
            if limits.remaining_s <= 0.0:
                return Finish.TIMED_OUT

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:
            log.exception("the reasoner is told nothing any more")
            with self._changed:
                self.failure = error
                self._changed.notify_all()

    def _step(self) -> bool:
        """One word to the reasoner, or a question let through. False once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._request is not None or self._closed, LOOK_S)
            if self._closed:
                return False
            request, self._news = self._request, False
            self._wanted.keyframes = self._latest if request is None else request.keyframes
            now_s = self._now_s
        if request is None:
            self._inform(now_s)
            return True
        refusal: SceneR1Error | None = None
        try:
            self._watching.mend()
        except SceneR1Error as error:
            refusal = error
        with self._changed:
            if self._request is request:  # and not the next one, that came before this thread woke
                self._still, self._refusal = True, refusal
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._request is not request or self._closed)
            self._news = True
        return True

    def _inform(self, now_s: float | None) -> None:
        if not self._watching.in_step:
            self._watching.show()
        done = self._watching.settle(now_s, time.monotonic_ns())
        with self._changed:
            self._at_rest = bool(done) and not self._news and self._watching.in_step
