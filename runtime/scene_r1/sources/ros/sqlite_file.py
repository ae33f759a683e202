"""The .db3 files of ROS 2 bags, read with SQLite alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from scene_r1.sources import realsense_db3
from scene_r1.sources.ros.storage import MAX_MESSAGE_BYTES, Message, Topic
from scene_r1_engines.errors import BadRecording

MAX_TOPICS = 10_000
MAX_HELD_BYTES = 64 << 20
"""Messages of a cut file that wait for one that vouches for them."""


class SqliteFile:
    """A Storage over one .db3. Messages come by their time of recording, or as they were written where the file was
    cut off or has no index of times (sorting it would need all of it in memory).
    """

    ros1 = False

    def __init__(self, path: Path) -> None:
        realsense_db3.check_kind(str(path))
        self._path = path
        self._missing = realsense_db3.missing_bytes(str(path))
        try:
            with closing(self._connect()) as connection:
                names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
                if not {"topics", "messages"} <= names:
                    raise BadRecording(path, "is an SQLite file but no ROS 2 bag: it has no topics and messages")
                self._by_time = "timestamp_idx" in names and not self._missing
                self._page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
                columns = "id, name, type, serialization_format"
                rows = connection.execute(f"SELECT {columns} FROM topics ORDER BY id LIMIT {MAX_TOPICS}").fetchall()
        except sqlite3.Error as error:
            raise BadRecording(path, self._damage(error)) from error
        self._topics = {key: Topic(str(name), str(kind)) for key, name, kind, how in rows if how == "cdr"}
        self.topics = tuple(self._topics.values())

    def messages(self, names: Collection[str]) -> Iterator[Message]:
        keys = [key for key, topic in self._topics.items() if topic.name in names]
        if not self._missing:
            yield from self._whole(keys)
            return
        yield from _certain(self._before_the_cut(keys), self._page_bytes)
        raise BadRecording(self._path, self._damage(None))

    def _whole(self, keys: Collection[int]) -> Iterator[Message]:
        # The size is looked at before the content is loaded.
        query = (
            f"SELECT topic_id, timestamp, length(data), CASE WHEN length(data) <= {MAX_MESSAGE_BYTES} THEN data END "
            f"FROM messages WHERE topic_id IN ({','.join('?' * len(keys))}) "
            f"ORDER BY {'timestamp, id' if self._by_time else 'id'}"
        )
        try:
            with closing(self._connect()) as connection:
                for key, log_ns, size, data in connection.execute(query, tuple(keys)):
                    if not isinstance(data, bytes) or not isinstance(log_ns, int):
                        raise BadRecording(
                            self._path, f"has a message of {size} bytes at {log_ns}; {MAX_MESSAGE_BYTES} are allowed"
                        )
                    yield Message(self._topics[key], log_ns, data)
        except sqlite3.Error as error:
            raise BadRecording(self._path, self._damage(error)) from error

    def _before_the_cut(self, keys: Collection[int]) -> Iterator[Message]:
        """Messages as they were written, up to the first row that is missing or no row of a bag."""
        query = "SELECT id, topic_id, timestamp, length(data) FROM messages ORDER BY id"
        last = 0
        try:
            with closing(self._connect()) as connection:
                for row, key, log_ns, size in connection.execute(query):
                    whole = isinstance(key, int) and isinstance(log_ns, int) and isinstance(size, int)
                    if (last and row != last + 1) or not whole or size > MAX_MESSAGE_BYTES:
                        return
                    last = row
                    if key in keys:
                        (data,) = connection.execute("SELECT data FROM messages WHERE id = ?", (row,)).fetchone()
                        yield Message(self._topics[key], log_ns, data)
        except sqlite3.Error:
            return

    def _connect(self) -> sqlite3.Connection:
        # A reader that looks ahead reads in one thread and may be closed in another.
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        if self._missing:
            connection.execute("PRAGMA writable_schema = ON")  # lets SQLite read a file shorter than its header says
        return connection

    def _damage(self, error: sqlite3.Error | None) -> str:
        if self._missing:
            return f"is truncated: {self._missing} bytes are missing at its end"
        return f"is truncated or damaged ({error})"


def _certain(messages: Iterator[Message], page_bytes: int) -> Iterator[Message]:
    """Messages of a file that was cut off, without those whose end SQLite may have made up.

    It reads pages that are missing as zeros, and notices that only where a pointer should have been. Pages are
    written in the order of the messages: one that is longer than a page and does not end in a zero vouches for all
    before it. What lies in one page together with its row (SQLite file format, 1.6) needs no voucher.
    """
    held: list[Message] = []
    held_bytes = 0
    for message in messages:
        if not held and len(message.data) < page_bytes - 100:
            yield message
            continue
        held.append(message)
        held_bytes += len(message.data)
        if len(message.data) > page_bytes and message.data[-1] != 0:
            yield from held
            held, held_bytes = [], 0
        elif held_bytes > MAX_HELD_BYTES:
            return
