"""What recordings written to folders share: whole or absent, one camera throughout, frames in order."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_folder
from scene_r1.frame import RgbdFrame
from scene_r1.sources.camera_file import CAMERA_FILE, CameraFile, write_camera
from scene_r1.sources.depth_units import DepthUnits
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadConfig, BadFrame, BadInput, SceneR1Error

RATE_HZ = 30.0
Self = TypeVar("Self", bound="FolderSink")


class FolderSink(ABC):
    """A FrameSink that writes a folder. A subclass names the files.

    path: the folder; it appears, complete, when the `with` block ends well. like: what the frames' source says of
    itself, for the nominal rate and for times that were made up. jpeg_quality: 1..100 writes colour as JPEG; None
    writes PNG, bit for bit. Colour is never resized; depth is brought to the layout's own unit, since every other
    reader takes that for granted.

    Raises OutputExists, BadConfig (jpeg_quality), BadFrame (order, another camera), SceneR1Error when the disk
    refuses.
    """

    depth_unit_m: float
    poses_at_frames = False

    def __init__(
        self, path: str | os.PathLike[str], like: SourceInfo | None = None, jpeg_quality: int | None = None
    ) -> None:
        if jpeg_quality is not None and (isinstance(jpeg_quality, bool) or jpeg_quality not in range(1, 101)):
            raise BadConfig(f"jpeg_quality must be a whole number in 1..100, got {jpeg_quality!r}")
        self.path = Path(path)
        self._like = like
        self._jpeg_quality = jpeg_quality
        self._units = DepthUnits(self.depth_unit_m)
        self._whole: AbstractContextManager[Path] | None = None
        self._folder = self.path
        self._first: RgbdFrame | None = None
        self._timestamps_ns: list[int] = []

    @property
    def max_depth_rounding_m(self) -> float:
        """The largest change of a depth by writing it in the layout's unit, in metres; 0 where the units agree."""
        return self._units.max_rounding_m

    @property
    def depth_overflow_px(self) -> int:
        """Pixels whose depth was too far for the layout's unit and became 0 (no return)."""
        return self._units.overflowed_px

    def write(self, frame: RgbdFrame) -> None:
        if self._whole is None:
            raise BadInput(f"{self.path}: write frames inside the sink's 'with' block")
        expected = len(self._timestamps_ns)
        if frame.index != expected:
            raise BadFrame(f"frame {frame.index} came where frame {expected} was due: write all frames in order")
        self._check_camera(frame)
        depth = self._units.convert(frame.depth_raw, frame.depth_scale)
        try:
            self._place(frame, depth)
        except OSError as error:
            raise SceneR1Error(f"{self.path}: cannot write frame {frame.index}: {error.strerror or error}") from error
        self._timestamps_ns.append(frame.timestamp_ns)

    def __enter__(self: Self) -> Self:
        whole = whole_folder(self.path)
        try:
            self._folder = whole.__enter__()
        except OSError as error:
            raise SceneR1Error(f"{self.path}: cannot be created: {error.strerror or error}") from error
        self._whole = whole
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole, self._whole = self._whole, None
        if whole is None:
            return
        if error is not None:
            whole.__exit__(kind, error, trace)
            return
        try:
            self._complete()
            whole.__exit__(None, None, None)
        except BaseException as failure:
            whole.__exit__(*sys.exc_info())
            if isinstance(failure, OSError):
                reason = failure.strerror or failure
                raise SceneR1Error(f"{self.path}: cannot be completed: {reason}") from failure
            raise

    @abstractmethod
    def _place(self, frame: RgbdFrame, depth_raw: NDArray[np.uint16]) -> None:
        """Write one frame's files below `self._folder`. depth_raw: (h, w) uint16 counts of the layout's unit."""

    @abstractmethod
    def _finish(self, camera: CameraFile) -> None:
        """Write what concerns all frames, besides `camera.toml`."""

    def _write_color(self, stem: Path, frame: RgbdFrame) -> Path:
        """Write the colour image as `stem` plus .png or .jpg, and return its path."""
        bgr = np.ascontiguousarray(frame.color[:, :, ::-1])
        if self._jpeg_quality is None:
            path, options = Path(f"{stem}.png"), []
        else:
            path, options = Path(f"{stem}.jpg"), [cv2.IMWRITE_JPEG_QUALITY, self._jpeg_quality]
        _write_image(path, bgr, options)
        return path

    def _write_depth(self, path: Path, depth_raw: NDArray[np.uint16]) -> None:
        _write_image(path, depth_raw, [])

    def _complete(self) -> None:
        first = self._first
        if first is None:
            raise BadInput(f"{self.path}: no frame was written, and a recording has at least one")
        camera = CameraFile(
            color=first.color_intrinsics,
            depth=first.depth_intrinsics,
            T_color_depth=first.T_color_depth,
            depth_scale=self.depth_unit_m,
            rate_hz=self._rate_hz(),
            poses_at_frames=self.poses_at_frames,
        )
        write_camera(self._folder / CAMERA_FILE, camera)
        self._finish(camera)

    def _rate_hz(self) -> float:
        if self._like is not None:
            return self._like.rate_hz
        steps = np.diff(np.array(self._timestamps_ns, dtype=np.int64))
        step = float(np.median(steps)) if len(steps) else 0.0
        return min(max(1e9 / step, 1e-3), 1e5) if step > 0.0 else RATE_HZ

    def _check_camera(self, frame: RgbdFrame) -> None:
        if self._first is None:
            self._first = frame
        first = self._first
        same = (
            frame.color_intrinsics == first.color_intrinsics
            and frame.depth_intrinsics == first.depth_intrinsics
            and np.allclose(frame.T_color_depth, first.T_color_depth, rtol=0.0, atol=1e-9)
        )
        if not same:
            raise BadFrame(
                f"frame {frame.index} is of another camera than frame 0 (intrinsics or T_color_depth changed): "
                "a folder holds one camera; split the recording there"
            )


def _write_image(path: Path, image: NDArray[np.integer], options: list[int]) -> None:
    # Encoded in memory and written here: cv2.imwrite returns False for a full disk and says nothing more.
    done, data = cv2.imencode(path.suffix, image, options)
    if not done:
        raise SceneR1Error(f"{path.name}: OpenCV cannot encode this picture as {path.suffix}")
    path.write_bytes(data.tobytes())
