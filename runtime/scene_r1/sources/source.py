"""What a source of frames is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics


@dataclass(frozen=True, slots=True, eq=False)
class SourceInfo:
    """What is known of a recording before a frame is decoded.

    frames: how many, or None where the format does not say (counted only by reading it through).
    rate_hz: nominal rate. timestamps: whether they were recorded or are made up from `rate_hz`.
    depth_scale: metres per count. intrinsics_from: where the intrinsics come from, in words for people.
    notes: what a reader of `inspect` should know (frames without a pose, colour that lost depth, ...).
    """

    path: str
    format: str
    frames: int | None
    rate_hz: float
    timestamps: Literal["recorded", "assumed"]
    color_intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    T_color_depth: NDArray[np.float64]
    depth_scale: float
    intrinsics_from: str
    has_poses: bool
    notes: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class FrameSource(Protocol):
    """A recording or a camera. A context manager; `close()` twice is fine, `frames()` after it raises.

    Reading is lazy and in constant memory. `frames()` starts from the beginning at each call and may be left early.
    A fault raises BadRecording naming file, frame and reason; every frame before it has been yielded.
    """

    @property
    def info(self) -> SourceInfo: ...

    def frames(self) -> Iterator[RgbdFrame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> FrameSource: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class FrameSink(Protocol):
    """Somewhere to write a recording. Whole or absent: leaving the `with` block on an error removes what was written.

    `write` takes frames in the order of their index, the first being 0 and none left out.
    """

    def write(self, frame: RgbdFrame) -> None: ...

    def __enter__(self) -> FrameSink: ...

    def __exit__(self, *exc: object) -> None: ...
