"""MCAP files, read from front to back, so that one without an index, or cut off, gives what it has.

Layout: https://mcap.dev/spec. A file is magic bytes and records of opcode, length and content; messages lie in the
file or in compressed chunks of such records.
"""

from __future__ import annotations

import os
import struct
from binascii import crc32
from collections.abc import Collection, Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from scene_r1.sources.ros.storage import MAX_MESSAGE_BYTES, Message, Topic, begun_zstd, bounded_zstd
from scene_r1_engines.errors import BadRecording, MissingExtra

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
MAX_SUMMARY_BYTES = 64 << 20
MAX_CHANNELS = 65535
_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQI")
_FOOTER_BYTES = _RECORD.size + 20 + len(MAGIC)


class CutShort(BadRecording):
    """A file that ends, or seems to end, before its data does."""


class McapFile:
    """A Storage over one .mcap file, whatever program wrote it. Channels that are not CDR are left out.

    Topics come from the summary at the end; a file without one (a recorder that was killed) is read through for them.
    finished: whether it has the end that a recorder writes which is not killed.
    """

    ros1 = False

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with open(path, "rb") as file:
                head = file.read(len(MAGIC))
                if head != MAGIC:
                    reason = "is empty" if not head else "is no MCAP file (or version 0): it does not begin as one"
                    raise BadRecording(path, reason)
                file.seek(max(len(MAGIC), file.seek(0, os.SEEK_END) - len(MAGIC)))
                self.finished = file.read() == MAGIC
                channels = self._summary(file) or self._scan(file)
        except OSError as error:
            raise BadRecording(path, f"cannot be read ({error.strerror or error})") from error
        self.topics = tuple(dict.fromkeys(channels.values()))

    def messages(self, names: Collection[str]) -> Generator[Message, None, None]:
        wanted = frozenset(names)
        try:
            with open(self._path, "rb") as file:
                known = _Channels()
                for op, content in self._records(file):
                    if op == MESSAGE:
                        channel, _, log_ns, _ = _unpack(_MESSAGE, content, self._path)
                        topic = known.topics.get(channel)
                        if topic is not None and topic.name in wanted:
                            yield Message(topic, log_ns, bytes(content[_MESSAGE.size :]))
                    else:
                        known.add(op, content, self._path)
        except OSError as error:
            raise BadRecording(self._path, f"cannot be read on ({error.strerror or error})") from error

    def _summary(self, file: BinaryIO) -> dict[int, Topic]:
        """Channels of the summary section, none where it is missing or damaged."""
        size = file.seek(0, os.SEEK_END)
        if size < len(MAGIC) + _FOOTER_BYTES:
            return {}
        file.seek(size - _FOOTER_BYTES)
        footer = file.read(_FOOTER_BYTES)
        op, length = _RECORD.unpack_from(footer)
        start = struct.unpack_from("<Q", footer, _RECORD.size)[0]
        if footer[-len(MAGIC) :] != MAGIC or (op, length) != (FOOTER, 20):
            return {}
        end = size - _FOOTER_BYTES
        if not len(MAGIC) <= start < end or end - start > MAX_SUMMARY_BYTES:
            return {}
        file.seek(start)
        known = _Channels()
        try:
            for op, content in _walk(file.read(end - start), self._path):
                known.add(op, content, self._path)
        except BadRecording:
            return {}
        return known.topics

    def _scan(self, file: BinaryIO) -> dict[int, Topic]:
        file.seek(len(MAGIC))
        known = _Channels()
        try:
            for op, content in self._records(file):
                known.add(op, content, self._path)
        except BadRecording:
            if not known.topics:
                raise
        return known.topics

    def _records(self, file: BinaryIO) -> Iterator[tuple[int, memoryview]]:
        """Records of file and chunks up to the end of the data. Raises BadRecording where the file ends before."""
        size = file.seek(0, os.SEEK_END)
        at = file.seek(len(MAGIC))
        while True:
            head = file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                raise CutShort(self._path, f"is truncated at byte {size}: its end is missing")
            op, length = _RECORD.unpack(head)
            at += _RECORD.size
            if op in (DATA_END, FOOTER):
                return
            if op == 0:  # no record: zeros, which a file system leaves where power failed before the data was written
                raise CutShort(self._path, f"is damaged: no record begins at byte {at - _RECORD.size}")
            if length > size - at:
                if op == CHUNK:
                    yield from self._cut_chunk(memoryview(file.read(min(size - at, MAX_MESSAGE_BYTES))))
                raise CutShort(self._path, f"is truncated or damaged: {length} bytes at {at}, but it has {size}")
            if op in (SCHEMA, CHANNEL, MESSAGE, CHUNK):
                if length > MAX_MESSAGE_BYTES:
                    raise BadRecording(self._path, f"has {length} bytes in one record, more than {MAX_MESSAGE_BYTES}")
                content = memoryview(file.read(length))
                if len(content) < length:
                    raise CutShort(self._path, f"is truncated at byte {at + len(content)}")
                if op == CHUNK:
                    yield from _walk(self._chunk(content), self._path)
                else:
                    yield op, content
            else:
                file.seek(length, os.SEEK_CUR)
            at += length

    def _chunk(self, content: memoryview) -> bytes:
        _, _, size, checksum = _unpack(_CHUNK, content, self._path)
        reader = _Reader(content, self._path, _CHUNK.size)
        compression = reader.text()
        data = reader.take(reader.number("<Q"))
        if size > MAX_MESSAGE_BYTES:
            raise BadRecording(self._path, f"has a chunk of {size} bytes, more than the {MAX_MESSAGE_BYTES} allowed")
        try:
            raw = _decompress(bytes(data), compression, size)
        except ValueError as error:
            raise BadRecording(self._path, f"is damaged: a chunk {error}") from None
        if len(raw) != size or (checksum and crc32(raw) != checksum):
            raise BadRecording(self._path, "is damaged: a chunk's size or checksum is wrong")
        return raw

    def _cut_chunk(self, content: memoryview) -> Iterator[tuple[int, memoryview]]:
        """The whole records at the beginning of a chunk whose end is missing."""
        try:
            _, _, size, _ = _unpack(_CHUNK, content, self._path)
            reader = _Reader(content, self._path, _CHUNK.size)
            compression = reader.text()
            reader.number("<Q")
            data = bytes(reader.rest())
            if compression == "zstd":
                data = begun_zstd(data, min(size, MAX_MESSAGE_BYTES))
            if compression in ("", "zstd"):
                yield from _walk(data, self._path)
        except (BadRecording, ValueError):
            return


class _Channels:
    """Topics by channel id, of what is serialised as CDR."""

    def __init__(self) -> None:
        self.topics: dict[int, Topic] = {}
        self._schemas: dict[int, str] = {}

    def add(self, op: int, content: memoryview, path: Path) -> None:
        reader = _Reader(content, path)
        if op == SCHEMA:
            key = reader.number("<H")
            self._schemas[key] = reader.text()
        elif op == CHANNEL:
            channel, schema = reader.number("<H"), reader.number("<H")
            name, encoding = reader.text(), reader.text()
            if encoding == "cdr" and schema in self._schemas:
                self.topics[channel] = Topic(name, self._schemas[schema])


class _Reader:
    """Fields of one record. Raises BadRecording where they do not fit into it."""

    def __init__(self, content: memoryview, path: Path, at: int = 0) -> None:
        self._content, self._path, self._at = content, path, at

    def take(self, length: int) -> memoryview:
        end = self._at + length
        if end > len(self._content):
            raise BadRecording(self._path, "is damaged: a record is shorter than its fields")
        part = self._content[self._at : end]
        self._at = end
        return part

    def rest(self) -> memoryview:
        return self._content[self._at :]

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        return bytes(self.take(self.number("<I"))).decode("utf-8", "replace")


def _walk(data: bytes, path: Path) -> Iterator[tuple[int, memoryview]]:
    """The records in a chunk or in the summary."""
    view, at = memoryview(data), 0
    while at < len(view):
        op, length = _unpack(_RECORD, view[at:], path)
        at += _RECORD.size
        if length > len(view) - at:
            raise BadRecording(path, "is damaged: a record reaches beyond its chunk")
        yield op, view[at : at + length]
        at += length


def _unpack(form: struct.Struct, content: memoryview, path: Path) -> tuple[int, ...]:
    if len(content) < form.size:
        raise BadRecording(path, "is damaged: a record is shorter than its fields")
    return form.unpack_from(content)


def _decompress(data: bytes, compression: str, size: int) -> bytes:
    """Raises ValueError saying what is wrong with a chunk."""
    if compression == "":
        return data
    if compression == "zstd":
        return bounded_zstd(data, size)
    if compression != "lz4":
        raise ValueError(f"is compressed by {compression[:40]!r}; read are zstd and lz4")
    try:
        lz4_frame = import_module("lz4.frame")
    except ImportError as error:
        raise MissingExtra("ros", "reading compressed bags", str(error)) from error
    try:
        return bytes(lz4_frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"is no LZ4 data ({error})") from None
