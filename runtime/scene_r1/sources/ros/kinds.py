"""Which reader a .db3 or .bag is for: both endings are ROS's, and librealsense's for what it records."""

from __future__ import annotations

import os
import re
from pathlib import Path

from scene_r1.sources.ros.bag import RosBag
from scene_r1.sources.ros.storage import METADATA, SUFFIXES, open_storage
from scene_r1.sources.source import FrameSource
from scene_r1_engines.errors import BadRecording, MissingExtra

_OF_LIBREALSENSE = re.compile(r"/device_\d+/sensor_\d+/.")
MAX_ENTRIES = 10_000


def open_bag(path: str | os.PathLike[str]) -> FrameSource:
    """Open a .db3 or .bag by the topics in it.

    Topics below /device_N/sensor_N/ are librealsense's: its own library plays the file if it is installed; a .db3 is
    else read without it, frame for frame the same, and `info.notes` says so (a .bag raises MissingExtra('realsense')).
    Any other bag is read as one of ROS. What cannot be looked into is left to the reader of librealsense's, whose
    errors say what is wrong with the file.
    """
    if _is_librealsense(Path(path)):
        from scene_r1.sources.realsense import RealSenseRecording

        return RealSenseRecording(os.fspath(path))
    return RosBag(path)


def open_mcap(path: str | os.PathLike[str]) -> FrameSource:
    """Open a .mcap: one of our own recorder's with all that it says exactly, any other as a ROS bag."""
    from scene_r1.recorder.recording import LiveRecording, is_live

    return LiveRecording(path) if is_live(Path(path)) else RosBag(path)


def _is_librealsense(path: Path) -> bool:
    try:
        topics = open_storage(path).topics
    except (BadRecording, MissingExtra):
        return True
    return not topics or any(_OF_LIBREALSENSE.match(topic.name) for topic in topics)


def looks_like_ros_folder(folder: Path) -> bool:
    """A folder that a ROS 2 recorder made: metadata.yaml and bag files, or the bag files of one recording."""
    bags = other = 0
    with os.scandir(folder) as entries:
        for n, entry in enumerate(entries):
            if n >= MAX_ENTRIES:
                return False
            bags += Path(entry.name).suffix in SUFFIXES
            other += entry.name.endswith((".mcap.zstd", ".db3.zstd"))
    return ((folder / METADATA).is_file() and bags + other > 0) or (bags > 0 and not _several_recordings(folder))


def _several_recordings(folder: Path) -> bool:
    """True where the bag files are not the parts of one bag, name_0.mcap, name_1.mcap, ..."""
    stems = {re.sub(r"_\d+$", "", file.stem) for file in folder.iterdir() if file.suffix in SUFFIXES}
    return len(stems) != 1
