"""The keyframes of a recording, chosen and kept as the runtime does when the recording has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.memory import Keyframe, SceneMemory
from scene_r1.sources import FrameSource
from scene_r1.stream import remember
from scene_r1_engines.errors import BadInput


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """keyframes: in order of time. times_s: of each, since the first frame. end_s: of the recording's last frame."""

    keyframes: tuple[Keyframe, ...]
    times_s: tuple[float, ...]
    end_s: float

    @property
    def span_s(self) -> tuple[float, float]:
        """What `when` is told of the recording: from its first keyframe to its last frame."""
        return self.times_s[0], max(self.end_s, self.times_s[-1])


def shown(source: FrameSource, k: int, on_frame: Callable[[], None] | None = None) -> Shown:
    """Stream a recording; k keyframes are held. Raises BadRecording for a damaged frame, BadInput where no frame could
    become a keyframe (no pose, no depth)."""
    start_ns: int | None = None
    end_ns = 0

    def timed() -> Iterator[RgbdFrame]:
        nonlocal start_ns, end_ns
        for frame in source.frames():
            start_ns = frame.timestamp_ns if start_ns is None else start_ns
            end_ns = frame.timestamp_ns
            yield frame

    memory = SceneMemory(max(32, 2 * k) << 20)
    remember(timed(), KeyframeSelector(k), memory, on_frame=on_frame)
    keyframes = tuple(memory)
    if start_ns is None or not keyframes:
        raise BadInput(f"{source.info.path} has no keyframe: no frame has a pose and depth; see scene-r1 inspect")
    times_s = tuple((one.timestamp_ns - start_ns) / 1e9 for one in keyframes)
    return Shown(keyframes, times_s, (end_ns - start_ns) / 1e9)
