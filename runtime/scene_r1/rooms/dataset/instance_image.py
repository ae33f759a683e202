"""Instance images on disk: a PNG of 16 bits in which each pixel is its thing's id + 1, and 0 is the background."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.images import read_depth
from scene_r1_engines.errors import BadRecording, SceneR1Error

MOST_ID = 32767


def instance_path(folder: Path, frame: int) -> Path:
    """Where the instance image of a frame is kept."""
    return folder / f"frame-{frame:06d}.png"


def write_instance(path: Path, instance: NDArray[np.int16]) -> None:
    """instance: (H, W) int16 ids, -1 = background. Raises SceneR1Error when the disk refuses."""
    done, data = cv2.imencode(".png", (instance.astype(np.int32) + 1).astype(np.uint16))
    if not done:
        raise SceneR1Error(f"{path}: OpenCV cannot encode an image of {instance.shape} as PNG")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise SceneR1Error(f"{path}: cannot be written: {error.strerror or error}") from error


def read_instance(path: Path, size: tuple[int, int], frame: int) -> NDArray[np.int16]:
    """(H, W) int16 ids, -1 = background. size: (width, height) that it must have. Raises BadRecording."""
    stored = read_depth(path, size, frame)
    highest = int(stored.max()) - 1
    if highest > MOST_ID:
        raise BadRecording(path, f"holds the id {highest}, more than {MOST_ID}: make the room again", frame)
    return np.asarray(stored.astype(np.int32) - 1, np.int16)
