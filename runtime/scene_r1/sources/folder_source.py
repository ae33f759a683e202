"""What recordings in folders share: lazy reading, decoding ahead, closing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from scene_r1.frame import RgbdFrame
from scene_r1.sources.readings import Readings
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadFrame, BadRecording

Self = TypeVar("Self", bound="FolderSource")


class FolderSource(ABC):
    """A FrameSource over numbered image files. A subclass lists them when it opens, and loads one at a time.

    `info.counters` counts what the latest `frames()` met; it starts from zero there.
    """

    def __init__(self, info: SourceInfo, counters: dict[str, int]) -> None:
        self._info = info
        self._counters = counters
        self._readings = Readings(info.path)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[RgbdFrame]:
        """The frames from the first on, decoded ahead on one thread. Raises BadInput after `close()`."""
        self._readings.check_open()
        items = self._load_all()
        return self._readings.ahead(items, items, self._info)

    def close(self) -> None:
        """Stop reading and end the threads of loops still running. Twice is fine."""
        self._readings.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load_all(self) -> Generator[RgbdFrame, None, None]:
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
