"""LiveSource: frames of a camera as they come, out of a process that may hang or die without harm to the caller."""

from __future__ import annotations

import math
import os
import pickle
import select
import threading
import time
from collections.abc import Callable, Iterator

from scene_r1.frame import RgbdFrame
from scene_r1.live.device import CameraInfo, Device
from scene_r1.live.live_frame import Capture, LiveFrame
from scene_r1.live.ring import Taken
from scene_r1.live.status import Patience, State, Status
from scene_r1.live.watchdog import Watchdog
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadConfig, BadInput, CameraLost, StaleFrame

WAITING = 4
"""Frames that wait at most: a reader that always lags is 0.13 s behind a camera of 30 Hz, and one late for once by as
much loses nothing."""
MOST_WAITING = 1024
WAKE_S = 0.25
"""A waiting loop looks this often whether it missed being woken."""
LATEST_WAIT_S = 1.0
LATEST_LOOK_S = 0.001


class LiveSource:
    """A FrameSource over a running camera, or over a recording played as one.

    make: a picklable function of a module that can be imported; it makes the Device, in a process of its own. waiting:
    how many frames wait to be read before the oldest is dropped.

    A camera that is lost is opened again, the same one by its serial, for as long as this is open: `status` says so,
    `frames` waits, and goes on with the next index and a later time. Frames are LiveFrames. A recording plays from its
    beginning at each `frames()`, and from the first `read_latest()`; it ends, or raises what it broke off with.

    `counters`: frames (captured), dropped (of these, before they were read), duplicates, stale and clock_jumps (not
    used, see timeline), unpaired (images without a partner), reconnects.

    Raises CameraLost (no camera, or it does not open), BadRecording, BadConfig, MissingExtra, BudgetExceeded.
    """

    def __init__(
        self,
        make: Callable[[], Device],
        address: str = "a camera",
        waiting: int = WAITING,
        patience: Patience | None = None,
    ) -> None:
        if not isinstance(waiting, int) or not 1 <= waiting <= MOST_WAITING:
            raise BadConfig(f"waiting must be a whole number of frames in 1..{MOST_WAITING}, got {waiting!r}")
        try:
            pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise BadConfig(f"a camera must be made by a function of a module that can be imported: {error}") from error
        self._address = address
        self._closed = False
        self._last: LiveFrame | None = None
        self._run = 0
        self._loop = self._stopped = 0
        self._reading = threading.Lock()
        self._waiting = threading.Lock()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._dog = Watchdog(make, waiting, self._wake_fd, patience or Patience())
        try:
            self._info = self._dog.wait_until_open()
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> SourceInfo:
        """Of the camera as it was opened last."""
        camera = self._dog.info or self._info
        return SourceInfo(
            path=self._address,
            format=f"live {camera.name}",
            frames=None,
            rate_hz=camera.rate_hz,
            timestamps="recorded",
            color_intrinsics=camera.color_intrinsics,
            depth_intrinsics=camera.depth_intrinsics,
            T_color_depth=camera.T_color_depth,
            depth_scale=camera.depth_scale,
            intrinsics_from="the recording" if camera.recorded else f"the camera {camera.serial}",
            has_poses=camera.has_poses,
            notes=camera.notes,
            counters=self.counters,
        )

    @property
    def camera(self) -> CameraInfo:
        """What the camera said of itself when it was opened last."""
        return self._dog.info or self._info

    @property
    def status(self) -> Status:
        return self._dog.status

    @property
    def counters(self) -> dict[str, int]:
        """Since this was opened, over all reconnections. See the class."""
        return self._dog.counters

    @property
    def pid(self) -> int | None:
        """Of the capturing process; None while there is none."""
        return self._dog.pid

    def frames(self) -> Iterator[RgbdFrame]:
        """Frames as they come, until the recording's end, `stop` or `close`; it waits while there is no camera.

        There is one loop at a time: an earlier one raises BadInput once another has begun, and so does one whose source
        is closed. Raises BadRecording where a recording breaks off, after every frame before that.
        """
        self._check_open()
        return self._frames()

    def read_latest(self, max_age_ms: float) -> RgbdFrame:
        """The newest frame, when it is no older than that; else it waits for one as long (1 s at most).

        Loops over `frames` get the frame too. Raises CameraLost when no new frames come (some 0.9 s after the last
        one), or the recording is over, StaleFrame when what came is too old.
        """
        if not (math.isfinite(max_age_ms) and max_age_ms > 0.0):
            raise BadInput(f"max_age_ms must be a positive number, got {max_age_ms!r}")
        ends_s = time.monotonic() + min(max_age_ms / 1e3, LATEST_WAIT_S)
        with self._reading:
            self._check_open()
            self._run = self._run or self._dog.play(again=False)
        while True:
            with self._reading:
                self._check_open()
                status, over = self._dog.status, self._dog.over(self._run)
                frame = self._newest()
            age_ms = self._age_ms(frame)
            if frame is not None and age_ms <= max_age_ms and status.state in (State.STREAMING, State.ENDED):
                return frame
            if over is not None or status.state is not State.STREAMING:
                if over is not None and over.error is not None:
                    raise over.error
                raise CameraLost(f"{self._address}: {status.reason}")
            if time.monotonic() > ends_s:
                raise StaleFrame(age_ms, max_age_ms)
            time.sleep(LATEST_LOOK_S)

    def stop(self) -> None:
        """End the loop over `frames` that runs now, quietly; from any thread."""
        with self._reading:
            self._stopped = self._loop
            if not self._closed:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """Let the camera go and end its process; from any thread, and again. At most 2 s."""
        with self._reading:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._wake_fd, 1)
        self._dog.close()
        with self._waiting, self._reading:  # no loop uses the descriptor any more
            os.close(self._wake_fd)
            self._last = None

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _frames(self) -> Iterator[RgbdFrame]:
        with self._reading:
            self._check_open()
            self._loop += 1
            loop, run = self._loop, self._dog.play(again=True)
            self._run = run
        while True:
            with self._reading:
                self._check_open()
                if loop <= self._stopped:
                    return
                if loop != self._loop:
                    raise BadInput(f"{self._address}: another loop over its frames has begun")
                over = self._dog.over(run)  # before the last look into the ring
                frame = self._next(run)
            if frame is not None:
                yield frame
                del frame  # the reader holds what it wants
            elif over is not None:
                if over.error is not None:
                    raise over.error
                return
            else:
                self._sleep()

    def _next(self, run: int) -> LiveFrame | None:
        taken = self._dog.take(run)
        if taken is None:
            return None
        self._last = _live_frame(*taken)
        return self._last

    def _newest(self) -> LiveFrame | None:
        """The newest frame, which may have been handed out before."""
        if self._last is None or self._last.received_ns != self._dog.newest_ns:
            taken = self._dog.take(self._run, newest=True)
            if taken is not None:
                self._last = _live_frame(*taken)
        return self._last

    def _age_ms(self, frame: LiveFrame | None) -> float:
        now_ns = time.monotonic_ns()
        return (now_ns - self._dog.began_ns) / 1e6 if frame is None else frame.age_ms(now_ns)

    def _sleep(self) -> None:
        """Until a frame comes or something changes."""
        with self._waiting:
            if self._closed:
                return
            poll = select.poll()
            poll.register(self._wake_fd, select.POLLIN)
            if poll.poll(WAKE_S * 1e3):
                os.eventfd_read(self._wake_fd)

    def _check_open(self) -> None:
        if self._closed:
            raise BadInput(f"{self._address}: the live source was closed; open it again")


def _live_frame(taken: Taken, camera: CameraInfo) -> LiveFrame:
    raw, placed = taken.raw, taken.placed
    return LiveFrame(
        index=taken.index,
        timestamp_ns=placed.timestamp_ns,
        color=raw.color,
        color_intrinsics=camera.color_intrinsics,
        depth_raw=raw.depth_raw,
        depth_scale=camera.depth_scale,
        depth_intrinsics=camera.depth_intrinsics,
        T_color_depth=camera.T_color_depth,
        T_world_camera=raw.T_world_camera,
        received_ns=raw.received_ns,
        capture=Capture(raw.number, raw.timestamp_ns, raw.domain, placed.segment, placed.lag_ns, raw.gravity),
    )
