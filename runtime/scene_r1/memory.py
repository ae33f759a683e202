"""The keyframes that are held while the camera runs: compressed, under a hard cap of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1.pose import rigid
from scene_r1_engines.errors import BadConfig, BadFrame, BudgetExceeded
from scene_r1_engines.intrinsics import Intrinsics

OVERHEAD_BYTES = 4096
"""Counted for each keyframe beside its images: poses, cameras, Python objects."""


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """One frame as the memory holds it. color: JPEG, or raw RGB bytes; depth: PNG of the raw counts, lossless."""

    index: int
    timestamp_ns: int
    received_ns: int
    color: bytes
    color_coding: Literal["jpeg", "raw"]
    depth: bytes
    color_intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    depth_scale: float
    T_color_depth: NDArray[np.float64]
    T_world_camera: NDArray[np.float64] | None

    @property
    def nbytes(self) -> int:
        return len(self.color) + len(self.depth) + OVERHEAD_BYTES

    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, decoded: the same pixels each time, those of the camera where colour is raw."""
        camera = self.color_intrinsics
        if self.color_coding == "raw":
            return np.frombuffer(self.color, np.uint8).reshape(camera.height, camera.width, 3)
        bgr = np.asarray(cv2.imdecode(np.frombuffer(self.color, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def frame(self) -> RgbdFrame:
        """Decoded. Depth is bit for bit what was stored; colour too where it is raw."""
        depth = cv2.imdecode(np.frombuffer(self.depth, np.uint8), cv2.IMREAD_UNCHANGED)
        return RgbdFrame(
            index=self.index,
            timestamp_ns=self.timestamp_ns,
            color=self.image(),
            color_intrinsics=self.color_intrinsics,
            depth_raw=np.asarray(depth, np.uint16),
            depth_scale=self.depth_scale,
            depth_intrinsics=self.depth_intrinsics,
            T_color_depth=self.T_color_depth,
            T_world_camera=self.T_world_camera,
            received_ns=self.received_ns,
        )


class SceneMemory:
    """Holds keyframes by their index. Never more than `max_bytes`: a keyframe that does not fit is refused.

    jpeg_quality: 1..100, or None to keep colour raw. At 640x480, quality 92 and a RealSense's depth a keyframe takes
    about 0.4 MB and never more than 1.6 MB, so the default cap holds 16 whatever they show.
    """

    def __init__(self, max_bytes: int = 32 << 20, jpeg_quality: int | None = 92) -> None:
        if max_bytes <= 0:
            raise BadConfig(f"max_bytes must be above 0, got {max_bytes}")
        if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
            raise BadConfig(f"jpeg_quality must be in 1..100 or None, got {jpeg_quality}")
        self.max_bytes = max_bytes
        self.jpeg_quality = jpeg_quality
        self.nbytes = 0
        self._keyframes: dict[int, Keyframe] = {}

    def __len__(self) -> int:
        return len(self._keyframes)

    def __contains__(self, index: int) -> bool:
        return index in self._keyframes

    def __iter__(self) -> Iterator[Keyframe]:
        """Keyframes in order of time."""
        return iter([self._keyframes[index] for index in sorted(self._keyframes)])

    def __getitem__(self, index: int) -> Keyframe:
        """Raises KeyError for an index that is not held."""
        return self._keyframes[index]

    def put(self, frame: RgbdFrame, in_place_of: int | None = None) -> Keyframe:
        """Hold a frame, and give up another for it in the same step.

        Raises BudgetExceeded when it does not fit, BadFrame when it is held already; then nothing has changed.
        """
        if frame.index in self._keyframes:
            raise BadFrame(f"frame {frame.index} is a keyframe already")
        keyframe = self._encode(frame)
        freed = 0 if in_place_of is None else self._keyframes[in_place_of].nbytes
        if self.nbytes - freed + keyframe.nbytes > self.max_bytes:
            raise BudgetExceeded(
                f"frame {frame.index} takes {keyframe.nbytes} bytes, and {self.nbytes - freed} of {self.max_bytes} are "
                "taken: raise max_bytes, lower jpeg_quality or hold fewer keyframes"
            )
        if in_place_of is not None:
            self.remove(in_place_of)
        self._keyframes[frame.index] = keyframe
        self.nbytes += keyframe.nbytes
        return keyframe

    def remove(self, index: int) -> None:
        """Raises KeyError for an index that is not held."""
        self.nbytes -= self._keyframes.pop(index).nbytes

    def move(self, index: int, T_world_camera: NDArray[np.float64]) -> None:
        """Say where a keyframe was taken from after all: (4, 4), of the colour camera. What was handed out before keeps
        its pose. Raises KeyError for an index that is not held, BadFrame for a transform that is not rigid."""
        moved = rigid(T_world_camera, f"frame {index}: T_world_camera")
        self._keyframes[index] = replace(self._keyframes[index], T_world_camera=moved)

    def _encode(self, frame: RgbdFrame) -> Keyframe:
        if self.jpeg_quality is None:
            color = frame.color.tobytes()
        else:
            bgr = np.asarray(cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR), np.uint8)
            color = _encoded(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
        return Keyframe(
            index=frame.index,
            timestamp_ns=frame.timestamp_ns,
            received_ns=frame.received_ns,
            color=color,
            color_coding="raw" if self.jpeg_quality is None else "jpeg",
            depth=_encoded(".png", frame.depth_raw, [cv2.IMWRITE_PNG_COMPRESSION, 1]),
            color_intrinsics=frame.color_intrinsics,
            depth_intrinsics=frame.depth_intrinsics,
            depth_scale=frame.depth_scale,
            T_color_depth=frame.T_color_depth,
            T_world_camera=frame.T_world_camera,
        )


def _encoded(ending: str, image: NDArray[np.uint8] | NDArray[np.uint16], options: list[int]) -> bytes:
    done, data = cv2.imencode(ending, image, options)
    if not done:
        raise BadFrame(f"OpenCV could not encode an image of {image.shape} {image.dtype} as {ending}")
    return bytes(data)
