"""A running session in Rerun: what the camera sees, what is kept of it, and what was answered."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scene_r1.answer import Answer
from scene_r1.backproject import BackProjector
from scene_r1.drawing.palette import BOX_2D, MASK
from scene_r1.frame import RgbdFrame
from scene_r1.memory import Keyframe
from scene_r1.viewer.cloud import VOXEL_M
from scene_r1.viewer.report import report
from scene_r1.viewer.rrd import OBJECT_CLASS, TIMELINE, log_box, log_frame, rerun_module
from scene_r1.viewer.showing import Showing, text
from scene_r1_engines.errors import BadInput, OutputExists, SceneR1Error

RATE_HZ = 4.0
"""Frames that are shown: a JPEG and a depth image each, 10 ms of a core and 0.9 MB at 640x480."""
WAITING = 8
"""Frames and answers that wait to be shown before the oldest is dropped; what is held now waits beside them."""
JOIN_S = 1.0
FLUSH_S = 0.5
log = logging.getLogger(__name__)


class LiveViewer:
    """Shows a session while it runs. Nobody waits for it: all is logged by a thread of its own, and what that has no
    time for is dropped and counted.

    target: `rerun` opens Rerun's viewer (on this machine, with a screen); `rerun+http://HOST:9876/proxy` shows it in
    one that runs already; a name ending in .rrd writes a file, which grows by about 4 MB a second at 640x480 and can be
    opened also when the process was killed. It shows what the .rrd of `scene-r1 ask` does, over time: the camera,
    `world/keyframes/N` (the points of each that is held), the last answer with its masks, and plots of what a frame and
    an answer took.

    Raises MissingExtra without Rerun, BadInput for another target, OutputExists, SceneR1Error where Rerun refuses.
    """

    def __init__(self, target: str, rate_hz: float = RATE_HZ) -> None:
        self._rr = rerun_module()
        self._recording = self._rr.RecordingStream("scene_r1_edge_live")
        connect_to(self._recording, target)
        self._period_s = 1.0 / rate_hz
        self._next_s = 0.0
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._held: tuple[Keyframe, ...] | None = None
        self._dropped = 0
        self._closed = False
        self._start_ns: int | None = None
        self._now_s = 0.0
        self._spent_before: dict[str, float] = {}
        self._frames_before = self._frames = 0
        self._project = BackProjector(voxel_m=VOXEL_M)
        self._logged: dict[int, Keyframe] = {}
        self._thread = threading.Thread(target=self._run, name="scene-r1-viewer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames and answers that were not shown for want of time; those beyond the rate are not meant to be."""
        return self._dropped

    def frame(self, frame: RgbdFrame, state: str, cpu_ms: Mapping[str, float]) -> None:
        """The newest frame. state: of the pose tracker. cpu_ms: by stage, since the session was opened."""
        if self._start_ns is None:
            self._start_ns = frame.timestamp_ns
        self._now_s = (frame.timestamp_ns - self._start_ns) / 1e9
        self._frames += 1
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._period_s
        since = max(1, self._frames - self._frames_before)
        spent = {stage: (ms - self._spent_before.get(stage, 0.0)) / since for stage, ms in cpu_ms.items()}
        self._spent_before, self._frames_before = dict(cpu_ms), self._frames
        self._put(partial(self._log_frame, frame, state, spent))

    def keyframes(self, keyframes: tuple[Keyframe, ...]) -> None:
        """What is held now."""
        with self._changed:
            self._held = keyframes
            self._changed.notify_all()

    def answer(self, question: str, answer: Answer) -> None:
        """A question that was answered."""
        self._put(partial(self._log_answer, question, answer))

    def close(self) -> None:
        """Show what still waits, as far as that takes no longer than a moment. Twice is fine."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(JOIN_S)

    def _put(self, logged: Callable[[], None]) -> None:
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append((self._now_s, logged))
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while self._step():
                pass
            self._recording.flush(timeout_sec=FLUSH_S)
        except Exception as error:  # noqa: BLE001 - a viewer that breaks is told, and stops nothing else
            log.warning("nothing is shown any more: %s", error)
            with self._changed:
                self._closed = True
                self._waiting.clear()
        finally:
            self._recording.disconnect()

    def _step(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._held is not None or self._closed)
            held, self._held = self._held, None
            at_s, logged = self._waiting.popleft() if self._waiting else (self._now_s, None)
            if held is None and logged is None:
                return False
        self._recording.set_time(TIMELINE, duration=at_s)
        if held is not None:
            self._log_keyframes(held)
        if logged is not None:
            logged()
        return True

    def _log_frame(self, frame: RgbdFrame, state: str, spent: Mapping[str, float]) -> None:
        log_frame(self._rr, self._recording, frame)
        for stage, ms in spent.items():
            self._recording.log(f"timings/frame/{stage}", self._rr.Scalars(ms))
        self._recording.log("pose", self._rr.TextLog(state))

    def _log_keyframes(self, held: tuple[Keyframe, ...]) -> None:
        """Points of those that are new or have moved; those that are gone are cleared."""
        for index in self._logged.keys() - {keyframe.index for keyframe in held}:
            self._recording.log(f"world/keyframes/{index}", self._rr.Clear(recursive=True))
        for keyframe in held:
            if self._logged.get(keyframe.index) is not keyframe:
                points = self._project(keyframe.frame())
                cloud = self._rr.Points3D(points.xyz, colors=points.rgb, radii=0.4 * VOXEL_M)
                self._recording.log(f"world/keyframes/{keyframe.index}", cloud)
        self._logged = {keyframe.index: keyframe for keyframe in held}

    def _log_answer(self, question: str, answer: Answer) -> None:
        rr, recording = self._rr, self._recording
        for entity in ("world/answer", "world/object", "world/seen"):
            recording.log(entity, rr.Clear(recursive=True))
        seen = {} if answer.live is None else {keyframe.index: keyframe.frame() for keyframe in answer.live.keyframes}
        showing = Showing.of(answer, seen, self._start_ns, question)
        recording.log("answer", rr.TextDocument(report(showing), media_type="text/markdown"))
        if answer.box_3d is not None:
            recording.log("world/object", rr.Points3D(answer.xyz, colors=answer.rgb, radii=0.2 * VOXEL_M))
            log_box(rr, recording, answer.box_3d, showing.label)
        for number, view in enumerate(answer.evidence):
            if view.frame in seen:
                entity = f"world/seen/{number}"
                recording.log(entity, rr.Image(seen[view.frame].color).compress(80))
                recording.log(f"{entity}/mask", rr.SegmentationImage(view.mask.astype(np.uint8) * OBJECT_CLASS))
                boxes = [(view.xyxy, "seen", MASK)]
                boxes += [(box.xyxy, text(box.label), BOX_2D) for box in answer.boxes_2d if box.frame == view.frame]
                corners, labels, colors = zip(*boxes, strict=True)
                array = np.array(corners, np.float32)
                drawn = rr.Boxes2D(array=array, array_format=rr.Box2DFormat.XYXY, labels=labels, colors=colors)
                recording.log(f"{entity}/boxes", drawn)
        for stage, ms in answer.timings_ms.items():
            recording.log(f"timings/answer/{stage.replace('.', '/')}", rr.Scalars(ms))


def check_target(target: str) -> None:
    """Before the long work. Raises as LiveViewer."""
    rerun_module()
    path = Path(target)
    if target == "rerun" or target.startswith("rerun+http://"):
        return
    if path.suffix.lower() != ".rrd":
        raise BadInput(f"{target!r} is no viewer: say rerun, rerun+http://HOST:9876/proxy, or a name ending in .rrd")
    if path.exists():
        raise OutputExists(f"{target} is already there: name another place or remove it")
    if not path.parent.is_dir():
        raise BadInput(f"{target}: its folder is not there: make it, or name another place")


def connect_to(recording: Any, target: str) -> None:
    """Send what a recording logs to a target, as LiveViewer takes it. Raises as that."""
    check_target(target)
    try:
        if target == "rerun":
            recording.spawn()
        elif target.startswith("rerun+http://"):
            recording.connect_grpc(target)
        else:
            recording.save(target)
    except Exception as error:  # Rerun's errors are of many kinds
        raise SceneR1Error(f"{target}: Rerun cannot show anything there: {error}") from error
