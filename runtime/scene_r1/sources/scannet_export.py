"""ScanNet scans exported to image files, by ScanNet's SensReader (`color/ depth/ pose/`) or by EmbodiedScan."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1.sources import images
from scene_r1.sources.camera_file import CAMERA_FILE, CameraFile, read_camera
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.scannet.alignment import beside_scan, find_alignment
from scene_r1.sources.scannet.matrix import checked_rigid, read_matrix, recorded_pose
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

RATE_HZ = 30.0
DEPTH_SCALE = 0.001
"""The depth shift of every published scan is 1000 counts a metre; an export does not say it."""
NUMBERED = re.compile(r"([0-9]{1,12})\.(jpg|jpeg|png|txt)")
FLAT_PARTS = {"jpg": "color", "jpeg": "color", "png": "depth", "txt": "pose"}
FOLDER_ENDINGS = {"color": ("jpg", "jpeg", "png"), "depth": ("png",), "pose": ("txt",)}


@dataclass(frozen=True, slots=True)
class ExportedFrame:
    """Which files of one frame are there, by part (color, depth, pose), relative to the folder. number: in the name."""

    number: int
    files: dict[str, str] = field(default_factory=dict)


class ScanNetExport(FolderSource):
    """Two layouts of the same files: JPEG or PNG colour, PNG depth (uint16, millimetres), 4x4 camera-to-world text.

    SensReader: `color/0.jpg`, `depth/0.png`, `pose/0.txt`, `intrinsic/{intrinsic,extrinsic}_{color,depth}.txt`.
    EmbodiedScan: `00000.jpg`, `.png`, `.txt`, and `intrinsic.txt` of colour, `depth_intrinsic.txt` of depth.
    A file's number is the frame's in the scan; numbers may leave frames out. A frame's index is its rank by number;
    its time is made up from number and 30 Hz. A pose that is missing, infinite, NaN or zeros was lost: None, counted.
    Intrinsics: `camera.toml`, else the files above; where those of depth are missing, colour's scaled to its size,
    since published depth is registered to colour. Poses are in the aligned frame where `<folder>.txt`, in it, beside
    it or in EmbodiedScan's `../../scans/<folder>/`, has an axisAlignment; `info.notes` says so.

    Raises BadRecording at opening for what concerns all frames, else at the frame at fault.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = Path(path)
        self._flat = not _has_parts(self._folder)
        self._frames = _list_frames(self._folder, self._flat)
        camera, self._T_base_color, intrinsics_from = self._camera()
        self._scale = camera.depth_scale
        self._rate_hz = camera.rate_hz
        alignment = find_alignment(_alignment_places(self._folder))
        self._T_scan = alignment.T_aligned_scan
        numbers = [one.number for one in self._frames]
        steps = sorted(b - a for a, b in pairwise(numbers))
        notes = [alignment.note]
        if (numbers[0], numbers[-1]) != (0, len(numbers) - 1):
            said = f"file numbers run from {numbers[0]} to {numbers[-1]} for {len(numbers)} frames"
            notes.append(f"{said}; indices count the frames from 0, times go by the numbers")
        counters = {"without_pose": 0, "rotation_rounding_ppm": 0}
        super().__init__(
            SourceInfo(
                path=os.fspath(self._folder),
                format="scannet_export",
                frames=len(self._frames),
                rate_hz=self._rate_hz / steps[len(steps) // 2] if steps else self._rate_hz,
                timestamps="assumed",
                color_intrinsics=camera.color,
                depth_intrinsics=camera.depth,
                T_color_depth=camera.T_color_depth,
                depth_scale=camera.depth_scale,
                intrinsics_from=intrinsics_from,
                has_poses=any("pose" in one.files for one in self._frames),
                notes=tuple(notes),
                counters=counters,
            ),
            counters,
        )

    def _load(self, index: int) -> RgbdFrame:
        info = self.info
        color, depth = info.color_intrinsics, info.depth_intrinsics
        return RgbdFrame(
            index=index,
            timestamp_ns=round(self._frames[index].number * 1e9 / self._rate_hz),
            color=images.read_color(self._file_of(index), (color.width, color.height), index),
            color_intrinsics=color,
            depth_raw=images.read_depth(self._part(index, "depth"), (depth.width, depth.height), index),
            depth_scale=self._scale,
            depth_intrinsics=depth,
            T_color_depth=info.T_color_depth,
            T_world_camera=self._pose(index),
        )

    def _file_of(self, index: int) -> Path:
        return self._part(index, "color")

    def _part(self, index: int, part: str) -> Path:
        """The file of one part, or where it should be."""
        one = self._frames[index]
        if part in one.files:
            return self._folder / one.files[part]
        ending = FOLDER_ENDINGS[part][0]
        name = f"{one.number:05d}.{ending}" if self._flat else f"{part}/{one.number}.{ending}"
        return self._folder / name

    def _pose(self, index: int) -> NDArray[np.float64] | None:
        T_scan_base = None
        if "pose" in self._frames[index].files:
            path = self._part(index, "pose")
            T_scan_base, rounding = recorded_pose(read_matrix(path, index), path, index)
            key = "rotation_rounding_ppm"
            self._counters[key] = max(self._counters[key], round(rounding * 1e6))
        if T_scan_base is None:
            self._counters["without_pose"] += 1
            return None
        return self._T_scan @ T_scan_base @ self._T_base_color

    def _camera(self) -> tuple[CameraFile, NDArray[np.float64], str]:
        """The cameras, T_base_color (4, 4), and in words where the numbers come from."""
        sidecar = self._folder / CAMERA_FILE
        if os.path.lexists(sidecar):
            return read_camera(sidecar), IDENTITY, CAMERA_FILE
        color_size = images.read_size(self._file_of(0), 0)
        depth_size = images.read_size(self._part(0, "depth"), 0)
        names = ("intrinsic.txt", "depth_intrinsic.txt")
        if not self._flat:
            names = ("intrinsic/intrinsic_color.txt", "intrinsic/intrinsic_depth.txt")
        color = _read_K(self._folder / names[0], color_size)
        if os.path.lexists(self._folder / names[1]):
            depth, said = _read_K(self._folder / names[1], depth_size), f"{names[0]} and {names[1]}"
        else:
            depth, said = registered_depth(color, *depth_size), f"{names[0]}; of depth, scaled (no {names[1]})"
        T_base_color, T_base_depth = self._extrinsic("color"), self._extrinsic("depth")
        T = pose.inverse(T_base_color) @ T_base_depth
        T_color_depth = IDENTITY if np.array_equal(T, IDENTITY) else T
        return CameraFile(color, depth, T_color_depth, DEPTH_SCALE, RATE_HZ), T_base_color, said

    def _extrinsic(self, which: str) -> NDArray[np.float64]:
        """T_base_{color,depth}, as in the `.sens` file; the identity where it was not exported."""
        path = self._folder / "intrinsic" / f"extrinsic_{which}.txt"
        return checked_rigid(read_matrix(path), path)[0] if os.path.lexists(path) else IDENTITY


def registered_depth(color: Intrinsics, width: int, height: int) -> Intrinsics:
    """The camera of depth that was registered to a colour camera at another size.

    As ScanNet's own calibration tool scales it (Calibrate/src/calibration.h): focal lengths by the sides, the
    principal point by the sides less one.
    """
    return Intrinsics(
        color.fx * width / color.width,
        color.fy * height / color.height,
        color.cx * (width - 1) / max(1, color.width - 1),
        color.cy * (height - 1) / max(1, color.height - 1),
        width,
        height,
    )


def looks_like_scannet_export(folder: Path) -> bool:
    """Whether a folder has SensReader's part folders, or EmbodiedScan's intrinsics and numbered frames."""
    if _has_parts(folder):
        return True
    if not (folder / "intrinsic.txt").is_file():
        return False
    with os.scandir(folder) as entries:
        return any(_flat_part(entry.name) == "color" for entry in entries)


def _has_parts(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in ("color", "depth")) and any(
        (folder / name).is_dir() for name in ("pose", "intrinsic")
    )


def _alignment_places(folder: Path) -> tuple[Path, ...]:
    """`<scan id>.txt` in the export, beside it, or where EmbodiedScan keeps the scans; and in a scan's own folder."""
    here = folder.absolute()
    scans = here.parent.parent / "scans"
    return (
        here / f"{here.name}.txt",
        *beside_scan(here.parent, here.name),
        *beside_scan(scans, here.name),
        *beside_scan(here.parent, here.parent.name),
    )


def _list_frames(folder: Path, flat: bool) -> list[ExportedFrame]:
    """Every frame that has any of its files, so that a missing one is an error of that frame and not a gap."""
    frames: dict[int, ExportedFrame] = {}
    for part, name in _numbered(folder, flat):
        number = int(name.rsplit("/", 1)[-1].split(".")[0])
        files = frames.setdefault(number, ExportedFrame(number)).files
        if part in files:
            raise BadRecording(folder / name, f"is a second {part} of frame number {number}, beside {files[part]}")
        files[part] = name
    # A pose alone is what remains where images were thinned out; it is no frame.
    found = sorted((one for one in frames.values() if one.files.keys() != {"pose"}), key=lambda one: one.number)
    if not found:
        raise BadRecording(folder, "has no numbered frames in it: export the scan again")
    return found


def _numbered(folder: Path, flat: bool) -> list[tuple[str, str]]:
    """(part, name relative to the folder) of every numbered file."""
    found = []
    try:
        if flat:
            parts = ((_flat_part(name), name) for name in os.listdir(folder))
            return [(part, name) for part, name in parts if part is not None]
        for part, endings in FOLDER_ENDINGS.items():
            if part == "pose" and not (folder / part).is_dir():
                continue
            for name in os.listdir(folder / part):
                match = NUMBERED.fullmatch(name)
                if match and match[2] in endings:
                    found.append((part, f"{part}/{name}"))
    except (OSError, ValueError) as error:
        raise BadRecording(folder, f"cannot be listed ({getattr(error, 'strerror', None) or error})") from error
    return found


def _flat_part(name: str) -> str | None:
    match = NUMBERED.fullmatch(name)
    return FLAT_PARTS[match[2]] if match else None


def _read_K(path: Path, size: tuple[int, int]) -> Intrinsics:
    try:
        return Intrinsics.from_K(read_matrix(path)[:3, :3], *size)
    except BadIntrinsics as error:
        raise BadRecording(
            path,
            f"{error}. The images are of {size[0]}x{size[1]} pixels: if they were made smaller by the export, "
            f"export them at full size or write a {CAMERA_FILE}",
        ) from None
