"""Where frames come from and go to. One table of formats; what a format needs is imported when it is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scene_r1.sources.source import FrameSink, FrameSource, SourceInfo
from scene_r1_engines.errors import BadConfig, BadRecording

__all__ = ["FORMATS", "Format", "FrameSink", "FrameSource", "SourceInfo", "create_sink", "open_source"]


@dataclass(frozen=True, slots=True)
class Format:
    """One way of recording. source, sink: `module:class`, imported on use; no sink: it is read here, not written.

    folder: it is a folder that holds what `test` (`module:function` of a folder) looks for; else a file that ends in
    one of `suffixes`.
    """

    name: str
    looks: str
    source: str
    sink: str | None = None
    suffixes: tuple[str, ...] = ()
    test: str | None = None

    @property
    def folder(self) -> bool:
        return self.test is not None


FORMATS = (
    Format(
        "seven_scenes",
        "a folder with frame-XXXXXX.color.png, .depth.png and .pose.txt",
        "scene_r1.sources.seven_scenes:SevenScenesSource",
        "scene_r1.sources.seven_scenes_sink:SevenScenesSink",
        test="scene_r1.sources.seven_scenes:looks_like_seven_scenes",
    ),
    Format(
        "tum",
        "a folder with rgb.txt, depth.txt and groundtruth.txt",
        "scene_r1.sources.tum:TumSource",
        "scene_r1.sources.tum_sink:TumSink",
        test="scene_r1.sources.tum:looks_like_tum",
    ),
    Format(
        "realsense",
        "a RealSense recording or a ROS bag, .db3 or .bag",
        "scene_r1.sources.ros.kinds:open_bag",
        "scene_r1.sources.realsense_sink:RealSenseSink",
        suffixes=(".db3", ".bag"),
    ),
    Format(
        "scannet",
        "a ScanNet scan, .sens",
        "scene_r1.sources.scannet.sens:SensSource",
        suffixes=(".sens",),
    ),
    Format(
        "scannet_export",
        "a folder with ScanNet's color/, depth/, pose/ and intrinsic/, or EmbodiedScan's 00000.jpg and intrinsic.txt",
        "scene_r1.sources.scannet_export:ScanNetExport",
        test="scene_r1.sources.scannet_export:looks_like_scannet_export",
    ),
    Format(
        "replica",
        "a folder with NICE-SLAM's results/frame000000.jpg and traj.txt",
        "scene_r1.sources.replica:ReplicaSource",
        test="scene_r1.sources.replica:looks_like_replica",
    ),
    Format(
        "arkit_scenes",
        "a video's folder of ARKitScenes or SceneFun3D, with lowres_wide/ or hires_wide/",
        "scene_r1.sources.arkit_scenes:ArkitScenesSource",
        test="scene_r1.sources.arkit_scenes:looks_like_arkit_scenes",
    ),
    Format(
        "stray_scanner",
        "a folder of the Stray Scanner app with rgb.mp4, odometry.csv and camera_matrix.csv",
        "scene_r1.sources.stray_scanner:StrayScannerSource",
        test="scene_r1.sources.stray_scanner:looks_like_stray_scanner",
    ),
    Format(
        "record3d",
        "a recording of the Record3D app, .r3d",
        "scene_r1.sources.record3d:Record3dSource",
        suffixes=(".r3d",),
    ),
    Format(
        "mcap",
        "a recording of `scene-r1 live` or a ROS 2 bag, .mcap",
        "scene_r1.sources.ros.kinds:open_mcap",
        suffixes=(".mcap",),
    ),
    Format(
        "rosbag2",
        "a folder of a ROS 2 bag, with metadata.yaml and .mcap or .db3 files",
        "scene_r1.sources.ros.bag:RosBag",
        test="scene_r1.sources.ros.kinds:looks_like_ros_folder",
    ),
)


def open_source(path_or_uri: str | os.PathLike[str]) -> FrameSource:
    """Open a recording, whatever its format: a path, or a file:// address.

    Raises BadRecording when it is not there, or is none of the formats known (which it lists, with what was found);
    MissingExtra where the format's package is absent.
    """
    path = _as_path(path_or_uri)
    try:
        is_folder, is_there = path.is_dir(), os.path.lexists(path)
        for one in FORMATS:
            if one.test is not None:
                matches = is_folder and _named(one.test)(path)
            else:
                matches = is_there and not is_folder and path.suffix.lower() in one.suffixes
            if matches:
                source: FrameSource = _named(one.source)(os.fspath(path))
                return source
        found = _what_is_there(path)
    except (OSError, ValueError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"cannot be looked at ({getattr(error, 'strerror', None) or error})") from error
    known = "; ".join(f"{one.name}: {one.looks}" for one in FORMATS)
    raise BadRecording(path, f"is no recording known here: found {found}. Known are {known}")


def create_sink(
    path: str | os.PathLike[str],
    format: str | None = None,
    like: SourceInfo | None = None,
    jpeg_quality: int | None = None,
) -> FrameSink:
    """A sink to write a recording to `path`: by its suffix (.db3), else a folder of `format`, seven_scenes if None.

    like: of the source, where there is one (nominal rate; whether times were recorded). jpeg_quality: of folders;
    None writes colour bit for bit. Raises BadConfig for a format or an option that the path's suffix contradicts.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    by_suffix = next((one for one in FORMATS if suffix in one.suffixes), None)
    names = {one.name: one for one in FORMATS}
    if format is not None and format not in names:
        raise BadConfig(f"unknown format {format!r}; known: {', '.join(names)}")
    chosen = names[format] if format is not None else by_suffix or names["seven_scenes"]
    if chosen.sink is None:
        written = ", ".join(one.name for one in FORMATS if one.sink is not None)
        raise BadConfig(f"{chosen.name} is read here, not written: write {written}")
    if chosen.folder != (by_suffix is None) or suffix == ".bag":
        raise BadConfig(f"{target.name} is not the name of a {chosen.name} recording: end it in .db3, or name a folder")
    if chosen.folder:
        sink: FrameSink = _named(chosen.sink)(target, like=like, jpeg_quality=jpeg_quality)
        return sink
    if jpeg_quality is not None:
        raise BadConfig(f"jpeg_quality is for folders; {chosen.name} keeps colour as it is")
    rate = {} if like is None else {"rate_hz": like.rate_hz}
    file_sink: FrameSink = _named(chosen.sink)(os.fspath(target), **rate)
    return file_sink


def _as_path(path_or_uri: str | os.PathLike[str]) -> Path:
    text = os.fspath(path_or_uri)
    if "://" not in text:
        return Path(text)
    address = urlsplit(text)
    if address.scheme != "file" or address.netloc not in ("", "localhost"):
        raise BadRecording(text, "is no address that can be opened here: give a path, or file:///...")
    return Path(unquote(address.path))


def _named(where: str) -> Callable[..., Any]:
    module, attribute = where.split(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def _what_is_there(path: Path) -> str:
    if not os.path.lexists(path):
        return "nothing at this path"
    if not path.is_dir():
        return f"a file ending in {path.suffix!r}" if path.is_file() else "neither a file nor a folder"
    names = sorted(os.listdir(path))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"a folder with {len(names)} entries ({shown})" if names else "an empty folder"
