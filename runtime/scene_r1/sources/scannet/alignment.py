"""`<scan id>.txt`: what ScanNet publishes beside a scan, of which the alignment of its axes is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import IDENTITY
from scene_r1.sources.recorded_file import read_text
from scene_r1.sources.scannet.matrix import checked_rigid, parse_matrix
from scene_r1_engines.errors import BadRecording

KEY = "axisAlignment"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """T_aligned_scan: (4, 4) float64, the scan's own frame to the one with walls along the axes, in which the boxes
    of ScanRefer are. note: in words, which of the two the poses are given in."""

    T_aligned_scan: NDArray[np.float64]
    note: str


def find_alignment(places: Sequence[Path]) -> Alignment:
    """The alignment in the first of these files that is there and has one; else none, and the note says so.

    Scans of the test set have a file without it. Raises BadRecording for one that is no rigid transform.
    """
    for path in places:
        if not os.path.lexists(path):
            continue
        T = read_alignment(path)
        if T is not None:
            return Alignment(T, f"poses are in the aligned frame of ScanRefer's boxes ({KEY} of {path.name})")
    names = " or ".join(dict.fromkeys(path.name for path in places))
    return Alignment(IDENTITY, f"poses are in the scan's own frame: no {KEY} found ({names})")


def read_alignment(path: Path) -> NDArray[np.float64] | None:
    """(4, 4) float64 scan to aligned frame, from a file of `key = value` lines; None where it has no such line."""
    for line in read_text(path, limit_bytes=MAX_BYTES).splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == KEY:
            T = parse_matrix(value, path, what=f"{KEY} ")
            if not np.isfinite(T).all():
                raise BadRecording(path, f"{KEY} has NaN or infinite entries: download the file again")
            return checked_rigid(T, path)[0]
    return None


def beside_scan(folder: Path, scan: str) -> tuple[Path, ...]:
    """Where the file of a scan may lie, seen from the folder that holds its recording."""
    name = f"{scan}.txt"
    return folder / name, folder / scan / name
