"""ROS 1 .bag files, through `rosbags`. It needs the index at the end: `rosbag reindex` makes one for a cut file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from scene_r1.sources import realsense_db3
from scene_r1.sources.ros.storage import MAX_MESSAGE_BYTES, Message, Topic
from scene_r1_engines.errors import BadRecording, MissingExtra


class Bag1File:
    """A Storage over one ROS 1 .bag. Its types are named as in ROS 2."""

    ros1 = True

    def __init__(self, path: Path) -> None:
        realsense_db3.check_kind(str(path))
        self._path = path
        with self._open() as reader:
            self.topics = tuple(dict.fromkeys(Topic(c.topic, c.msgtype) for c in reader.connections))

    def messages(self, names: Collection[str]) -> Iterator[Message]:
        with self._open() as reader:
            wanted = [c for c in reader.connections if c.topic in names]
            rows = reader.messages(wanted) if wanted else iter(())
            while True:
                try:
                    connection, log_ns, data = next(rows)
                except StopIteration:
                    return
                except Exception as error:  # the reader raises whatever its parser stumbles over
                    raise BadRecording(self._path, f"is damaged: {error}") from error
                if len(data) > MAX_MESSAGE_BYTES:
                    raise BadRecording(
                        self._path, f"has a message of {len(data)} bytes; {MAX_MESSAGE_BYTES} are allowed"
                    )
                yield Message(Topic(connection.topic, connection.msgtype), log_ns, bytes(data))

    def _open(self) -> Any:
        try:
            from rosbags.rosbag1 import Reader
        except ImportError as error:
            raise MissingExtra("ros", "reading ROS 1 bags", str(error)) from error
        try:
            reader = Reader(self._path)
            reader.open()
        except Exception as error:
            raise BadRecording(self._path, f"cannot be read ({error}); `rosbag reindex` mends a cut bag") from error
        return _Closing(reader)


class _Closing:
    """An opened reader in a `with` block."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __enter__(self) -> Any:
        return self._reader

    def __exit__(self, *exc: object) -> None:
        self._reader.close()
