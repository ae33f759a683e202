"""The session's own map, fed from a recording instead of a camera: same frames, same poses, same pixels in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scene_r1.config import Config
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.keyframes.quality import Quality, QualityMeter
from scene_r1.memory import Keyframe, SceneMemory
from scene_r1.recorder.card import exact_rigid
from scene_r1.recorder.channels import QUALITY_FIELDS
from scene_r1.recorder.recording import RecordedFrame
from scene_r1.session.scene_map import SceneMap
from scene_r1.tracking.tracker import Tracked, TrackState, lost


class RecordedTracker:
    """A PoseTracker that says what was recorded. Every keyframe hangs on itself: `move` is told where each has gone."""

    name = "recorded"

    def __init__(self) -> None:
        self._revision = 0
        self._moved: dict[int, NDArray[np.float64]] | None = None

    @property
    def revision(self) -> int:
        return self._revision

    def move(self, poses: Mapping[int, NDArray[np.float64]]) -> None:
        """The map was corrected. poses: (4, 4) T_world_camera by index, of the keyframes that were kept."""
        self._moved = dict(poses)
        self._revision += 1

    def track(self, frame: RgbdFrame) -> Tracked:
        T = frame.T_world_camera
        if T is None:
            return lost(self._revision)
        state = frame.state if isinstance(frame, RecordedFrame) else ""
        known = TrackState(state) if state in {one.value for one in TrackState} else TrackState.TRACKING
        return Tracked(known, T, int(frame.index), IDENTITY, self._revision)

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        """Asked after a move only."""
        return None if self._moved is None else self._moved.get(anchor)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> RecordedTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class RecordedQuality(QualityMeter):
    """Says what the selector made of the camera's own picture: the JPEG is a little less sharp than that was.

    judged: frames that had to be judged by their JPEG, because nothing was recorded of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.judged = 0

    def __call__(self, frame: RgbdFrame) -> Quality:
        if isinstance(frame, RecordedFrame) and frame.quality is not None and len(frame.quality) == len(QUALITY_FIELDS):
            return Quality(*frame.quality)
        self.judged += 1
        return super().__call__(frame)


class RecordedSelector(KeyframeSelector):
    """The selector with recorded qualities."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.keyframes.k, config.keyframes.selection, config.keyframes.observation)
        self.quality = RecordedQuality()
        self._judge = self.quality


class RecordedMemory(SceneMemory):
    """The memory with the JPEG that was recorded: that is what the live one made of the camera's picture, bit for bit,
    where both have the same quality; encoding the decoded one again would show the reasoner other pixels."""

    def __init__(self, config: Config, jpeg_quality: int) -> None:
        super().__init__(config.memory.max_bytes, config.memory.jpeg_quality)
        self.same_pixels = config.memory.jpeg_quality == jpeg_quality

    def move(self, index: int, T_world_camera: NDArray[np.float64]) -> None:
        """Bit for bit: the live one orthonormalised it, and a second time would move the last bit."""
        self._keyframes[index] = replace(self._keyframes[index], T_world_camera=T_world_camera)

    def _encode(self, frame: RgbdFrame) -> Keyframe:
        keyframe = super()._encode(frame)
        return (
            replace(keyframe, color=frame.jpeg) if isinstance(frame, RecordedFrame) and self.same_pixels else keyframe
        )


def replayed_map(config: Config, jpeg_quality: int, tracker: RecordedTracker) -> SceneMap:
    """A map that takes RecordedFrames. jpeg_quality: of the recording."""
    scene = SceneMap(config, tracker)
    scene.selector = RecordedSelector(config)
    scene.memory = RecordedMemory(config, jpeg_quality)
    return scene


def poses_of(fields: Mapping[str, object]) -> dict[int, NDArray[np.float64]]:
    """The poses of a `moved` event. Raises ValueError (BadFrame is one) or TypeError for what is none."""
    told = fields.get("poses")
    if not isinstance(told, dict):
        raise ValueError("it has no poses")
    return {int(index): exact_rigid(np.reshape(rows, (4, 4)), f"keyframe {index}") for index, rows in told.items()}
