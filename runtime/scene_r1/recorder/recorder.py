"""Recording while running: frames and events go to a process of its own, and the caller never waits for a disk."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.recorder.card import LiveCard
from scene_r1.recorder.channels import END_OF_ROS_TIME_NS, QUALITY_FIELDS
from scene_r1.recorder.events import MOST_BYTES, RecordedEvent
from scene_r1.recorder.process import RecordingProcess
from scene_r1.recorder.slots import Layout, Slots
from scene_r1.sources.ros.storage import message_stores, zstd_module
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadConfig, BadInput, BadState, OutputExists, RecordingStopped

if TYPE_CHECKING:  # it brings numba, which a recorder does without
    from scene_r1.keyframes.quality import Quality

START_S = 30.0
"""What a process may take to start; 0.5 s where the machine has nothing else to do."""
MOST_WAITING = 4096
"""Packets that wait here because the process has no room for them; more events are refused and counted."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecorderReport:
    """What became of a recording.

    frames, events: in the file. dropped_frames: the process was behind. refused_frames: of other cameras than the
    recording's, or of a time that ROS has not. dropped_events: too long, or too many at once. lost_frames: handed over
    and not in the file (0 unless it failed). failed: why it stopped early, None where it did not. cpu_s: of the
    process, its start included.
    """

    path: str
    frames: int
    events: int
    bytes: int
    dropped_frames: int
    refused_frames: int
    dropped_events: int
    lost_frames: int
    failed: str | None
    cpu_s: float


class Recorder:
    """Records into one .mcap file. A context manager; for any threads.

    `start`, then `frame` and `event` in the order in which things happened, then `close`. After a failure (a full disk,
    a process that died) `failed` says why, one warning is logged, and `frame` and `event` go on to do nothing.
    jpeg_quality: of colour; with the scene memory's own, a replay has the very keyframes that were held.
    Raises BadConfig.
    """

    def __init__(self, jpeg_quality: int = 92) -> None:
        if isinstance(jpeg_quality, bool) or not isinstance(jpeg_quality, int) or not 1 <= jpeg_quality <= 100:
            raise BadConfig(f"jpeg_quality must be in 1..100, got {jpeg_quality!r}")
        self._jpeg_quality = jpeg_quality
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._process: RecordingProcess | None = None
        self._report: RecorderReport | None = None
        self._failed: RecordingStopped | None = None
        self._free: list[int] = []
        self._last = -1
        self._given = self._dropped = self._refused = self._dropped_events = 0
        self._refuses = ""
        self._dropped_before = 0  # frames since the last one that was taken
        self._written: dict[str, float] = {"bytes": 0, "frames": 0, "events": 0, "cpu_s": 0.0}
        self._done = False

    def start(self, path: str | os.PathLike[str], info: SourceInfo) -> None:
        """Make the file and wait until the process is ready for frames.

        Raises OutputExists when the path is taken, BadInput for a name that does not end in .mcap or whose folder is
        missing or closed to us, RecordingStopped when it cannot be written, MissingExtra('ros'), BadState when started
        twice; nothing stays behind then.
        """
        if self._path is not None:
            raise BadState("the recorder was started already: a recorder makes one recording")
        message_stores("recording")  # said now, and not by the process
        zstd_module("recording")
        target = Path(path)
        card = LiveCard.of(info, self._jpeg_quality)
        layout = Layout.of(card)
        fd = _made(target)
        try:
            self._slots = Slots(layout)
            try:
                order = {"card": card.to_json(), "file_fd": fd, "slots_fd": self._slots.fd}
                self._process = RecordingProcess(order, (fd, self._slots.fd))
                self._wait_until_ready(self._process, target)
            except BaseException:
                self._stop_process()
                self._slots.close()
                raise
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        self._card, self._path = card, target
        self._free = list(range(layout.count))

    def frame(
        self,
        frame: RgbdFrame,
        T_world_camera: NDArray[np.float64] | None,
        state: str,
        quality: Quality | None = None,
    ) -> None:
        """Record one frame. Copies its images, 0.2 ms at 640x480, and never waits; drops it where no slot is free.

        T_world_camera: (4, 4) float64 of the colour camera as the map takes it, None while lost. state: the tracker's.
        quality: what the selector made of the frame (`Decision.quality`), so that a replay need not judge the JPEG.
        Raises BadState before `start` and after `close`, BadFrame for a matrix that is no pose.
        """
        with self._lock:
            process = self._ready()
            self._last = int(frame.index)
            self._listen()
            if self._failed is not None or process is None:
                return
            stamp_ns = int(frame.timestamp_ns)
            if not (self._card.fits(frame) and 0 <= stamp_ns < END_OF_ROS_TIME_NS):
                if not self._refuses:
                    self._refuses = (
                        f"frame {frame.index} is of another camera than the recording's first: begin another recording"
                        if 0 <= stamp_ns < END_OF_ROS_TIME_NS
                        else f"frame {frame.index} has no time that a recording can hold"
                    )
                    log.warning("%s", self._refuses)
                self._refused += 1
                return
            self._refuses = ""
            if not self._free:
                self._dropped += 1
                self._dropped_before += 1
                return
            rows = None if T_world_camera is None else _exact(T_world_camera, frame).ravel().tolist()
            record = {
                "index": int(frame.index),
                "timestamp_ns": stamp_ns,
                "received_ns": int(frame.received_ns),
                "state": str(state),
                "T_world_camera": rows,
                "quality": None if quality is None else [float(getattr(quality, name)) for name in QUALITY_FIELDS],
                "dropped_before": self._dropped_before,
            }
            slot = self._free.pop()
            self._slots.put(slot, frame.color, frame.depth_raw)
            process.send({"slot": slot, "stamp_ns": stamp_ns, "record": json.dumps(record), "T_world_camera": rows})
            self._given += 1
            self._dropped_before = 0

    def event(self, kind: str, fields: Mapping[str, object]) -> None:
        """Record that something happened, after the frames and events before it. See `recorder.events` for kinds.

        Never waits. Raises BadInput for fields that are no JSON, BadState as `frame`.
        """
        with self._lock:
            process = self._ready()
            text = RecordedEvent(kind, self._last, fields).to_json()
            self._listen()
            if self._failed is not None or process is None:
                return
            if len(text) > MOST_BYTES or process.waiting >= MOST_WAITING:
                if self._dropped_events == 0:
                    log.warning("an event %r of %d characters is not recorded: too long, or too many", kind, len(text))
                self._dropped_events += 1
                return
            process.send({"event": text})

    @property
    def failed(self) -> RecordingStopped | None:
        """Why nothing is recorded any more; None while it is."""
        with self._lock:
            if self._process is not None and self._report is None:
                self._listen()
            return self._failed

    @property
    def free(self) -> int:
        """Slots for frames that are free; where none is, the next frame is dropped."""
        with self._lock:
            self._listen()
            return len(self._free)

    @property
    def dropped(self) -> int:
        """Frames and events that are not recorded, refused ones as well."""
        return self._dropped + self._dropped_events + self._refused

    @property
    def refuses(self) -> str:
        """Why the newest frame was refused for what it is, in words for people; empty where it was not."""
        return self._refuses

    @property
    def counters(self) -> dict[str, int]:
        """frames (handed over), dropped_frames, refused_frames, dropped_events, bytes (of the file)."""
        return {
            "frames": self._given,
            "dropped_frames": self._dropped,
            "refused_frames": self._refused,
            "dropped_events": self._dropped_events,
            "bytes": int(self._written["bytes"]),
        }

    @property
    def pid(self) -> int | None:
        """Of the recording process, None where there is none."""
        return None if self._process is None or self._report is not None else self._process.pid

    def close(self, timeout_s: float = 1.5) -> RecorderReport:
        """Let the process write what it was handed and end the file; reap it. Twice is fine, and reports the same.

        timeout_s: after it the process is killed; the file then has all up to its last chunk. Raises BadState before
        `start`.
        """
        with self._lock:
            if self._report is not None:
                return self._report
            process = self._ready()
            assert process is not None
            if self._failed is None:
                process.send({"close": True})
                deadline_s = time.monotonic() + timeout_s
                while self._failed is None and not self._done and time.monotonic() < deadline_s:
                    self._listen(0.02)
                if self._failed is None and not self._done:
                    self._fail(f"the disk is too slow: it was not written within {timeout_s:g} s of the end")
            self._stop_process()
            self._slots.close()
            written, failed = self._written, self._failed
            self._report = RecorderReport(
                path=os.fspath(self._path or ""),
                frames=int(written["frames"]),
                events=int(written["events"]),
                bytes=int(written["bytes"]),
                dropped_frames=self._dropped,
                refused_frames=self._refused,
                dropped_events=self._dropped_events,
                lost_frames=self._given - int(written["frames"]),
                failed=None if failed is None else str(failed),
                cpu_s=float(written["cpu_s"]),
            )
            return self._report

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._path is not None:
            self.close()

    def _ready(self) -> RecordingProcess | None:
        if self._path is None:
            raise BadState("the recorder is not started: call start(path, info) first")
        if self._report is not None:
            raise BadState(f"{self._path}: the recorder is closed: make another one for another recording")
        return self._process

    def _listen(self, timeout_s: float = 0.0) -> None:
        """Take in what the process says, and hand it what waits."""
        process = self._process
        if process is None or self._failed is not None:
            return
        process.push()
        try:
            said = process.received(timeout_s)
            while said is not None:
                self._take(said)
                said = process.received()
        except EOFError:
            if not self._done and self._failed is None:
                code = process.end(0.5)
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                words = process.last_words().rpartition("\n")[2]
                self._fail(f"the recording process died ({how}{': ' + words if words else ''})")

    def _take(self, said: dict[str, object]) -> None:
        for key in self._written:
            if key in said:
                self._written[key] = float(said[key])  # type: ignore[arg-type]
        if "free" in said:
            self._free.append(int(said["free"]))  # type: ignore[call-overload]
        if "failed" in said:
            self._fail(str(said["failed"]))
        self._done = self._done or "done" in said

    def _fail(self, why: str) -> None:
        if self._failed is None:
            self._failed = RecordingStopped(f"{self._path}: recording stopped: {why}; what was written before is whole")
            log.warning("%s", self._failed)

    def _wait_until_ready(self, process: RecordingProcess, target: Path) -> None:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            process.push()
            try:
                said = process.received(0.05)
            except EOFError:
                raise RecordingStopped(
                    f"{target}: the recording process did not start: {process.last_words() or 'it said nothing'}"
                ) from None
            if said is not None and "failed" in said:
                raise RecordingStopped(f"{target}: recording cannot begin: {said['failed']}")
            if said is not None:
                return
        raise RecordingStopped(f"{target}: the recording process was not ready within {START_S:g} s")

    def _stop_process(self) -> None:
        if self._process is not None:
            self._process.end(0.3 if self._done or self._failed is not None else 0.0)
            self._process.close()


def _exact(T_world_camera: NDArray[np.float64], frame: RgbdFrame) -> NDArray[np.float64]:
    """The pose as the selector saw it: the frame's own where the two differ by rounding. Raises BadFrame."""
    own = frame.T_world_camera
    if T_world_camera is own:
        return T_world_camera
    T = pose.rigid(T_world_camera)
    return own if own is not None and np.allclose(own, T, rtol=0.0, atol=1e-9) else T


def _made(target: Path) -> int:
    """The new file's descriptor. Raises as `Recorder.start`."""
    if target.suffix != ".mcap":
        raise BadInput(f"{target}: recordings while running are .mcap, not {target.suffix or 'without ending'}")
    try:
        return os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    except FileExistsError:
        raise OutputExists(f"{target} is already there: name another place or remove it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{target}: its folder is not there: make it, or name another place") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise BadInput(f"{target}: cannot be created ({what}): name another place") from error
