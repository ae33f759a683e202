"""What a GGUF file says of itself, read without trusting it: each count is held against the file's own size."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadModelFile, MissingExtra

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""GGUF's type numbers of single values, and how each is packed."""
MOST_DIMENSIONS = 4
LONGEST_ARRAY_KEPT = 64
"""A vocabulary of 150,000 words is walked over, not kept."""

Value = int | float | bool | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of the file. shape: as GGUF has it, the length of a row first. type: ggml's name, e.g. "Q4_K".
    offset: of its first byte in the file. bytes: of its data."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """metadata: single values and strings, and arrays of at most 64 strings; other arrays are None.
    tensors: by name, in the file's order."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, TensorEntry]

    def text(self, key: str) -> str:
        """A string of the metadata, "" where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """A whole number of the metadata, 0 where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def float32(self, name: str) -> NDArray[np.float32]:
        """The values of an F32 tensor, in numpy's order of axes (a row last). Raises BadModelFile for another type."""
        entry = self.tensors[name]
        if entry.type != "F32":
            raise BadModelFile(self.path, f"tensor {name} must be F32, it is {entry.type}")
        values = np.fromfile(self.path, np.dtype("<f4"), entry.elements, offset=entry.offset)
        if values.size != entry.elements:
            raise BadModelFile(self.path, f"tensor {name} ends early: the file changed while it was read")
        return values.reshape(entry.shape[::-1]).astype(np.float32, copy=False)


def block_sizes() -> dict[str, tuple[int, int]]:
    """ggml's types by name: how many values a block holds, and its bytes. Raises MissingExtra without gguf."""
    return {kind.name: (int(values), int(size)) for kind, (values, size) in _quant_sizes().items()}


def read_header(path: str | os.PathLike[str]) -> GgufHeader:
    """Metadata and list of tensors of a little-endian GGUF file of version 2 or 3.

    Raises BadModelFile where the file is absent, empty, truncated, or says what cannot be; the whole of each tensor's
    data must lie in the file. Raises MissingExtra without the package gguf, which knows the types.
    """
    where = Path(path)
    names = {int(kind): kind.name for kind in _quant_sizes()}
    sizes = block_sizes()
    if not where.is_file():
        raise BadModelFile(where, "is not a file: name a GGUF file")
    try:
        with where.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            if total < 24 or file.read(4) != MAGIC:
                raise BadModelFile(where, "is not a GGUF file: it does not begin with GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Cursor(where, data, total).header(names, sizes)
    except OSError as error:
        raise BadModelFile(where, f"cannot be read: {error.strerror or error}") from None


class _Cursor:
    """A place in the file that only moves on, and never past its end."""

    def __init__(self, path: Path, data: mmap.mmap, total: int) -> None:
        self.path = path
        self.data = data
        self.total = total
        self.at = len(MAGIC)

    def header(self, names: Mapping[int, str], sizes: Mapping[str, tuple[int, int]]) -> GgufHeader:
        version = self.scalar("<I")
        if version not in VERSIONS:
            raise self.fault(f"has GGUF version {version}; versions 2 and 3 can be read")
        tensor_count, key_count = int(self.scalar("<Q")), int(self.scalar("<Q"))
        # The shortest tensor entry has 28 bytes, the shortest key 13: so a count is bounded before it is believed.
        if tensor_count * 28 + key_count * 13 > self.total:
            raise self.fault(f"claims {tensor_count} tensors and {key_count} keys, more than its size can hold")
        metadata: dict[str, Value] = {}
        for _ in range(key_count):
            key = self.string()
            if key in metadata:
                raise self.fault(f"has the key {key[:80]!r} twice")
            metadata[key] = self.value(int(self.scalar("<I")))
        entries = [self.entry(names, sizes) for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", 32)
        if not (isinstance(alignment, int) and 1 <= alignment <= 1 << 20 and alignment & (alignment - 1) == 0):
            raise self.fault(f"general.alignment must be a power of two, it is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        tensors: dict[str, TensorEntry] = {}
        for entry in entries:
            if entry.name in tensors:
                raise self.fault(f"has the tensor {entry.name} twice")
            if start + entry.offset + entry.bytes > self.total:
                raise self.fault(f"is truncated: tensor {entry.name} ends after byte {self.total}, where the file does")
            tensors[entry.name] = TensorEntry(entry.name, entry.shape, entry.type, start + entry.offset, entry.bytes)
        return GgufHeader(self.path, metadata, tensors)

    def entry(self, names: Mapping[int, str], sizes: Mapping[str, tuple[int, int]]) -> TensorEntry:
        name = self.string()
        dimensions = int(self.scalar("<I"))
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self.fault(f"tensor {name[:80]!r} has {dimensions} dimensions; 1 to {MOST_DIMENSIONS} can be")
        shape = tuple(int(self.scalar("<Q")) for _ in range(dimensions))
        number, offset = int(self.scalar("<I")), int(self.scalar("<Q"))
        if number not in names:
            raise self.fault(f"tensor {name[:80]!r} has the type {number}, which this version of gguf does not know")
        kind = names[number]
        values, size = sizes[kind]
        if min(shape) < 1 or shape[0] % values:
            raise self.fault(f"tensor {name[:80]!r} has the shape {shape}, which no {kind} tensor can have")
        return TensorEntry(name, shape, kind, offset, prod(shape) // values * size)

    def value(self, kind: int) -> Value:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array()
        if kind not in SCALARS:
            raise self.fault(f"has a value of the unknown type {kind} before byte {self.at}")
        return self.scalar(SCALARS[kind])

    def array(self) -> Value:
        kind, count = int(self.scalar("<I")), int(self.scalar("<Q"))
        if kind in SCALARS:
            self.skip(count * struct.calcsize(SCALARS[kind]))
            return None
        if kind != STRING:
            raise self.fault(f"has an array of the type {kind} before byte {self.at}; only single values and strings")
        if count * 8 > self.total - self.at:
            raise self.fault(f"claims an array of {count} strings, more than its size can hold")
        if count > LONGEST_ARRAY_KEPT:
            for _ in range(count):
                self.skip(int(self.scalar("<Q")))
            return None
        return tuple(self.string() for _ in range(count))

    def scalar(self, form: str) -> int | float | bool:
        begin = self.at
        self.skip(struct.calcsize(form))
        value: int | float | bool = struct.unpack_from(form, self.data, begin)[0]
        return value

    def string(self) -> str:
        length = int(self.scalar("<Q"))
        begin = self.at
        self.skip(length)
        try:
            return self.data[begin : self.at].decode()
        except UnicodeDecodeError:
            raise self.fault(f"has a name or string that is not UTF-8 at byte {begin}") from None

    def skip(self, count: int) -> None:
        if count > self.total - self.at:
            raise self.fault(f"is truncated: its header goes on after byte {self.total}, where the file ends")
        self.at += count

    def fault(self, reason: str) -> BadModelFile:
        return BadModelFile(self.path, reason)


def _quant_sizes() -> dict[Any, tuple[int, int]]:
    try:
        from gguf import GGML_QUANT_SIZES
    except ImportError as error:
        raise MissingExtra("export", "reading GGUF files", str(error)) from None
    sizes: dict[Any, tuple[int, int]] = GGML_QUANT_SIZES
    return sizes
