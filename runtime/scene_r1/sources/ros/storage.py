"""What every kind of bag file is to its reader: topics, and messages in the order in which they were recorded."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from scene_r1.sources.recorded_file import read_text
from scene_r1_engines.errors import BadRecording, MissingExtra

MAX_MESSAGE_BYTES = 256 << 20
"""The largest message read: a 64 megapixel colour image, and some."""
METADATA = "metadata.yaml"
MAX_METADATA_BYTES = 4 << 20
MAX_SPLITS = 100_000
SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True, slots=True)
class Topic:
    """A name and a type as ROS 2 writes it (sensor_msgs/msg/Image), of ROS 1 bags too."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One serialised message. log_ns: when the recorder received it."""

    topic: Topic
    log_ns: int
    data: bytes


class Storage(Protocol):
    """A bag's content. `ros1`: messages are serialised as ROS 1 does it, else as CDR.

    `messages` opens the file anew and closes it when its iterator ends or is closed. Constant memory: one message, or
    one compressed chunk. Raises BadRecording at a fault, after every whole message before it.
    """

    @property
    def topics(self) -> tuple[Topic, ...]: ...

    @property
    def ros1(self) -> bool: ...

    def messages(self, names: Collection[str]) -> Iterator[Message]: ...


def open_storage(path: Path) -> Storage:
    """The content of a .mcap or .db3 file, a ROS 1 .bag, or a folder of a ROS 2 bag. Raises BadRecording."""
    try:
        if path.is_dir():
            return _FolderOfFiles(path)
        if not path.is_file():
            raise BadRecording(path, "is missing, or no regular file: give a bag's file or folder")
    except OSError as error:
        raise BadRecording(path, f"cannot be looked at ({error.strerror or error})") from error
    return _open_file(path)


def message_stores(what: str) -> Any:
    """The module of `rosbags` with the types of messages. Raises MissingExtra('ros')."""
    try:
        import rosbags.typesys
    except ImportError as error:
        raise MissingExtra("ros", what, str(error)) from error
    return rosbags.typesys


def zstd_module(what: str) -> Any:
    """Zstandard as `rosbags` brings it along. Raises MissingExtra('ros')."""
    try:
        from backports import zstd
    except ImportError as error:
        raise MissingExtra("ros", what, str(error)) from error
    return zstd


def bounded_zstd(data: bytes, limit_bytes: int) -> bytes:
    """Decompress, but never more than the limit. Raises ValueError saying what is wrong."""
    zstd = zstd_module("reading compressed bags")
    decompressor = zstd.ZstdDecompressor()
    try:
        out: bytes = decompressor.decompress(data, max_length=limit_bytes + 1)
    except zstd.ZstdError as error:
        raise ValueError(f"is no Zstandard data ({error})") from None
    if len(out) > limit_bytes:
        raise ValueError(f"decompresses to more than the {limit_bytes} bytes allowed for it")
    if not decompressor.eof:
        raise ValueError("is Zstandard data cut short")
    return out


def begun_zstd(data: bytes, limit_bytes: int) -> bytes:
    """What can be decompressed of data that was cut short, up to the limit. Raises ValueError."""
    zstd = zstd_module("reading compressed bags")
    try:
        out: bytes = zstd.ZstdDecompressor().decompress(data, max_length=limit_bytes)
    except zstd.ZstdError as error:
        raise ValueError(f"is no Zstandard data ({error})") from None
    return out


class _FolderOfFiles:
    """A ROS 2 bag's folder: its files one after the other, in the order of metadata.yaml, else by their numbers."""

    ros1 = False

    def __init__(self, folder: Path) -> None:
        names, self._message_zstd = _listed(folder)
        if len({Path(name).suffix for name in names}) != 1 or len(names) > MAX_SPLITS:
            raise BadRecording(
                folder, f"is no ROS 2 bag: it should have .mcap or .db3 files, all alike; has {names[:8]}"
            )
        for name in names:
            if not (folder / name).is_file():
                raise BadRecording(folder / name, f"is missing, and {METADATA} lists it: copy the recording again")
        self._files = {folder / name: _open_file(folder / name) for name in names}
        self.topics = tuple(dict.fromkeys(chain.from_iterable(file.topics for file in self._files.values())))

    def messages(self, names: Collection[str]) -> Iterator[Message]:
        for path, file in self._files.items():
            for message in file.messages(names):
                yield self._plain(message, path) if self._message_zstd else message

    @staticmethod
    def _plain(message: Message, path: Path) -> Message:
        try:
            return replace(message, data=bounded_zstd(message.data, MAX_MESSAGE_BYTES))
        except ValueError as error:
            raise BadRecording(path, f"is damaged: a message of {message.topic.name} {error}") from None


def _open_file(path: Path) -> Storage:
    from scene_r1.sources.ros.bag1_file import Bag1File
    from scene_r1.sources.ros.mcap_file import McapFile
    from scene_r1.sources.ros.sqlite_file import SqliteFile

    suffix = path.suffix.lower()
    if suffix == ".mcap":
        return McapFile(path)
    if suffix == ".db3":
        return SqliteFile(path)
    if suffix == ".bag":
        return Bag1File(path)
    hint = ": decompress it first (zstd -d)" if suffix == ".zstd" else ""
    raise BadRecording(path, f"is no bag read here{hint}; read are .mcap, .db3 and ROS 1 .bag files")


def _listed(folder: Path) -> tuple[list[str], bool]:
    """File names of a bag's folder, and whether each message in them is compressed by itself."""
    path = folder / METADATA
    if not path.exists():
        found = [file.name for file in folder.iterdir() if file.suffix in SUFFIXES]
        return sorted(found, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]), False
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise MissingExtra("ros", "reading ROS 2 bags", str(error)) from error
    try:
        # Aliases are shared, not copied, so a small file stays small in memory.
        table = YAML(typ="safe", pure=True).load(read_text(path, limit_bytes=MAX_METADATA_BYTES))
        information = table["rosbag2_bagfile_information"]
        names = [Path(str(name)).name for name in information["relative_file_paths"]]
        mode = str(information.get("compression_mode") or "").lower()
    except (YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"is no metadata of a ROS 2 bag: {str(error)[:200]}") from None
    return names, mode == "message"
