"""Which files of an ARKitScenes or SceneFun3D video are there, and which of its image streams is read."""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scene_r1.sources.tum import parse_time_ns
from scene_r1_engines.errors import BadRecording

ASSET_FILE = re.compile(r"[A-Za-z0-9-]+_([0-9]{1,12}(?:\.[0-9]{1,9})?)\.(png|jpg|jpeg|pincam)")
"""`<video_id>_<seconds>.<suffix>`."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One pair of image folders of a video. trajectories: the first one that is there counts.

    confidence: the folder with the confidence of this very depth, or None. Names from the assets table of the
    SceneFun3D toolkit and the README of ARKitScenes' raw data.
    """

    color: str
    depth: str
    intrinsics: str
    trajectories: tuple[str, ...]
    confidence: str | None = None


STREAMS = (
    Stream("hires_wide", "hires_depth", "hires_wide_intrinsics", ("hires_poses.traj", "lowres_poses.traj")),
    # Depth drawn from the laser scan: its pixels are not what the phone's confidence is about.
    Stream("wide", "highres_depth", "wide_intrinsics", ("lowres_wide.traj",)),
    Stream(
        "lowres_wide",
        "lowres_depth",
        "lowres_wide_intrinsics",
        ("lowres_wide.traj", "lowres_poses.traj"),
        "confidence",
    ),
)
"""The finest first."""


@dataclass(frozen=True, slots=True)
class TimedFiles:
    """Files of one folder by the time in their names. times_ns: ascending. paths: of the same length."""

    times_ns: Sequence[int]
    paths: Sequence[Path]

    def nearest(self, time_ns: int, within_ns: int) -> Path | None:
        """The file nearest in time, or None where none is `within_ns`."""
        after = bisect.bisect_left(self.times_ns, time_ns)
        near = [i for i in (after - 1, after) if 0 <= i < len(self.times_ns)]
        best = min(near, key=lambda i: abs(self.times_ns[i] - time_ns), default=None)
        return None if best is None or abs(self.times_ns[best] - time_ns) > within_ns else self.paths[best]


def list_files(folder: Path) -> TimedFiles:
    """Every `<video_id>_<seconds>` file of a folder; what has another name is passed over. Raises BadRecording."""
    found: dict[int, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                match = ASSET_FILE.fullmatch(entry.name)
                if match is None:
                    continue
                time_ns = parse_time_ns(match[1])
                if time_ns in found:
                    raise BadRecording(
                        folder / entry.name, f"has the time of {found[time_ns]}: keep the files of one video"
                    )
                found[time_ns] = entry.name
    except FileNotFoundError:
        raise BadRecording(folder, "is missing: download this asset of the video too") from None
    except OSError as error:
        raise BadRecording(folder, f"cannot be listed ({error.strerror or error})") from error
    if not found:
        raise BadRecording(folder, "holds no file named <video_id>_<seconds>: download this asset of the video again")
    times = sorted(found)
    return TimedFiles(times, [folder / found[time] for time in times])


def video_folder(path: Path) -> Path:
    """The folder itself, or the only video in a visit's folder. Raises BadRecording where there are several."""
    if _has_images(path):
        return path
    try:
        videos = sorted(one for one in path.iterdir() if _has_images(one))
    except OSError as error:
        raise BadRecording(path, f"cannot be listed ({error.strerror or error})") from error
    if len(videos) == 1:
        return videos[0]
    names = ", ".join(one.name for one in videos[:8])
    reason = f"holds {len(videos)} videos: open one of {names}" if videos else "holds no lowres_wide or hires_wide"
    raise BadRecording(path, reason)


def choose_stream(folder: Path) -> Stream:
    """The finest stream that has its colour, depth and intrinsics. Raises BadRecording saying what is missing."""
    for one in STREAMS:
        if all(_holds_files(folder / name) for name in (one.color, one.depth, one.intrinsics)):
            return one
    started = next(one for one in STREAMS if os.path.lexists(folder / one.color))
    missing = [name for name in (started.depth, started.intrinsics) if not _holds_files(folder / name)]
    what = " and ".join(missing) if missing else f"a picture in {started.color}"
    raise BadRecording(folder, f"has {started.color} but not {what}: download these assets of the video too")


def looks_like_arkit_scenes(folder: Path) -> bool:
    """Whether a folder is a video, or a visit with a video in it; nothing is opened."""
    return _has_images(folder) or any(_has_images(one) for one in folder.iterdir())


def _has_images(folder: Path) -> bool:
    # `wide` alone is too common a name to tell a format by
    sets = (("lowres_wide",), ("hires_wide",), ("wide", "wide_intrinsics"))
    return any(all((folder / name).is_dir() for name in names) for names in sets)


def _holds_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(ASSET_FILE.fullmatch(entry.name) is not None for entry in entries)
    except OSError:
        return False
