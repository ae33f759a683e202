"""Who looks on while a session works: a recorder and a viewer, told of everything and never waited for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.quality import Quality
from scene_r1.keyframes.selector import Decision
from scene_r1.memory import Keyframe
from scene_r1.recorder.events import KEYFRAME, MOVED, keyframe_fields
from scene_r1.session.scene_map import SceneMap, Taken
from scene_r1_engines.errors import SceneR1Error

log = logging.getLogger(__name__)


class Recording(Protocol):
    """A recorder that was started. failed: why it records no more, None while it does. refuses: why the newest frame
    was not recorded though others may be again, empty where it was. Nothing here waits."""

    @property
    def failed(self) -> object | None: ...

    @property
    def refuses(self) -> str: ...

    @property
    def dropped(self) -> int: ...

    def frame(
        self, frame: RgbdFrame, T_world_camera: NDArray[np.float64] | None, state: str, quality: Quality | None = None
    ) -> None: ...

    def event(self, kind: str, fields: Mapping[str, object]) -> None: ...

    def close(self) -> object: ...


class Showing(Protocol):
    """A viewer. dropped: what was not shown for want of time. Nothing here waits."""

    @property
    def dropped(self) -> int: ...

    def frame(self, frame: RgbdFrame, state: str, cpu_ms: Mapping[str, float]) -> None: ...

    def keyframes(self, keyframes: tuple[Keyframe, ...]) -> None: ...

    def answer(self, question: str, answer: Answer) -> None: ...

    def close(self) -> None: ...


class Company:
    """Passes on what happens; one of them that breaks is told no more, and nothing else suffers."""

    def __init__(self) -> None:
        self.recorder: Recording | None = None
        self.viewer: Showing | None = None
        self._recording_fault = ""
        self._closed = False
        self._shown: tuple[Keyframe, ...] = ()
        self._revisions = 0

    @property
    def recording_fault(self) -> str:
        """Why what is seen is recorded no more, in words for people; empty while it is, or nobody wanted it."""
        failed = None if self.recorder is None else self.recorder.failed
        return self._recording_fault or ("" if failed is None else str(failed))

    @property
    def recording_refuses(self) -> str:
        """Why the newest frame is not in the recording, in words for people; empty where it is."""
        return "" if self.recorder is None else self.recorder.refuses

    @property
    def recorder_dropped(self) -> int:
        return 0 if self.recorder is None else self.recorder.dropped

    @property
    def viewer_dropped(self) -> int:
        return 0 if self.viewer is None else self.viewer.dropped

    @property
    def _records(self) -> bool:
        return self.recorder is not None and not self._recording_fault and not self._closed

    def frame(self, taken: Taken, scene: SceneMap) -> None:
        """One frame that went through the tracker, and what became of it."""
        assert taken.tracked is not None  # one that was left out before is nobody's business
        state = taken.tracked.state.value
        if scene.tally.revisions > self._revisions:
            self._revisions = scene.tally.revisions
            self.moved(scene.keyframes)
        if self.recorder is not None and self._records:
            try:
                self.recorder.frame(taken.frame, taken.T_world_camera, state, taken.decision.quality)
            except SceneR1Error as error:
                self._stop_recording(error)
        self.decided(taken.decision)
        if self.viewer is not None and not self._closed:
            try:
                self.viewer.frame(taken.frame, state, scene.cpu_ms())
                if scene.keyframes is not self._shown:
                    self._shown = scene.keyframes
                    self.viewer.keyframes(scene.keyframes)
            except SceneR1Error as error:
                self._stop_showing(error)

    def moved(self, keyframes: tuple[Keyframe, ...]) -> None:
        """The map was corrected, and this is where its keyframes are now; told before the first frame that saw it."""
        poses = {
            str(one.index): one.T_world_camera.ravel().tolist() for one in keyframes if one.T_world_camera is not None
        }
        self.event(MOVED, {"poses": poses})

    def decided(self, decision: Decision) -> None:
        """A keyframe came or went."""
        if decision.inserted is not None or decision.evicted is not None:
            self.event(KEYFRAME, keyframe_fields(decision))

    def event(self, kind: str, fields: Mapping[str, object]) -> None:
        """As the recorder's event."""
        if self.recorder is not None and self._records:
            try:
                self.recorder.event(kind, fields)
            except SceneR1Error as error:
                self._stop_recording(error)

    def answered(self, question: str, answer: Answer) -> None:
        """A question that came to its end."""
        if self.viewer is not None and not self._closed:
            try:
                self.viewer.answer(question, answer)
            except SceneR1Error as error:
                self._stop_showing(error)

    def close(self) -> None:
        """Both, the recorder first: what it holds must come to the disk."""
        self._closed = True
        for one in (self.recorder, self.viewer):
            if one is not None:
                try:
                    one.close()
                except SceneR1Error as error:
                    log.warning("%s: %s", type(one).__name__, error)

    def _stop_recording(self, error: SceneR1Error) -> None:
        self._recording_fault = str(error)
        log.warning("recording has stopped, answering goes on: %s", error)

    def _stop_showing(self, error: SceneR1Error) -> None:
        viewer, self.viewer = self.viewer, None
        log.warning("nothing is shown any more, answering goes on: %s", error)
        if viewer is not None:
            with suppress(SceneR1Error):
                viewer.close()
