"""One thread that keeps a capturing process alive: by the age of its newest frame, not by its saying that one came."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from scene_r1.live.device import CameraInfo, Device
from scene_r1.live.messages import Ended, Fault, Message, Open, Opened, Play
from scene_r1.live.process import CaptureProcess
from scene_r1.live.ring import COUNTERS, Layout, Ring, Taken
from scene_r1.live.status import Patience, State, Status
from scene_r1.live.timeline import Mark
from scene_r1_engines.errors import CameraLost, SceneR1Error

_log = logging.getLogger(__name__)

LOOK_S = 0.1
"""How often the watchdog looks."""


class Watchdog:
    """Opens a camera in a process of its own, and again whenever it is lost; what is handed on goes on without a break.

    The other methods are for the source's threads. wake_fd: an eventfd, counted up with each frame and each change.
    A recording that breaks is not opened again: its error is `failure`, and so is that of a camera never opened.
    """

    def __init__(self, make: Callable[[], Device], waiting: int, wake_fd: int, patience: Patience) -> None:
        self.changed = threading.Condition()
        self.info: CameraInfo | None = None
        self.status = Status(State.RECONNECTING, "the camera is being opened")
        self.failure: SceneR1Error | None = None
        self.reconnects = 0
        self._make, self._waiting, self._wake_fd, self._patience = make, waiting, wake_fd, patience
        self._using = threading.Lock()
        """Held to use the ring, or to put another in its place; taken after `changed`, where both are."""
        self._ring: tuple[Ring, CameraInfo] | None = None
        self._before = dict.fromkeys(COUNTERS, 0)
        self._mark: Mark | None = None
        self._process: CaptureProcess | None = None
        self._layout: Layout | None = None
        self._run = 0
        self._over: Ended | None = None
        self._failures = 0
        self._began_ns = 0
        self._then: tuple[int, dict[str, int]] = (0, {})
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="scene-r1-camera", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the capturing process; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    @property
    def counters(self) -> dict[str, int]:
        """Of all processes so far. See capture.LiveSource."""
        with self._using:
            now = self._ring[0].counters if self._ring is not None else {}
            counted = {name: self._before[name] + now.get(name, 0) for name in COUNTERS}
        return {**counted, "reconnects": self.reconnects}

    @property
    def newest_ns(self) -> int:
        """When the newest frame came in (host monotonic); 0 when there is none."""
        with self._using:
            return 0 if self._ring is None else self._ring[0].newest_ns

    @property
    def began_ns(self) -> int:
        """When frames began to be expected."""
        return self._began_ns

    def wait_until_open(self) -> CameraInfo:
        """Raises why the camera could not be opened."""
        with self.changed:
            self.changed.wait_for(lambda: self.info is not None or self.failure is not None or self._closed)
            if self.info is None:
                raise self.failure or CameraLost("the camera was closed before it was open")
            return self.info

    def play(self, again: bool) -> int:
        """Have frames put into the ring; `again`: those of a recording from its beginning. Returns the run's number.

        Raises `failure`.
        """
        with self.changed:
            if self.failure is not None:
                raise self.failure
            again = again and self.info is not None and self.info.recorded
            if self._process is not None and self._layout is not None and (again or not self._run):
                self._run += 1
                self._over = None
                self._began_ns = time.monotonic_ns()
                self.status = Status(State.STREAMING)
                self._process.send(Play(self._run, self._layout))
            return self._run

    def over(self, run: int) -> Ended | None:
        """How a run came to its end, None when it did not. What it put into the ring can still be taken."""
        with self.changed:
            if self.failure is not None:
                return Ended(run, self.failure)
            return self._over if self._over is not None and self._over.run == run else None

    def take(self, run: int, newest: bool = False) -> tuple[Taken, CameraInfo] | None:
        """A frame of this run and the camera that it is of, see Ring.take."""
        with self._using:
            while self._ring is not None:
                ring, info = self._ring
                try:
                    taken = ring.take(newest)
                except TimeoutError:  # its process is stopped half-way, which its frames' age will show
                    return None
                if taken is None or (newest and taken.run != run):
                    return None
                if taken.run == run:
                    return taken, info
            return None

    def close(self) -> None:
        """End the process and the thread; from any thread, and again. At most 2 s."""
        with self.changed:
            self._closed = True
            process = self._process
            self.changed.notify_all()
        if process is not None:
            process.end()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        # The process inherits this: it starts deaf to a terminal's interrupt, before it can say so itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._closed:
            try:
                error = self._live()
            except Exception as broken:  # noqa: BLE001 - told to the callers, who would wait for ever
                _log.exception("the watchdog of a camera broke")
                error = CameraLost(f"the watchdog of the camera broke: {broken}")
            if not self._closed and not self._may_try_again(error):
                break
        with self.changed:
            self.changed.wait_for(lambda: self._closed)  # what is left in the ring can be read until then
            self._say(Status(State.ENDED, "it was closed"))
        self._put_ring_away(None)

    def _live(self) -> SceneR1Error:
        """One capturing process from its start to its end. Returns why it came to that."""
        process: CaptureProcess | None = None
        try:
            serial = None if self.info is None else self.info.serial
            with self._using:
                if self._ring is not None:
                    self._mark = self._ring[0].mark or self._mark
            order = Open(self._make, serial, self.counters["frames"], self._mark)
            process = CaptureProcess(order, self._wake_fd)
            with self.changed:
                self._process = process
            return self._stream(process)
        except EOFError:
            assert process is not None
            return CameraLost(f"the capturing process {process.last_words()}")
        except (SceneR1Error, TimeoutError) as error:
            return error if isinstance(error, SceneR1Error) else CameraLost(str(error))
        finally:
            if process is not None:
                with self.changed:
                    self._process = self._layout = None
                if not self._closed:
                    process.kill()  # a driver that has lost its camera may hang when it is told to close it
                process.end()
                process.close()

    def _stream(self, process: CaptureProcess) -> SceneR1Error:
        """Until this is closed. Raises EOFError when the process is dead, else why it has to be killed."""
        limit_s = self._patience.open_s if self.info is None else self._patience.reopen_s
        ends_s = time.monotonic() + limit_s
        while not self._closed:
            message = process.listen(LOOK_S)
            if message is not None:
                self._heed(message, process)
            if self._layout is not None:
                self._look_at_age()
            elif time.monotonic() > ends_s:
                raise CameraLost(f"the camera did not open within {limit_s:g} s")
        return CameraLost("it was closed")

    def _heed(self, message: Message, process: CaptureProcess) -> None:
        if isinstance(message, Fault):
            raise message.error
        with self.changed:
            if isinstance(message, Opened):
                self._opened(message.info, process)
            elif message.run == self._run:
                self._over = message
                self._say(Status(State.ENDED, str(message.error or "the recording is over")))

    def _opened(self, info: CameraInfo, process: CaptureProcess) -> None:
        sizes = [(one.height, one.width) for one in (info.color_intrinsics, info.depth_intrinsics)]
        layout = Layout(sizes[0], sizes[1], self._waiting)
        os.ftruncate(process.ring_fd, layout.bytes)
        self._put_ring_away((Ring(process.ring_fd, layout), info))
        self._layout, self._began_ns, self._then = layout, time.monotonic_ns(), (0, {})
        if self.info is None:
            self.status = Status(State.STREAMING)
        self.info = info
        if not info.recorded:
            self._run = 1
            process.send(Play(self._run, layout))
        self.changed.notify_all()

    def _put_ring_away(self, following: tuple[Ring, CameraInfo] | None) -> None:
        """Put another ring in the place of the present one. What still waits there is as old as the camera was away."""
        with self._using:
            if self._ring is not None:
                ring = self._ring[0]
                for name, count in ring.counters.items():
                    self._before[name] += count
                if not self._closed:
                    self._before["dropped"] += ring.waiting
                ring.close()
            self._ring = following

    def _look_at_age(self) -> None:
        """Set the status by the newest frame's age. Raises CameraLost when it is time for another process."""
        info, newest_ns, patience = self.info, self.newest_ns, self._patience
        if info is None or self._over is not None or not self._run:
            return
        quiet_s = (time.monotonic_ns() - max(newest_ns, self._began_ns)) / 1e9
        if info.recorded:
            limit_s = patience.recorded_s
        else:
            limit_s = patience.hung_s if newest_ns else patience.first_frame_s
            self._say_how_quiet(newest_ns, quiet_s)
        if newest_ns != self._then[0]:
            self._then = newest_ns, self.counters
        if quiet_s > limit_s:
            raise CameraLost(f"no new frame for {quiet_s:.1f} s{self._instead()}")

    def _say_how_quiet(self, newest_ns: int, quiet_s: float) -> None:
        with self.changed:
            if newest_ns and quiet_s > self._patience.silent_s:
                if self.status.state is State.STREAMING:
                    self._say(Status(State.RECONNECTING, f"no new frame for {quiet_s:.1f} s{self._instead()}"))
            elif newest_ns and self.status.state is not State.STREAMING:
                self.reconnects += self._failures > 0 and not self._then[0]
                self._say(Status(State.STREAMING))
            if newest_ns - self._began_ns > self._patience.settled_s * 1e9:
                self._failures = 0

    def _instead(self) -> str:
        """What came since the newest frame, in place of a new one."""
        words = {"duplicates": "times the last one again", "unpaired": "images without their partner"}
        words |= {"stale": "older ones", "clock_jumps": "with an impossible time"}
        now, then = self.counters, self._then[1]
        came = [
            f"{now[name] - then.get(name, 0)} {what}" for name, what in words.items() if now[name] > then.get(name, 0)
        ]
        return f" ({', '.join(came)})" if came else ""

    def _may_try_again(self, error: SceneR1Error) -> bool:
        """Rest before the next try. Returns False when there is to be none."""
        rests_s = self._patience.rests_s
        with self.changed:
            if self.info is None or self.info.recorded:
                self.failure = error
                self._say(Status(State.LOST, str(error)))
                return False
            rest_s = rests_s[min(self._failures, len(rests_s) - 1)]
            state = State.RECONNECTING if self._failures < len(rests_s) else State.LOST
            self._failures += 1
            _log.warning("%s; it is opened again in %g s", str(error).partition("; its last words")[0], rest_s)
            self._say(Status(state, str(error)))
            self.changed.wait_for(lambda: self._closed, rest_s)
            return not self._closed

    def _say(self, status: Status) -> None:
        """With `changed` held."""
        self.status = status
        self.changed.notify_all()
        os.eventfd_write(self._wake_fd, 1)
