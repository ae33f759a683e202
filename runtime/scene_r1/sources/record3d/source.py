"""The FrameSource over a Record3D recording."""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import IDENTITY, RgbdFrame, depth_counts
from scene_r1.sources import images
from scene_r1.sources.confidence import LOWEST_BELIEVED, believed, check_threshold, checked, threshold_note
from scene_r1.sources.folder_source import FolderSource
from scene_r1.sources.record3d.lzfse_stream import decompress, lzfse
from scene_r1.sources.record3d.metadata import parse_metadata
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadIntrinsics, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

COLOR_FILE = re.compile(r"rgbd/([0-9]{1,9})\.jpg")
DEPTH_SCALE = 0.00025
"""Depth is recorded as float32 metres; a quarter of a millimetre reaches 16 m, three times as far as the sensor."""
OLD_DEPTH_SIZES = ((192, 256), (480, 640), (720, 960))
"""Of versions that did not write dw and dh: the LiDAR, and two of the Face ID camera, all upright."""
MAX_METADATA_BYTES = 64 << 20
MAX_DEPTH_PX = 4_000_000


class Record3dSource(FolderSource):
    """A zip file with `metadata` and, for each frame, `rgbd/N.jpg`, `rgbd/N.depth` and `rgbd/N.conf`.

    Depth is LZFSE-compressed float32 metres, row by row; here it becomes counts of 0.25 mm. Depth is registered to
    colour: the same view at its own size. Poses are camera to world with OpenGL's camera axes and are turned into
    OpenCV's; the world is metric and begins where the recording began, and where gravity points in it is not
    recorded. A frame beyond the list of poses has None and is counted (`without_pose`). Intrinsics are per frame
    where the app wrote them. Pictures of another size than the metadata's, but the same shape, scale them.

    min_confidence: depth below it counts as no return (`low_confidence_px`); 0 keeps all. Sources: the app's author in
    marek-simonik/record3d (questions 7, 33, 36, 64 and 93), and the loader of nerfstudio-project/viser.

    Raises MissingExtra without the package `lzfse`; BadRecording at opening for what concerns all frames, else at the
    frame at fault; BadConfig for another min_confidence.
    """

    def __init__(self, path: str | os.PathLike[str], min_confidence: int = LOWEST_BELIEVED) -> None:
        self._min_confidence = check_threshold(min_confidence)
        lzfse()
        self._path = Path(path)
        self._zip = _open_zip(self._path)
        try:
            super().__init__(*self._look())
        except BaseException:
            self._zip.close()
            raise

    def close(self) -> None:
        super().close()
        self._zip.close()

    def _look(self) -> tuple[SourceInfo, dict[str, int]]:
        names = self._zip.NameToInfo
        self._numbers = sorted(int(match[1]) for match in map(COLOR_FILE.fullmatch, names) if match)
        if not self._numbers:
            raise BadRecording(self._path, "holds no rgbd/0.jpg: is it a Record3D recording?")
        self._metadata = parse_metadata(self._member("metadata", MAX_METADATA_BYTES), self._path / "metadata")
        one = self._metadata
        self._color_size = self._first_color_size()
        self._depth_size = one.depth_size or self._old_depth_size()
        if self._depth_size[0] * self._depth_size[1] > MAX_DEPTH_PX:
            raise BadRecording(
                self._path / "metadata", f"claims depth of {self._depth_size}, over {MAX_DEPTH_PX} pixels"
            )
        camera = self._scaled(one.camera, self._color_size)
        has_times = one.timestamps_ns is not None and len(one.timestamps_ns) > self._numbers[-1]
        self._times_ns = one.timestamps_ns if has_times else None
        self._has_confidence = self._min_confidence > 0 and f"rgbd/{self._numbers[0]}.conf" in names
        notes = [f"depth was recorded in metres and is rounded to {DEPTH_SCALE * 1000:g} mm"]
        if self._numbers != list(range(len(self._numbers))):
            notes.append(f"frame numbers run from {self._numbers[0]} to {self._numbers[-1]} with gaps")
        if self._color_size != (one.camera.width, one.camera.height):
            notes.append(f"intrinsics are of {one.camera.width}x{one.camera.height} and were scaled to the pictures")
        if self._has_confidence:
            notes.append(threshold_note(self._min_confidence))
        elif self._min_confidence:
            notes.append("no confidence images: all depth is kept")
        counters = {"without_pose": 0, "low_confidence_px": 0, "without_confidence": 0}
        info = SourceInfo(
            path=os.fspath(self._path),
            format="record3d",
            frames=len(self._numbers),
            rate_hz=one.rate_hz,
            timestamps="recorded" if has_times else "assumed",
            color_intrinsics=camera,
            depth_intrinsics=self._scaled(camera, self._depth_size),
            T_color_depth=IDENTITY,
            depth_scale=DEPTH_SCALE,
            intrinsics_from="the metadata" + ("; each frame has its own" if one.per_frame else ""),
            has_poses=any(T is not None for T in one.poses),
            notes=tuple(notes),
            counters=counters,
        )
        return info, counters

    def _load(self, index: int) -> RgbdFrame:
        number = self._numbers[index]
        data = self._member(f"rgbd/{number}.jpg", images.MAX_IMAGE_BYTES, index)
        camera = self._camera(number, index)
        poses = self._metadata.poses
        T_world_camera = poses[number] if number < len(poses) else None
        if T_world_camera is None:
            self._counters["without_pose"] += 1
        return RgbdFrame(
            index=index,
            timestamp_ns=round(number * 1e9 / self.info.rate_hz) if self._times_ns is None else self._times_ns[number],
            color=images.decode_color(data, self._file_of(index), self._color_size, index),
            color_intrinsics=camera,
            depth_raw=self._depth(number, index),
            depth_scale=DEPTH_SCALE,
            depth_intrinsics=self._scaled(camera, self._depth_size),
            T_world_camera=T_world_camera,
        )

    def _file_of(self, index: int) -> Path:
        return self._path / f"rgbd/{self._numbers[index]}.jpg"

    def _camera(self, number: int, index: int) -> Intrinsics:
        recorded, per_frame = self._metadata.camera, self._metadata.per_frame
        if number >= len(per_frame):
            return self.info.color_intrinsics
        try:
            fx, fy, cx, cy = per_frame[number]
            return self._scaled(Intrinsics(fx, fy, cx, cy, recorded.width, recorded.height), self._color_size)
        except BadIntrinsics as error:
            raise BadRecording(self._path / "metadata", f"perFrameIntrinsicCoeffs: {error}", index) from None

    def _depth(self, number: int, index: int) -> NDArray[np.uint16]:
        depth_m = np.frombuffer(self._unpacked(number, "depth", 4, index), dtype="<f4")
        depth_raw = depth_counts(depth_m.reshape(self._depth_size[::-1]), DEPTH_SCALE)
        if not self._has_confidence:
            return depth_raw
        name = f"rgbd/{number}.conf"
        if name not in self._zip.NameToInfo:
            self._counters["without_confidence"] += 1
            return depth_raw
        confidence = np.frombuffer(self._unpacked(number, "conf", 1, index), dtype=np.uint8)
        checked(confidence, self._path / name, index)
        depth_raw, dropped = believed(depth_raw, confidence.reshape(depth_raw.shape), self._min_confidence)
        self._counters["low_confidence_px"] += dropped
        return depth_raw

    def _unpacked(self, number: int, suffix: str, bytes_a_pixel: int, index: int) -> bytes:
        name = f"rgbd/{number}.{suffix}"
        size = self._depth_size[0] * self._depth_size[1] * bytes_a_pixel
        data = self._member(name, 2 * size + 4096, index)
        try:
            return decompress(data, size)
        except ValueError as error:
            raise BadRecording(self._path / name, str(error), index) from None

    def _first_color_size(self) -> tuple[int, int]:
        """(width, height) of the pictures, which must have the shape that the metadata says."""
        name = f"rgbd/{self._numbers[0]}.jpg"
        try:
            header = images.image_header(self._member(name, images.MAX_IMAGE_BYTES, 0))
        except ValueError as error:
            if isinstance(error, BadRecording):
                raise
            raise BadRecording(self._path / name, str(error), 0) from None
        recorded = self._metadata.camera
        if abs(header.width * recorded.height - header.height * recorded.width) > max(recorded.width, recorded.height):
            raise BadRecording(
                self._path / name,
                f"is {header.width}x{header.height} pixels, but the metadata is of {recorded.width}x{recorded.height}",
                0,
            )
        return header.width, header.height

    def _old_depth_size(self) -> tuple[int, int]:
        for size in OLD_DEPTH_SIZES:
            self._depth_size = size
            try:
                self._unpacked(self._numbers[0], "depth", 4, 0)
                return size
            except BadRecording as error:
                fault = error
        raise BadRecording(
            self._path / "metadata",
            f"names no depth size (dw, dh), and the first depth image is of none known ({fault.reason})",
        )

    @staticmethod
    def _scaled(camera: Intrinsics, size: tuple[int, int]) -> Intrinsics:
        return camera if size == (camera.width, camera.height) else camera.scaled(*size)

    def _member(self, name: str, limit_bytes: int, frame: int | None = None) -> bytes:
        """The content of one file in the zip. Raises BadRecording."""
        where = self._path / name
        try:
            with self._zip.open(name) as file:
                data = file.read(limit_bytes + 1)
        except KeyError:
            raise BadRecording(where, "is missing in the zip: export the recording again", frame) from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            ValueError,
        ) as error:
            raise BadRecording(where, f"cannot be read from the zip ({error}): export it again", frame) from error
        if len(data) > limit_bytes:
            raise BadRecording(where, f"has more than the {limit_bytes} bytes that fit here", frame)
        if not data:
            raise BadRecording(where, "is empty: export the recording again", frame)
        return data


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadRecording(path, "is not a regular file: give the .r3d file that the app exports")
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise BadRecording(path, "is missing: export the recording again") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"is no zip file, or one cut short ({error}): export it again") from error
