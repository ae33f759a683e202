"""The 4x4 matrices of ScanNet: poses, calibrations and the alignment of a scan, as text and as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.sources.recorded_file import parse_floats, read_text
from scene_r1.sources.scannet.sens_file import is_lost
from scene_r1_engines.errors import BadFrame, BadRecording

MAX_BYTES = 16 << 10


def read_matrix(path: Path, frame: int | None = None) -> NDArray[np.float64]:
    """(4, 4) float64 from a text file of 16 numbers; NaN and infinity are numbers. Raises BadRecording."""
    return parse_matrix(read_text(path, frame, MAX_BYTES), path, frame)


def parse_matrix(text: str, path: Path, frame: int | None = None, what: str = "") -> NDArray[np.float64]:
    """(4, 4) float64 from 16 numbers, row by row. what: names them in the error, where the file holds more."""
    try:
        numbers = parse_floats(text)
    except ValueError as error:
        raise BadRecording(path, f"{what}{error}: a matrix is 16 numbers", frame) from None
    if len(numbers) != 16:
        raise BadRecording(path, f"{what}holds {len(numbers)} numbers, not the 16 of a 4x4 matrix", frame)
    return np.array(numbers).reshape(4, 4)


def checked_rigid(T: NDArray[np.float64], path: Path, frame: int | None = None) -> tuple[NDArray[np.float64], float]:
    """A rigid transform (4, 4), orthonormal to rounding, and how far its rotation was off that.

    Returns (transform, largest |singular value - 1|). Raises BadRecording when it is none.
    """
    try:
        checked = pose.rigid(T)
    except (BadFrame, np.linalg.LinAlgError) as error:
        raise BadRecording(path, str(error), frame) from None
    return checked, float(np.abs(np.linalg.svd(T[:3, :3], compute_uv=False) - 1.0).max())


def recorded_pose(
    T: NDArray[np.float64], path: Path, frame: int | None = None
) -> tuple[NDArray[np.float64] | None, float]:
    """As `checked_rigid`, or (None, 0) where the matrix says that tracking was lost."""
    return (None, 0.0) if is_lost(T) else checked_rigid(T, path, frame)
