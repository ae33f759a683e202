"""A recording played as a camera, over and over, as one stream: for runs that are longer than it is."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.recordings import with_progress
from scene_r1.frame import RgbdFrame
from scene_r1.live import LiveSource, open_live
from scene_r1.live.status import Status
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.sources import SourceInfo, create_sink

SIZE = (640, 480)
BETWEEN_NS = 1_000_000_000
"""From the last frame of a lap to the first of the next: at once would be a jump of the world to a tracker."""
ROOM_FRAMES, QUICK_ROOM_FRAMES = 300, 30


class Laps:
    """A FrameSource over a LiveSource: its recording again and again until `stop`; indices and times run on.

    Between two laps the camera is carried for a second to where the recording begins. counters: of the LiveSource.
    """

    def __init__(self, live: LiveSource) -> None:
        self._live = live
        self._stopped = threading.Event()
        self.laps = 0

    @property
    def info(self) -> SourceInfo:
        return self._live.info

    @property
    def status(self) -> Status:
        return self._live.status

    @property
    def counters(self) -> dict[str, int]:
        return self._live.counters

    @property
    def pid(self) -> int | None:
        """Of the process that captures."""
        return self._live.pid

    def frames(self) -> Iterator[RgbdFrame]:
        index = timestamp_ns = 0
        while not self._stopped.is_set():
            first_index, first_ns = index, timestamp_ns
            for frame in self._live.frames():
                index, timestamp_ns = first_index + frame.index, first_ns + frame.timestamp_ns
                yield replace(frame, index=index, timestamp_ns=timestamp_ns)
                if self._stopped.is_set():
                    return
            self.laps += 1
            index, timestamp_ns = index + 1, timestamp_ns + BETWEEN_NS

    def stop_after(self, seconds: float) -> threading.Timer:
        """End `frames` so many seconds from now."""
        timer = threading.Timer(seconds, self.stop)
        timer.daemon = True
        timer.start()
        return timer

    def stop(self) -> None:
        self._stopped.set()
        self._live.stop()

    def close(self) -> None:
        self._stopped.set()
        self._live.close()

    def __enter__(self) -> Laps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def played(data: Path | None, rate_hz: float, seed: int, cache: Path, quick: bool) -> Iterator[Path]:
    """The recording that was named, or that of a synthetic room, as image files: its path.

    rate_hz: at which it will be played; the room is walked at that rate.
    """
    if data is not None:
        yield data
        return
    frames = QUICK_ROOM_FRAMES if quick else ROOM_FRAMES
    room = SyntheticRecording(seed, frames, SIZE, cache_dir=cache, rate_hz=rate_hz)
    with tempfile.TemporaryDirectory(prefix="scene-r1-") as folder:
        path = Path(folder) / "room"
        with room, create_sink(path, "seven_scenes", like=room.info) as sink:
            for frame in with_progress(room.frames(), frames, "render"):
                sink.write(frame)
        yield path


def laps(path: Path, rate_hz: float) -> Laps:
    """A recording played at a rate, over and over. Raises as `open_live`."""
    return Laps(open_live(f"{path}@{rate_hz:g}hz"))


def waited(until: float, more: threading.Thread, period_s: float = 0.1) -> Iterator[float]:
    """The time on time.monotonic(), every so often until then, as long as a thread lives."""
    while (now := time.monotonic()) < until and more.is_alive():
        yield now
        time.sleep(min(period_s, max(0.0, until - now)))
