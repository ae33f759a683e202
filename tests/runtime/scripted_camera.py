"""A camera for tests that does what its script says, in the process that captures: good frames, then a fault."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from scene_r1.live import CameraInfo, LiveFrame, LiveSource, Patience, RawFrame
from scene_r1_engines.errors import CameraLost
from scene_r1_engines.intrinsics import Intrinsics

HURRIED = Patience(open_s=30.0, reopen_s=10.0, first_frame_s=10.0, silent_s=0.4, hung_s=0.8, rests_s=(0.05, 0.1))
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Life:
    """What the camera is from one opening to the next.

    frames: good ones before `then`: more, unplug, break, stall, repeat, hang, exit, crash, shrink, end. opens: yes, no,
    hang, exit. jumps: by frame, how far the device's clock jumps there. again: these frames are given twice.
    """

    frames: int = 5
    then: str = "more"
    opens: str = "yes"
    serial: str = "1234"
    size: tuple[int, int] = (32, 24)
    period_s: float = 0.02
    starts_ns: int = 50 * SECOND_NS
    first_number: int = 0
    jumps: dict[int, int] = field(default_factory=dict)
    again: tuple[int, ...] = ()
    closes: str = "yes"
    recorded: bool = False


class ScriptedCamera:
    """A Device. folder: where its openings are counted, over all processes; the last life goes on for ever."""

    ended = False
    unpaired = 0

    def __init__(self, folder: str, lives: tuple[Life, ...]) -> None:
        self._folder, self._lives = Path(folder), lives
        self._queue: list[int] = []

    def open(self, serial: str | None = None) -> CameraInfo:
        before = len(os.listdir(self._folder))
        (self._folder / str(before)).touch()
        life = self._life = self._lives[min(before, len(self._lives) - 1)]
        if life.opens == "no":
            raise CameraLost("it is not plugged in")
        self._do(life.opens)
        self.ended, self._given, self._began_s, self._jumped_ns = False, 0, time.monotonic(), 0
        camera = Intrinsics(20.0, 20.0, life.size[0] / 2, life.size[1] / 2, *life.size)
        return CameraInfo(
            life.serial, "a scripted camera", camera, camera, np.eye(4), 0.001, 1.0 / life.period_s, life.recorded
        )

    def wait(self, timeout_s: float) -> RawFrame | None:
        life = self._life
        if self._queue:
            return self._frame(self._queue.pop(0))
        n = self._given
        if n >= life.frames and life.then != "more":
            if life.then == "repeat":
                time.sleep(life.period_s)
                return self._frame(life.frames - 1)
            if life.then == "shrink":
                return self._frame(n, (life.size[0] // 2, life.size[1] // 2))
            if life.then == "end":
                self.ended = True
                return None
            self._do(life.then)
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, self._began_s + n * life.period_s - time.monotonic()))
        self._jumped_ns += life.jumps.get(n, 0)
        self._given += 1
        if n in life.again:
            self._queue.append(n)
        return self._frame(n)

    def close(self) -> None:
        if getattr(self, "_life", Life()).closes == "hang":
            time.sleep(1e6)

    def _frame(self, n: int, size: tuple[int, int] | None = None) -> RawFrame:
        """All pixels of both images are the frame's number."""
        life, number = self._life, self._life.first_number + n
        width, height = size or life.size
        return RawFrame(
            number=number,
            timestamp_ns=life.starts_ns + round(n * life.period_s * 1e9) + self._jumped_ns,
            domain="hardware_clock",
            received_ns=time.monotonic_ns(),
            color=np.full((height, width, 3), number % 256, np.uint8),
            depth_raw=np.full((height, width), number % 65536, np.uint16),
        )

    def _do(self, what: str) -> None:
        if what == "unplug":
            raise CameraLost("it was unplugged")
        if what == "break":
            raise OSError("a broken pipe in the driver")
        if what == "hang":
            time.sleep(1e6)
        if what == "exit":
            os.write(2, b"the driver gives up\n")
            os._exit(3)
        if what == "crash":
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)


@contextmanager
def scripted(folder: Path, *lives: Life, patience: Patience = HURRIED, waiting: int = 64) -> Iterator[LiveSource]:
    """A live source over a scripted camera. folder: a new one for each."""
    counted = folder / "openings"
    counted.mkdir()
    with LiveSource(partial(ScriptedCamera, str(counted), lives), "scripted", waiting, patience) as source:
        yield source


def openings(folder: Path) -> int:
    return len(os.listdir(folder / "openings"))


def is_whole(frame: object) -> bool:
    """It was not torn: every pixel is the camera's count of the frame."""
    assert isinstance(frame, LiveFrame)
    number = frame.capture.number
    return bool(np.all(frame.color == number % 256) and np.all(frame.depth_raw == number % 65536))


def eventually(true: Callable[[], object], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "never came true"
        time.sleep(0.01)
