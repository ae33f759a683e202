"""The header of a GGUF file: what a model file says of itself, checked whole before native code sees it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from struct import Struct
from typing import BinaryIO, NoReturn

from scene_r1_engines.errors import BadModelFile

MOST_HEADER_BYTES = 64 << 20
"""A vocabulary of 260,000 tokens with 510,000 merges takes about 16 MB."""
MOST_KEYS = 4096
MOST_TENSORS = 1 << 16
MOST_KEPT_BYTES = 32 << 20
"""Of texts and small arrays that are kept as Python values."""
LONGEST_KEY = 0xFFFF
LONGEST_NAME = 63
"""Of a tensor, in bytes: ggml holds 64 with the final zero, and aborts or cuts what is longer."""
SMALL = 1024
"""Arrays of so many items are kept; of longer ones only type and length."""
CHUNK = 1 << 20

Scalar = int | float | bool | str

STRING, ARRAY = 8, 9
SCALARS = {
    # type: (name, its bytes); those of strings are of their length
    0: ("UINT8", Struct("<B")),
    1: ("INT8", Struct("<b")),
    2: ("UINT16", Struct("<H")),
    3: ("INT16", Struct("<h")),
    4: ("UINT32", Struct("<I")),
    5: ("INT32", Struct("<i")),
    6: ("FLOAT32", Struct("<f")),
    7: ("BOOL", Struct("<?")),
    STRING: ("STRING", Struct("<Q")),
    10: ("UINT64", Struct("<Q")),
    11: ("INT64", Struct("<q")),
    12: ("FLOAT64", Struct("<d")),
}
TENSOR_TYPES = {
    # type: (name, elements of a block, bytes of a block); Q8_1 and Q8_K are made while computing, never stored
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
U32, U64 = SCALARS[4][1], SCALARS[10][1]
Q8 = U64.size


@dataclass(frozen=True, slots=True)
class GgufArray:
    """type: of its items, e.g. "STRING". items: None where there are more than SMALL of them."""

    type: str
    length: int
    items: tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """shape: elements, the fastest dimension first, as ggml has it (torch reversed). type: as ggml names it, e.g.
    "Q4_K". offset: bytes from the file's start. nbytes: of its data."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A header that was read whole and is sound: all data it speaks of lies in the file, nothing overlaps.

    metadata: in the file's order. types: of each, e.g. "UINT32" or "ARRAY". tensors: by name, in the file's order.
    alignment: bytes, of each tensor's data. data_offset: bytes, where the data starts. nbytes: of the file.
    """

    path: str
    version: int
    metadata: Mapping[str, Scalar | GgufArray]
    types: Mapping[str, str]
    tensors: Mapping[str, GgufTensor]
    alignment: int
    data_offset: int
    nbytes: int

    def said(self, key: str) -> str:
        """A text of the metadata, "" where it is missing or no text."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def value(self, key: str, type: str) -> Scalar | GgufArray:
        """A value of the type that native code will take it for: it aborts where it is of another one.

        Raises BadModelFile when it is missing or of another type.
        """
        if self.types.get(key) != type:
            raise BadModelFile(self.path, f"{key} must be a {type}, got {self.types.get(key, 'nothing')}: export again")
        return self.metadata[key]

    def text(self, key: str) -> str:
        return str(self.value(key, "STRING"))

    def number(self, key: str, least: int, most: int) -> int:
        """A UINT32 in least..most. Raises BadModelFile as `value`, and for a number outside."""
        value = self.value(key, "UINT32")
        if not (isinstance(value, int) and least <= value <= most):
            raise BadModelFile(self.path, f"{key} must be in {least}..{most}, got {value}: export again")
        return value

    def array(self, key: str, type: str) -> tuple[Scalar, ...]:
        """The items of a small array. Raises BadModelFile as `value`, for items of another type and for too many."""
        value = self.value(key, "ARRAY")
        if not isinstance(value, GgufArray) or value.type != type or value.items is None:
            raise BadModelFile(self.path, f"{key} must be an array of at most {SMALL} {type}: export again")
        return value.items


def open_model_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, opened to read, unbuffered. Raises BadModelFile for anything else; a pipe is not waited for."""
    where = os.fspath(path)
    try:
        # Asked before it is opened, since opening a device may do something, and after, since it may be another one.
        if stat.S_ISREG(os.stat(where).st_mode):
            descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            file = os.fdopen(descriptor, "rb", buffering=0)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file
            file.close()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise BadModelFile(where, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    raise BadModelFile(where, "is not a regular file: name a model file")


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """The header of a GGUF file, version 2 or 3, little-endian. The tensors' data is not looked at.

    Takes memory and time by what the header really holds, at most MOST_HEADER_BYTES, whatever counts it states. Raises
    BadModelFile for any defect.
    """
    with open_model_file(path) as file:
        return read_open_gguf(file, path)


def read_open_gguf(file: BinaryIO, path: str | os.PathLike[str]) -> GgufFile:
    """As `read_gguf`, of a file that is already open, from its start. path: for what errors say."""
    header = _Header(file, os.fspath(path))
    version, tensor_count, key_count = _preamble(header)
    metadata: dict[str, Scalar | GgufArray] = {}
    types: dict[str, str] = {}
    for _ in range(key_count):
        key = header.text("a key", LONGEST_KEY)
        if not key or "\0" in key or key in metadata:
            header.fail(f"its key {key[:64]!r} is there twice" if key in metadata else f"a key is {key[:64]!r}")
        metadata[key], types[key] = _value(header, key)
    alignment = _alignment(header, metadata, types)
    stated = [_tensor(header) for _ in range(tensor_count)]
    data_offset = header.at + -header.at % alignment
    tensors: dict[str, GgufTensor] = {}
    end = data_offset
    for name, shape, kind, nbytes, offset in stated:
        if name in tensors:
            header.fail(f"its tensor {name!r} is there twice")
        # llama.cpp takes only this layout: in order, and no gap but for the alignment.
        if offset != end - data_offset:
            header.fail(f"its tensor {name!r} is said to be at {offset}, where {end - data_offset} must follow")
        if nbytes > header.size - end:
            header.fail(f"its tensor {name!r} reaches {nbytes - (header.size - end)} bytes beyond the file's end")
        tensors[name] = GgufTensor(name, shape, kind, end, nbytes)
        end += nbytes + -nbytes % alignment
    return GgufFile(header.path, version, metadata, types, tensors, alignment, data_offset, header.size)


def _preamble(header: _Header) -> tuple[int, int, int]:
    """version, number of tensors, number of keys."""
    magic = header.take(4)
    if magic != b"GGUF":
        header.fail(f"is not a GGUF file, it starts with {magic!r}")
    version = header.unpack(U32)
    if version & 0xFFFF == 0 and version:
        header.fail("is big-endian, which this machine's llama.cpp does not read")
    if version not in (2, 3):
        header.fail(f"has GGUF version {version}, known are 2 and 3")
    tensor_count, key_count = header.unpack(U64), header.unpack(U64)
    if tensor_count > MOST_TENSORS or key_count > MOST_KEYS:
        header.fail(f"states {tensor_count} tensors and {key_count} keys, more than {MOST_TENSORS} and {MOST_KEYS}")
    return version, tensor_count, key_count


def _value(header: _Header, key: str) -> tuple[Scalar | GgufArray, str]:
    """A value and the name of its type."""
    kind = header.unpack(U32)
    if kind == ARRAY:
        return _array(header, key), "ARRAY"
    if kind not in SCALARS:
        header.fail(f"the value of {key[:64]!r} has the unknown type {kind}")
    name, form = SCALARS[kind]
    if kind == STRING:
        return header.text(f"the value of {key[:64]!r}", MOST_KEPT_BYTES), name
    raw = header.take(form.size)
    _refuse_odd_bools(header, key, name, raw)
    value: Scalar = form.unpack(raw)[0]
    return value, name


def _array(header: _Header, key: str) -> GgufArray:
    kind, length = header.unpack(U32), header.unpack(U64)
    if kind not in SCALARS:
        header.fail(f"the array {key[:64]!r} has items of type {kind}, which is unknown or an array")
    name, form = SCALARS[kind]
    if length > (header.size - header.at) // form.size:
        header.fail(f"the array {key[:64]!r} is said to have {length} items, more than the file can hold")
    if kind == STRING:
        if length > SMALL:
            header.skip_strings(length)
            return GgufArray(name, length, None)
        what = f"an item of {key[:64]!r}"
        return GgufArray(name, length, tuple(header.text(what, MOST_KEPT_BYTES) for _ in range(length)))
    raw = header.take(length * form.size)
    _refuse_odd_bools(header, key, name, raw)
    if length > SMALL:
        return GgufArray(name, length, None)
    header.keep(length * 32)
    return GgufArray(name, length, tuple(one for (one,) in form.iter_unpack(raw)))


def _refuse_odd_bools(header: _Header, key: str, name: str, raw: bytes) -> None:
    """A C++ bool that is neither 0 nor 1 is undefined behaviour in who reads it."""
    if name == "BOOL" and raw.translate(None, b"\0\1"):
        header.fail(f"{key[:64]!r} holds a BOOL that is neither 0 nor 1")


def _alignment(header: _Header, metadata: Mapping[str, Scalar | GgufArray], types: Mapping[str, str]) -> int:
    alignment = metadata.get("general.alignment", 32)
    kind = types.get("general.alignment", "UINT32")
    if not isinstance(alignment, int) or kind != "UINT32" or alignment < 8 or alignment & (alignment - 1):
        header.fail(f"general.alignment must be a UINT32 and a power of two of 8 or more, got {kind} {alignment!r:.40}")
    return alignment


def _tensor(header: _Header) -> tuple[str, tuple[int, ...], str, int, int]:
    """name, shape, type, bytes, and the offset in the data."""
    name = header.text("a tensor's name", LONGEST_NAME)
    if not name or "\0" in name:
        header.fail(f"a tensor's name is {name!r}")
    dimensions = header.unpack(U32)
    if not 1 <= dimensions <= 4:
        header.fail(f"its tensor {name!r} has {dimensions} dimensions, 1 to 4 are known")
    shape = tuple(header.unpack(U64) for _ in range(dimensions))
    kind, offset = header.unpack(U32), header.unpack(U64)
    if kind not in TENSOR_TYPES:
        header.fail(f"its tensor {name!r} has the unknown type {kind}")
    kind_name, block, block_bytes = TENSOR_TYPES[kind]
    nbytes = prod(shape) // block * block_bytes  # Python's numbers do not overflow, so the file's size is bound enough
    if shape[0] % block or not 0 < nbytes <= header.size:
        header.fail(f"its tensor {name!r} of type {kind_name} cannot have the shape {shape}")
    return name, shape, kind_name, nbytes, offset


class _Header:
    """The bytes of a header, read as far as they are asked for. at: what comes next. size: of the file.

    Read and not mapped: a mapped file that another process cuts short kills who reads it.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.path, self.at, self.kept = path, 0, 0
        self._file, self._data = file, bytearray()
        self.size = os.fstat(file.fileno()).st_size
        file.seek(0)

    def fail(self, reason: str) -> NoReturn:
        raise BadModelFile(self.path, f"{reason}: copy or export it again")

    def take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self._data):
            self._read_to(self.at)
        return bytes(self._data[start : self.at])

    def unpack(self, form: Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def text(self, what: str, longest: int) -> str:
        """A string that is kept."""
        length = self.unpack(U64)
        if length > longest:
            self.fail(f"{what} is said to be {length} bytes long, more than {longest}")
        self.keep(length + 64)
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            self.fail(f"{what} is not UTF-8 text")

    def keep(self, nbytes: int) -> None:
        self.kept += nbytes
        if self.kept > MOST_KEPT_BYTES:
            self.fail(f"its texts and small arrays take more than {MOST_KEPT_BYTES} bytes")

    def skip_strings(self, count: int) -> None:
        """Walk over strings by their lengths. The one loop that is long: 300,000 of a real vocabulary."""
        data, at, have, length_at = self._data, self.at, len(self._data), U64.unpack_from
        for _ in range(count):
            if at + Q8 > have:  # also where the string before this one was longer than the file
                have = self._read_to(at + Q8)
            at += Q8 + length_at(data, at)[0]
        self.at = at
        self._read_to(at)

    def _read_to(self, end: int) -> int:
        """Have the first `end` bytes in memory, and somewhat more. Returns how many there are."""
        if end > self.size:
            self.fail(
                f"is truncated or states wrong lengths: its header goes on to byte {end}, the file has {self.size}"
            )
        if end > MOST_HEADER_BYTES:
            self.fail(f"has a header of more than {MOST_HEADER_BYTES} bytes")
        wanted = min(max(end, len(self._data) + CHUNK), self.size)
        while len(self._data) < end:
            try:
                chunk = self._file.read(wanted - len(self._data))
            except OSError as error:
                self.fail(f"cannot be read ({error.strerror or error})")
            if not chunk:
                self.fail("became shorter while it was read")
            self._data += chunk
        return len(self._data)
