"""A writer of chunked MCAP files whose content is safe chunk by chunk, and which a full disk cannot spoil.

Layout: https://mcap.dev/spec. The `mcap` package writes such files too, but gives no way to close a chunk because time
has passed, and none to end the file once a write has failed; both are what a recording while running is about.
"""

from __future__ import annotations

import os
import struct
from binascii import crc32
from collections.abc import Callable
from dataclasses import dataclass

MAGIC = b"\x89MCAP0\r\n"
CHUNK_BYTES = 1 << 20
"""A chunk is closed when its content has reached this many bytes, before compression, and always between frames."""
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(0x01, 0x09)
STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F

Compress = Callable[[bytes], bytes]


@dataclass(slots=True)
class _Chunk:
    """A chunk in the making. index: by channel, packed (log time, offset in the content) of its messages."""

    content: bytearray
    index: dict[int, bytearray]
    first_ns: int
    last_ns: int


class McapWriter:
    """Writes one MCAP file to an open descriptor, which stays its caller's.

    compress: of a chunk's content, and its name in the file ("" and the identity: none). Each chunk goes out in one
    write with its index behind it: what is there after a SIGKILL is whole up to the last chunk. Every method raises
    OSError where the file cannot be written; the file has then been cut back to its last whole chunk, and `close`
    ends it as well as there is room for. In memory: one chunk, and about 150 bytes for each chunk written.
    """

    def __init__(self, fd: int, compression: str, compress: Compress, library: str) -> None:
        self.fd = fd
        self.nbytes = 0
        """Bytes of the file, without the chunk in the making."""
        self.chunks = 0
        self._compression, self._compress = compression, compress
        self._schemas: list[bytes] = []
        self._channels: list[bytes] = []
        self._counts: dict[int, int] = {}
        self._chunk = _Chunk(bytearray(), {}, 0, 0)
        self._chunk_index = bytearray()  # packed and not objects: a recording of hours has 100,000 chunks
        self._metadata_index = bytearray()
        self._span_ns: tuple[int, int] | None = None
        self._closed = False
        self._write(MAGIC + _record(HEADER, _text("ros2") + _text(library)))

    @property
    def waiting_bytes(self) -> int:
        """Content of the chunk in the making."""
        return len(self._chunk.content)

    def add_channel(self, topic: str, type_name: str, definition: str) -> int:
        """A topic of CDR messages; returns the id of its channel. definition: the type as `ros2msg` text."""
        number = len(self._channels) + 1
        schema = struct.pack("<H", number) + _text(type_name) + _text("ros2msg") + _bytes(definition.encode())
        channel = struct.pack("<HH", number, number) + _text(topic) + _text("cdr") + struct.pack("<I", 0)
        self._schemas.append(_record(SCHEMA, schema))
        self._channels.append(_record(CHANNEL, channel))
        self._counts[number] = 0
        self._write(self._schemas[-1] + self._channels[-1])
        return number

    def metadata(self, name: str, entries: dict[str, str]) -> None:
        """A named table of texts, which `mcap get metadata` shows."""
        packed = b"".join(_text(key) + _text(value) for key, value in entries.items())
        record = _record(METADATA, _text(name) + _bytes(packed))
        place = self.nbytes
        self._write(record)
        self._metadata_index += _record(METADATA_INDEX, struct.pack("<QQ", place, len(record)) + _text(name))

    def message(self, channel: int, time_ns: int, data: bytes | memoryview) -> None:
        """Add a message to the chunk in the making. time_ns: when it was taken, as both of its times."""
        chunk = self._chunk
        if not chunk.index:
            chunk.first_ns = chunk.last_ns = time_ns
        chunk.first_ns, chunk.last_ns = min(chunk.first_ns, time_ns), max(chunk.last_ns, time_ns)
        place = len(chunk.content)
        chunk.index.setdefault(channel, bytearray()).extend(struct.pack("<QQ", time_ns, place))
        sequence = self._counts[channel] = self._counts[channel] + 1
        chunk.content += struct.pack(
            "<BQHIQQ", MESSAGE, 22 + len(data), channel, sequence & 0xFFFFFFFF, time_ns, time_ns
        )
        chunk.content += data

    def flush(self) -> None:
        """Write the chunk in the making, whatever its size."""
        chunk = self._chunk
        if not chunk.index:
            return
        content = bytes(chunk.content)
        head = struct.pack("<QQQI", chunk.first_ns, chunk.last_ns, len(content), crc32(content))
        packed = self._compress(content)
        written = [_record(CHUNK, head + _text(self._compression) + struct.pack("<Q", len(packed)) + packed)]
        length, place = len(written[0]), self.nbytes + len(written[0])
        offsets = bytearray()
        for channel, entries in chunk.index.items():
            offsets += struct.pack("<HQ", channel, place)
            written.append(_record(MESSAGE_INDEX, struct.pack("<HI", channel, len(entries)) + entries))
            place += len(written[-1])
        start = self.nbytes
        self._chunk = _Chunk(bytearray(), {}, 0, 0)  # before the write: what could not be written is given up
        self._write(b"".join(written))
        self._chunk_index += _record(
            CHUNK_INDEX,
            struct.pack("<QQQQ", chunk.first_ns, chunk.last_ns, start, length)
            + _bytes(offsets)
            + struct.pack("<Q", self.nbytes - start - length)
            + _text(self._compression)
            + struct.pack("<QQ", len(packed), len(content)),
        )
        self.chunks += 1
        low, high = self._span_ns or (chunk.first_ns, chunk.last_ns)
        self._span_ns = (min(low, chunk.first_ns), max(high, chunk.last_ns))

    def close(self) -> None:
        """Write the last chunk, the summary and the end; without room for them, the end alone. Twice is fine.

        Raises OSError when something of it is missing.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            self._end()

    def _end(self) -> None:
        data_end = _record(DATA_END, struct.pack("<I", 0))
        start = self.nbytes + len(data_end)
        groups = (
            (SCHEMA, b"".join(self._schemas)),
            (CHANNEL, b"".join(self._channels)),
            (STATISTICS, self._statistics()),
            (CHUNK_INDEX, bytes(self._chunk_index)),
            (METADATA_INDEX, bytes(self._metadata_index)),
        )
        summary, offsets = bytearray(), bytearray()
        for op, group in groups:
            if group:
                offsets += _record(SUMMARY_OFFSET, struct.pack("<BQQ", op, start + len(summary), len(group)))
                summary += group
        offset_start = start + len(summary)
        footer = struct.pack("<BQQQ", FOOTER, 20, start, offset_start)
        checksum = struct.pack("<I", crc32(bytes(summary + offsets) + footer))
        try:
            self._write(data_end + bytes(summary + offsets) + footer + checksum + MAGIC)
        except OSError:
            self._write(data_end + _record(FOOTER, struct.pack("<QQI", 0, 0, 0)) + MAGIC)
            raise

    def _statistics(self) -> bytes:
        low, high = self._span_ns or (0, 0)
        counts = b"".join(struct.pack("<HQ", channel, count) for channel, count in self._counts.items())
        head = struct.pack(
            "<QHIIIIQQ",
            sum(self._counts.values()),
            len(self._schemas),
            len(self._channels),
            0,
            1 if self._metadata_index else 0,
            self.chunks,
            low,
            high,
        )
        return _record(STATISTICS, head + _bytes(counts))

    def _write(self, data: bytes) -> None:
        rest, place = memoryview(data), self.nbytes
        try:
            while rest:
                done = os.pwrite(self.fd, rest, place)
                rest, place = rest[done:], place + done
        except OSError:
            os.ftruncate(self.fd, self.nbytes)  # half of a chunk would hide that what is before it is whole
            raise
        self.nbytes = place


def _record(op: int, content: bytes | bytearray) -> bytes:
    return struct.pack("<BQ", op, len(content)) + content


def _text(text: str) -> bytes:
    return _bytes(text.encode())


def _bytes(data: bytes | bytearray) -> bytes:
    return struct.pack("<I", len(data)) + data
