"""The SQLite side of a RealSense `.db3`: what is in it, what can be saved of a cut one, what we add to a new one."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources import pose_topic
from scene_r1.sources.pose_topic import PoseTrack, typestore
from scene_r1.sources.realsense_card import TOPIC as CARD_TOPIC
from scene_r1.sources.realsense_card import TYPE as CARD_TYPE
from scene_r1.sources.realsense_card import Card
from scene_r1_engines.errors import BadRecording

MAGIC = b"SQLite format 3\x00"
BAG_MAGIC = b"#ROSBAG V2.0\n"
FIRST_ROW_NS = 1_000_000
"""Bag time of frame 0: librealsense's own rows about the device have 0 and must be read first."""
PAGE_BYTES = 32768
"""SQLite's page size of what we write. When its tree of rows grows a level, the level goes to the end of the file, and
a file cut before that point keeps no row. With this size the third level comes after some 5000 frames; with
librealsense's own 4096 after some 450."""
_PER_FRAME = "SELECT id FROM topics WHERE name LIKE '%/image/%'"
_INSERT = "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)"
_IMAGE_TOPICS = {"depth": "%/Depth_%/image/data%", "color": "%/Color_%/image/data%"}


def _no_poses() -> PoseTrack:
    return PoseTrack(np.empty(0, np.int64), np.empty((0, 4, 4)))


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a file is known to hold; of a legacy .bag, nothing.

    stored: images of each stream. fault: why the file has less than it should, None when it is whole.
    """

    stored: dict[str, int] = field(default_factory=dict)
    poses: PoseTrack = field(default_factory=_no_poses)
    card: Card | None = None
    fault: str | None = None


def check_kind(path: str) -> str:
    """`.db3` or `.bag`, after a look at the first bytes. Raises BadRecording (missing, folder, empty, other kind)."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".db3", ".bag"):
        raise BadRecording(path, "a RealSense recording ends in .db3 or .bag")
    try:
        if os.path.isdir(path):
            raise BadRecording(path, "it is a folder, not a RealSense recording")
        with open(path, "rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise BadRecording(path, f"it cannot be opened: {error.strerror or error}") from error
    if not head:
        raise BadRecording(path, "it is empty")
    if suffix == ".db3" and head != MAGIC:
        raise BadRecording(path, "it is not a .db3 recording: it does not begin as an SQLite file")
    if suffix == ".bag" and not head.startswith(BAG_MAGIC):
        raise BadRecording(path, "it is not a .bag recording: it does not begin with '#ROSBAG V2.0'")
    return suffix


def inspect(path: str) -> Contents:
    """Read what is in the file besides images. Raises BadRecording when it is no ROS 2 bag at all."""
    missing = missing_bytes(path)
    if missing:
        return Contents(fault=f"it is truncated: {missing} bytes are missing at its end")
    try:
        with reading(path) as connection:
            if not _has_tables(connection):
                raise BadRecording(path, "it is an SQLite file but no recording: it has no topics and messages")
            stored = {kind: _count(connection, pattern) for kind, pattern in _IMAGE_TOPICS.items()}
            return Contents(stored, pose_topic.read(path, connection), _read_card(path, connection))
    except sqlite3.Error as error:
        return Contents(fault=f"it is truncated or damaged ({error})")


def salvage(path: str, target: Path) -> Contents:
    """Copy every whole row before the damage into a new `.db3` that librealsense can play.

    Rows are read in the order they were written, in constant memory; an image at the end without its metadata is
    left out. Raises BadRecording when not even the topics are left.
    """
    try:
        with reading(path) as source, closing(sqlite3.connect(target, isolation_level=None)) as out:
            # Lets SQLite read a file that is shorter than its header says.
            source.execute("PRAGMA writable_schema = ON")
            out.execute("PRAGMA synchronous = OFF")
            out.execute("BEGIN")
            _copy_schema(source, out)
            out.executemany(_INSERT, _rows(source))
            whole = "SELECT max(messages.id) FROM messages JOIN topics ON topic_id = topics.id WHERE name LIKE ?"
            (last,) = out.execute(whole, ("%/image/camera_info",)).fetchone()
            if last is not None:
                out.execute("DELETE FROM messages WHERE id > ?", (last,))
            out.execute("COMMIT")
        return inspect(str(target))
    except sqlite3.Error as error:
        raise BadRecording(path, f"it is truncated or damaged and nothing in it can be read ({error})") from error


def complete(recorded: Path, target: Path, card: Card, poses: Mapping[int, NDArray[np.float64]], path: str) -> None:
    """Copy what librealsense has just recorded, in the order and at the times of its frames, with card and poses.

    librealsense stamps rows with the moment of writing: a conversion would play at the speed at which it was made,
    and in a wrong order where the recorder was paused. Each frame's pose is put right before it, so that a file that
    is cut later keeps the poses of the frames it keeps.

    poses: T_world_camera by frame. path: what errors call the file.
    Raises BadRecording when images are missing (a full disk).
    """
    rows_ns = card.timestamps_ns - card.timestamps_ns[0] + FIRST_ROW_NS
    with reading(str(recorded)) as source, closing(sqlite3.connect(target, isolation_level=None)) as out:
        for kind, pattern in _IMAGE_TOPICS.items():
            stored = _count(source, pattern)
            if stored != len(rows_ns):
                raise BadRecording(path, f"librealsense wrote {stored} of {len(rows_ns)} {kind} images: disk full?")
        # The file is still a temporary one: a crash loses it anyway, so nothing is spent on surviving one.
        out.execute("PRAGMA synchronous = OFF")
        out.execute("PRAGMA journal_mode = OFF")
        out.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        _copy_schema(source, out)
        out.execute("BEGIN")
        card_topic = _add_topic(out, CARD_TOPIC, CARD_TYPE)
        pose_id = _add_topic(out, pose_topic.TOPIC, pose_topic.TYPE) if poses else None
        static = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id NOT IN ({_PER_FRAME}) ORDER BY id"
        out.executemany(_INSERT, source.execute(static))
        string = typestore("writing a .db3")
        text = string.types[CARD_TYPE](card.to_json())
        out.execute(_INSERT, (card_topic, 0, bytes(string.serialize_cdr(text, CARD_TYPE))))
        messages = dict(
            zip(poses, pose_topic.serialise((int(card.timestamps_ns[n]), T) for n, T in poses.items()), strict=True)
        )
        written: Counter[int] = Counter()
        for topic, data in source.execute(
            f"SELECT topic_id, data FROM messages WHERE topic_id IN ({_PER_FRAME}) ORDER BY id"
        ):
            frame = written[topic]
            written[topic] += 1
            if (message := messages.pop(frame, None)) is not None:
                out.execute(_INSERT, (pose_id, int(rows_ns[frame]), message))
            out.execute(_INSERT, (topic, int(rows_ns[frame]), data))
        out.execute("COMMIT")


def missing_bytes(path: str) -> int:
    """How much shorter the file is than its header says (SQLite itself overlooks a cut within the last page)."""
    with open(path, "rb") as file:
        head = file.read(100).ljust(100, b"\0")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
    size = os.path.getsize(path)
    return max(pages * page - size, -size % page if page else 0, 0)


@contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {"topics", "messages"} <= names


def _count(connection: sqlite3.Connection, pattern: str) -> int:
    query = "SELECT count(*) FROM messages JOIN topics ON topic_id = topics.id WHERE name LIKE ?"
    return int(connection.execute(query, (pattern,)).fetchone()[0])


def _rows(source: sqlite3.Connection) -> Iterator[tuple[int, int, bytes]]:
    """Rows up to the damage: SQLite reports it, or makes up empty values where the file has ended."""
    rows = source.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
    while True:
        try:
            topic_id, timestamp, data = next(rows)
        except (StopIteration, sqlite3.DatabaseError):
            return
        if not (isinstance(topic_id, int) and isinstance(timestamp, int) and isinstance(data, bytes)):
            return
        yield topic_id, timestamp, data


def _copy_schema(source: sqlite3.Connection, out: sqlite3.Connection) -> None:
    """Tables, index and topics as they are."""
    for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall():
        out.execute(sql)
    for row in source.execute("SELECT * FROM topics").fetchall():
        out.execute(f"INSERT INTO topics VALUES ({','.join('?' * len(row))})", row)


def _add_topic(out: sqlite3.Connection, name: str, kind: str) -> int | None:
    """Add one topic as librealsense adds its own: CDR, and no QoS profile offered."""
    columns = "name, type, serialization_format, offered_qos_profiles"
    return out.execute(f"INSERT INTO topics({columns}) VALUES (?, ?, 'cdr', '')", (name, kind)).lastrowid


def _read_card(path: str, connection: sqlite3.Connection) -> Card | None:
    query = "SELECT data FROM messages JOIN topics ON topic_id = topics.id WHERE name = ? LIMIT 1"
    row = connection.execute(query, (CARD_TOPIC,)).fetchone()
    if row is None:
        return None
    try:
        text = typestore("reading the card of a .db3").deserialize_cdr(bytes(row[0]), CARD_TYPE).data
        return Card.from_json(text)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise BadRecording(path, f"its topic {CARD_TOPIC} cannot be read: {error}") from error
