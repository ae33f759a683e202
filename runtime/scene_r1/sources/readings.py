"""The loops that read a recording: each decodes ahead, and all of them end when it is closed."""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from scene_r1.sources.prefetch import DecodeAhead
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadInput

AHEAD_FRAMES = 4
AHEAD_BYTES = 128 << 20
"""Decoded frames waiting for the reader; few of them where pictures are large, and at least one."""
T = TypeVar("T")


class Readings:
    """What a source that decodes ahead has open. path: of the recording, for the errors."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._closed = False
        self._running: weakref.WeakSet[DecodeAhead[Any]] = weakref.WeakSet()

    def check_open(self) -> None:
        """Raises BadInput after `close()`."""
        if self._closed:
            raise BadInput(f"{self._path}: this recording was closed; open it again")

    def ahead(self, items: Generator[Any, None, None], wanted: Iterator[T], info: SourceInfo) -> Iterator[T]:
        """The wanted ones of some items, which are closed at the loop's end. info: says how large a frame is."""
        self.check_open()
        color, depth = info.color_intrinsics, info.depth_intrinsics
        frame_bytes = 3 * color.width * color.height + 2 * depth.width * depth.height
        reader = DecodeAhead(wanted, max(1, min(AHEAD_FRAMES, AHEAD_BYTES // frame_bytes)))
        self._running.add(reader)
        try:
            yield from reader
        finally:
            reader.stop()
            items.close()

    def close(self) -> None:
        """End the loops still running, and their threads. Twice is fine."""
        self._closed = True
        for reader in list(self._running):
            reader.stop()
