"""One recording written in another format, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from scene_r1.sources.source import FrameSink, FrameSource
from scene_r1_engines.errors import BadRecording


@runtime_checkable
class ReportsDepthLoss(Protocol):
    """A sink that writes depth in a unit of its own, and says what that cost."""

    @property
    def max_depth_rounding_m(self) -> float: ...

    @property
    def depth_overflow_px(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What was written, and what was lost on the way.

    max_depth_rounding_m: the largest change of a depth by the new unit, metres; 0 where it kept the counts.
    depth_overflow_px: pixels too far for the new unit, written as no return. fault: why the source ended early, or
    None where all of it was written.
    """

    frames: int
    without_pose: int
    max_depth_rounding_m: float
    depth_overflow_px: int
    fault: str | None


def convert(
    source: FrameSource,
    sink: FrameSink,
    progress: Callable[[int], None] | None = None,
    keep_good_prefix: bool = False,
) -> ConversionReport:
    """Write every frame of an open source to a sink, which is entered and left here.

    progress: called after each frame with the number written. keep_good_prefix: when the source breaks after its
    first frame, keep what came before and say so in the report; else the BadRecording is raised and the sink leaves
    nothing behind.
    """
    written = without_pose = 0
    fault = None
    with sink:
        try:
            for frame in source.frames():
                sink.write(frame)
                written += 1
                without_pose += frame.T_world_camera is None
                if progress is not None:
                    progress(written)
        except BadRecording as error:
            if not keep_good_prefix or written == 0:
                raise
            fault = str(error)
    losses = (sink.max_depth_rounding_m, sink.depth_overflow_px) if isinstance(sink, ReportsDepthLoss) else (0.0, 0)
    return ConversionReport(
        frames=written,
        without_pose=without_pose,
        max_depth_rounding_m=losses[0],
        depth_overflow_px=losses[1],
        fault=fault,
    )
