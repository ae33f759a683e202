"""Protocol Buffers as bytes on disk, read forward and without trust: known fields only, each at most once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from scene_r1_engines.errors import BadModelFile

MOST_FIELDS = 1 << 20
"""Of a whole file; the largest SAM2 image encoder has about 50,000. Without a bound, 2 GiB of two-byte fields would
take an hour."""
LONGEST_TEXT = 0xFFFF
WINDOW = 1 << 16
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MANY_BYTES = bytes(range(0x80, 0x100))
"""Those that are not the last of a varint."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What may stand in a field. wire: its wire type. repeated: more than once, and packed where it is no BYTES."""

    name: str
    wire: int
    repeated: bool = False


Schema = Mapping[int, Kind]


@dataclass(frozen=True, slots=True)
class Field:
    """One field. value: of a VARINT, as written, unsigned. start, end: bytes of the file that a BYTES field, or a
    packed one, fills; both 0 for the others."""

    name: str
    value: int
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start

    @property
    def signed(self) -> int:
        """The value as an int64."""
        return self.value - (1 << 64) if self.value >> 63 else self.value


class Wire:
    """An open file of fields within fields. Takes memory by WINDOW, whatever lengths it states.

    Raises BadModelFile, naming the file, for whatever is not sound.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.path = path
        self.size = os.fstat(file.fileno()).st_size
        self._file, self._fields = file.fileno(), 0
        self._window, self._window_at = b"", 0

    def fail(self, reason: str) -> NoReturn:
        raise BadModelFile(self.path, f"{reason}: copy or export it again")

    def message(self, what: str, start: int, end: int, schema: Schema) -> Iterator[Field]:
        """The fields of a message, in the file's order. what: its name, for errors.

        An unknown field is refused: who knows what native code takes it for. So is a single one that comes twice,
        which readers would merge or overwrite.
        """
        seen: set[int] = set()
        at = start
        while at < end:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                self.fail(f"has more than {MOST_FIELDS} fields, so it is no model of ours")
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            kind = schema.get(number)
            if kind is None:
                self.fail(f"is damaged or no model of ours: {what} has the unknown field {number} at byte {at}")
            packed = wire == BYTES != kind.wire and kind.repeated
            if wire != kind.wire and not packed:
                self.fail(f"is damaged: {kind.name} of {what} at byte {at} has the wire type {wire}, not {kind.wire}")
            if not kind.repeated and number in seen:
                self.fail(f"is damaged: {what} has {kind.name} twice")
            seen.add(number)
            if wire == VARINT:
                value, at = self._varint(at, end)
                yield Field(kind.name, value, 0, 0)
                continue
            length = {FIXED32: 4, FIXED64: 8}.get(wire, -1)
            if length < 0:
                length, at = self._varint(at, end)
            if length > end - at:
                self.fail(
                    f"is truncated or damaged: {kind.name} of {what} is said to have {length} bytes at byte {at}, "
                    f"{end - at} are left"
                )
            yield Field(kind.name, 0, at, at + length) if wire == BYTES else Field(kind.name, 0, 0, 0)
            at += length

    def text(self, what: str, field: Field) -> str:
        """A string that is kept."""
        if field.nbytes > LONGEST_TEXT:
            self.fail(f"{what} is {field.nbytes} bytes long, more than {LONGEST_TEXT}")
        try:
            return self._bytes(field.start, field.end).decode()
        except UnicodeDecodeError:
            self.fail(f"is damaged: {what} is not UTF-8 text")

    def count_varints(self, field: Field) -> int:
        """How many numbers a packed field holds."""
        count, last = 0, 0
        for start in range(field.start, field.end, 1 << 20):
            piece = self._read(start, min(start + (1 << 20), field.end))
            count += len(piece.translate(None, MANY_BYTES))
            last = piece[-1]
        if last & 0x80:
            self.fail(f"is damaged: the last number of {field.name} is cut")
        return count

    def numbers(self, field: Field) -> list[int]:
        """The numbers of a packed field, as int64."""
        found, at = [], field.start
        while at < field.end:
            value, at = self._varint(at, field.end)
            found.append(Field(field.name, value, 0, 0).signed)
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """value, where the next byte is."""
        value = shift = 0
        while True:
            if at >= end:
                self.fail(f"is truncated or damaged: a number is cut at byte {at}")
            place = at - self._window_at
            if not 0 <= place < len(self._window):
                self._window, self._window_at, place = self._read(at, min(at + WINDOW, self.size)), at, 0
            byte = self._window[place]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if value >> 64 or shift > 70:
                self.fail(f"is damaged: a number before byte {at} has more than 64 bits")
            if byte < 0x80:
                return value, at

    def _bytes(self, start: int, end: int) -> bytes:
        place = start - self._window_at
        if place >= 0 and end - self._window_at <= len(self._window):
            return self._window[place : place + end - start]
        return self._read(start, end)

    def _read(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            try:
                part = os.pread(self._file, end - start, start)
            except OSError as error:
                self.fail(f"cannot be read ({error.strerror or error})")
            if not part:
                self.fail("became shorter while it was read")
            parts.append(part)
            start += len(part)
        return b"".join(parts)
