"""What recordings in folders share: lazy reading, decoding ahead, closing."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from scene_r1.frame import RgbdFrame
from scene_r1.sources.prefetch import DecodeAhead
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadFrame, BadInput, BadRecording

AHEAD_FRAMES = 4
AHEAD_BYTES = 128 << 20
"""Decoded frames waiting for the reader; few of them where pictures are large, and at least one."""


Self = TypeVar("Self", bound="FolderSource")


class FolderSource(ABC):
    """A FrameSource over numbered image files. A subclass lists them when it opens, and loads one at a time.

    `info.counters` counts what the latest `frames()` met; it starts from zero there.
    """

    def __init__(self, info: SourceInfo, counters: dict[str, int]) -> None:
        self._info = info
        self._counters = counters
        self._closed = False
        self._running: weakref.WeakSet[DecodeAhead[RgbdFrame]] = weakref.WeakSet()

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[RgbdFrame]:
        """The frames from the first on, decoded ahead on one thread. Raises BadInput after `close()`."""
        if self._closed:
            raise BadInput(f"{self._info.path}: this recording was closed; open it again")
        color, depth = self._info.color_intrinsics, self._info.depth_intrinsics
        frame_bytes = 3 * color.width * color.height + 2 * depth.width * depth.height
        reader = DecodeAhead(self._load_all(), max(1, min(AHEAD_FRAMES, AHEAD_BYTES // frame_bytes)))
        self._running.add(reader)
        return iter(reader)

    def close(self) -> None:
        """Stop reading and end the threads of loops still running. Twice is fine."""
        self._closed = True
        for reader in list(self._running):
            reader.stop()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load_all(self) -> Iterator[RgbdFrame]:
        for key in self._counters:
            self._counters[key] = 0
        for index in range(self._info.frames or 0):
            try:
                frame = self._load(index)
            except BadFrame as error:
                raise BadRecording(self._file_of(index), str(error), index) from error
            yield frame
            del frame

    @abstractmethod
    def _load(self, index: int) -> RgbdFrame:
        """Decode one frame. Raises BadRecording naming the file at fault."""

    @abstractmethod
    def _file_of(self, index: int) -> Path:
        """The file to name when a frame as a whole is impossible."""
