"""The vertices of a PLY file (Turk 1994), as ScanNet's meshes and SceneFun3D's laser scans are stored."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadRecording

MAX_HEADER_BYTES = 1 << 16
MAX_ASCII_BYTES = 512 << 20
MAX_PROPERTIES = 64
MAX_WORD = 40
CHUNK = 1 << 20
"""Vertices that are converted at a time, so that a laser scan is never in memory twice."""
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass(frozen=True, slots=True)
class Header:
    """order: of bytes, "" for text. count: of vertices. properties: (name, numpy type) of each. start: of the data."""

    order: str
    count: int
    properties: tuple[tuple[str, str], ...]
    start: int


def read_vertices(path: Path) -> NDArray[np.float32]:
    """(N, 3) float32 metres: x, y, z of the element `vertex`, which must come first; what follows is not read.

    Raises BadRecording for a file that is missing, cut off, not PLY, without x, y, z, or with a vertex that is not
    finite. Nothing is allocated on the word of a header that the file's size does not bear out.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadRecording(path, "is not a regular file: put the mesh here")
        with open(path, "rb") as file:
            header = _read_header(path, file.read(MAX_HEADER_BYTES))
        left = status.st_size - header.start
        xyz = _ascii(path, header, left) if not header.order else _binary(path, header, left)
    except FileNotFoundError:
        raise BadRecording(path, "is missing: download it") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not np.all(np.isfinite(xyz)):
        wrong = int(np.flatnonzero(~np.isfinite(xyz).all(axis=1))[0])
        raise BadRecording(path, f"vertex {wrong} of {len(xyz)} is not finite: download the file again")
    return xyz


def _read_header(path: Path, head: bytes) -> Header:
    end = head.find(b"end_header")
    newline = head.find(b"\n", end)
    if not head.startswith(b"ply") or end < 0 or newline < 0:
        raise BadRecording(path, f"is not PLY, or its header is cut off or over {MAX_HEADER_BYTES} bytes")
    order: str | None = None
    count: int | None = None
    properties: list[tuple[str, str]] = []
    for line in head[:end].decode("latin-1").splitlines()[1:]:
        match line.split():
            case ["format", kind, _] if kind in ORDERS:
                order = ORDERS[kind]
            case ["element", "vertex", number] if count is None and number.isascii() and number.isdigit():
                count = int(number[:18])
            case ["element", *_] if count is not None:
                break
            case ["property", kind, name] if count is not None and kind in TYPES and len(properties) < MAX_PROPERTIES:
                properties.append((name, TYPES[kind]))
            case [] | ["comment", *_] | ["obj_info", *_]:
                continue
            case _:
                raise BadRecording(path, f"its header has {line[:60]!r}, which is not read here: save it again as PLY")
    names = [name for name, _ in properties]
    if order is None or count is None or len(set(names)) != len(names) or not {"x", "y", "z"} <= set(names):
        raise BadRecording(path, "its header has no format, no vertices, or not x, y and z once: save it again as PLY")
    return Header(order, count, tuple(properties), newline + 1)


def _binary(path: Path, header: Header, left: int) -> NDArray[np.float32]:
    dtype = np.dtype([(name, header.order + kind) for name, kind in header.properties])
    if header.count * dtype.itemsize > left:
        raise BadRecording(path, _cut_off(header.count, left // dtype.itemsize))
    xyz = np.empty((header.count, 3), np.float32)
    if header.count == 0:
        return xyz
    stored = np.memmap(path, dtype, "r", header.start, (header.count,))
    # a double may be beyond float32: it becomes infinite, which is refused by name
    with np.errstate(over="ignore"):
        for first in range(0, header.count, CHUNK):
            for axis, name in enumerate("xyz"):
                xyz[first : first + CHUNK, axis] = stored[name][first : first + CHUNK]
    return xyz


def _ascii(path: Path, header: Header, left: int) -> NDArray[np.float32]:
    if left > MAX_ASCII_BYTES:
        raise BadRecording(path, f"has {left} bytes of text, more than {MAX_ASCII_BYTES}: save it as binary PLY")
    width = len(header.properties)
    need = header.count * width
    if 2 * need > left + 1:  # a digit and a separator each
        raise BadRecording(path, _cut_off(header.count, left // (2 * width)))
    with open(path, "rb") as file:
        file.seek(header.start)
        words = file.read(left).split(None, need)[:need]
    if len(words) < need:
        raise BadRecording(path, _cut_off(header.count, len(words) // width))
    if need and max(map(len, words)) > MAX_WORD:  # an array of words is as wide as the longest
        raise BadRecording(path, f"has a number of more than {MAX_WORD} characters: download the file again")
    try:
        values = np.array(words, dtype=bytes).astype(np.float64).reshape(header.count, width)
    except ValueError as error:
        raise BadRecording(path, f"a vertex is not made of numbers ({error}): download the file again") from None
    columns = [[name for name, _ in header.properties].index(axis) for axis in "xyz"]
    with np.errstate(over="ignore"):
        return values[:, columns].astype(np.float32)


def _cut_off(claimed: int, there: int) -> str:
    return f"its header says {claimed} vertices, but there are at most {there}: it is cut off: download it again"
