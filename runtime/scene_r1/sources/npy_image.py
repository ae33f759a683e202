"""A depth image in numpy's own file format, checked before anything of its claimed size is reserved."""

from __future__ import annotations

import io
import math
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.recorded_file import read_bytes
from scene_r1_engines.errors import BadRecording

MAX_NPY_BYTES = 64 << 20
HEADER_FAULTS = (
    ValueError, EOFError, OverflowError, RecursionError, MemoryError, TypeError, SyntaxError, TokenError,
)  # fmt: skip
"""What numpy's parser lets through for a damaged header; a bracket left open is a TokenError."""


def read_npy_depth(path: Path, size: tuple[int, int] | None, frame: int | None = None) -> NDArray[np.uint16]:
    """A depth image, `.npy` with (h, w) uint16 counts.

    size: (width, height) that it must have; None: any. Nothing is unpickled, and the header's claim is compared with
    the bytes that are there (NEP 1). Raises BadRecording.
    """
    data = read_bytes(path, MAX_NPY_BYTES, frame)
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(stream)
    except HEADER_FAULTS as error:
        raise BadRecording(path, f"is no .npy file: {str(error)[:200]}", frame) from None
    if dtype not in (np.dtype("<u2"), np.dtype(">u2")) or len(shape) != 2 or columns_first or min(shape) < 1:
        raise BadRecording(path, f"must hold (h, w) uint16 row by row, got {shape} {dtype}", frame)
    start = stream.tell()
    if len(data) - start != math.prod(shape) * 2:
        raise BadRecording(
            path, f"holds {len(data) - start} bytes where {shape} uint16 takes {math.prod(shape) * 2}", frame
        )
    if size is not None and (shape[1], shape[0]) != size:
        raise BadRecording(
            path,
            f"is {shape[1]}x{shape[0]} pixels, other depth images are {size[0]}x{size[1]}: one size a stream",
            frame,
        )
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape).astype(np.uint16)
