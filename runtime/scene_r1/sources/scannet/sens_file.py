"""The frames of a `.sens` file, found once by their headers and read one at a time; nothing is decoded but depth."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from array import array
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.images import MAX_IMAGE_BYTES
from scene_r1.sources.scannet.header import MAX_HEADER_BYTES, SensHeader, parse_header
from scene_r1_engines.errors import BadRecording

FRAME = struct.Struct("<16f4Q")
"""Camera to world, time of colour, time of depth, bytes of colour, bytes of depth; then these bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class SensRecord:
    """One frame. matrix: (4, 4) float64 base frame to world, as recorded, whatever it holds. time_us: of colour.

    color: bytes, packed as the header says. depth_raw: (h, w) uint16 counts, read-only.
    """

    matrix: NDArray[np.float64]
    time_us: int
    color: bytes
    depth_raw: NDArray[np.uint16]


class SensFile:
    """A `.sens` file held open. What follows its frames (IMU records) is not read.

    Opening reads the headers of all frames, 96 bytes each, and keeps 16 bytes of each. `whole` is how many frames lie
    within the file; where that is fewer than the header claims, `record` gives these, and raises at the next one.
    starts: the byte at which each whole frame begins. times_us: of their colour. posed: how many have a pose.

    Reads are by position, so that several threads may read at a time. Raises BadRecording naming file and frame.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self.header: SensHeader = parse_header(self._read(0, min(self._size, MAX_HEADER_BYTES), None), path)
            self.times_us = array("Q")
            self.posed = 0
            self.starts = array("Q")
            self._cut = self._find_frames()
        except BaseException:
            self._file.close()
            raise

    @property
    def whole(self) -> int:
        return len(self.starts)

    def record(self, index: int) -> SensRecord:
        """Frame `index`, from 0. Raises BadRecording where it is cut, damaged, or of another size than the header's."""
        if index >= self.whole:
            raise BadRecording(self.path, self._cut, index)
        at = self.starts[index]
        head = FRAME.unpack(self._read(at, FRAME.size, index))
        color_bytes, depth_bytes = head[18:]
        self._check_sizes(color_bytes, depth_bytes, index)
        at += FRAME.size
        return SensRecord(
            matrix=np.array(head[:16]).reshape(4, 4),
            time_us=head[16],
            color=self._read(at, color_bytes, index),
            depth_raw=self._depth(self._read(at + color_bytes, depth_bytes, index), index),
        )

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> SensFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_frames(self) -> str:
        """Fill the index. Returns why it ends early, or nothing."""
        at = self.header.frames_at
        for index in range(self.header.frames):
            left = self._size - at - FRAME.size
            if left < 0:
                return f"ends before this frame, of {self.header.frames}: it is cut short; copy it again"
            head = FRAME.unpack(self._read(at, FRAME.size, index))
            color_bytes, depth_bytes = head[18:]
            if color_bytes + depth_bytes > left:
                return (
                    f"ends inside this frame, which claims {color_bytes} bytes of colour and {depth_bytes} of depth "
                    f"where {left} follow: it is cut short or damaged; copy it again"
                )
            self.starts.append(at)
            self.times_us.append(head[16])
            self.posed += not is_lost(np.array(head[:16]))
            at += FRAME.size + color_bytes + depth_bytes
        return ""

    def _check_sizes(self, color_bytes: int, depth_bytes: int, index: int) -> None:
        header = self.header
        color_px, depth_px = (one.width * one.height for one in (header.color, header.depth))
        # Deflate with its fixed code makes at most nine bits of a byte.
        most_depth = 2 * depth_px if header.depth_packing == "raw_ushort" else 2 * depth_px * 9 // 8 + 1024
        for what, claimed, most, exact in (
            ("colour", color_bytes, 3 * color_px if header.color_packing == "raw" else MAX_IMAGE_BYTES,
             header.color_packing == "raw"),
            ("depth", depth_bytes, most_depth, header.depth_packing == "raw_ushort"),
        ):  # fmt: skip
            if claimed == 0:
                raise BadRecording(self.path, f"has no {what} image in this frame", index)
            if claimed > most or (exact and claimed != most):
                wanted = f"the {most}" if exact else f"at most {most}"
                raise BadRecording(self.path, f"has {claimed} bytes of {what} in this frame, not {wanted}", index)

    def _depth(self, data: bytes, index: int) -> NDArray[np.uint16]:
        depth = self.header.depth
        wanted = 2 * depth.width * depth.height
        if self.header.depth_packing == "zlib_ushort":
            inflate = zlib.decompressobj()
            try:
                # One byte more than wanted: enough to see that there is more, and no bomb.
                data = inflate.decompress(data, wanted + 1)
            except zlib.error as error:
                raise BadRecording(self.path, f"has damaged depth in this frame ({error})", index) from None
            if len(data) != wanted or not inflate.eof:
                many = "more than" if len(data) > wanted else "only" if len(data) < wanted else "an unfinished"
                raise BadRecording(
                    self.path,
                    f"has depth that inflates to {many} {min(len(data), wanted)} bytes in this frame, not the "
                    f"{wanted} of {depth.width}x{depth.height} pixels",
                    index,
                )
        counts = np.frombuffer(data, dtype="<u2").reshape(depth.height, depth.width)
        return counts.astype(np.uint16, copy=False)

    def _read(self, at: int, count: int, frame: int | None) -> bytes:
        try:
            data = os.pread(self._file.fileno(), count, at)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadRecording(self.path, f"cannot be read ({reason})", frame) from error
        if len(data) != count:
            raise BadRecording(self.path, f"ended at byte {at + len(data)} while it was read: copy it again", frame)
        return data


def is_lost(matrix: NDArray[np.float64]) -> bool:
    """Whether a recorded matrix says that there is no pose: -infinity or NaN in it (SensReader), or all zeros."""
    return not np.isfinite(matrix).all() or not matrix.any()


def _open(path: Path) -> FileIO:
    try:
        status = os.stat(path)
        # Pipes and devices are refused before they are opened, since opening one may wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise BadRecording(path, "is not a regular file: put the recorded file here")
        if status.st_size == 0:
            raise BadRecording(path, "is empty: copy the recording again")
        return FileIO(path, "r")
    except FileNotFoundError:
        raise BadRecording(path, "is missing: copy the recording again") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
