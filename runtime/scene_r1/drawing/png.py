"""Pictures on disk: PNG, whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_file
from scene_r1_engines.errors import BadInput, SceneR1Error


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write an image, (H, W, 3) uint8 RGB, in place of whatever file was there; missing folders are made.

    Raises BadInput for another array or a name that does not end in .png, OutputExists where a folder has the name,
    SceneR1Error when the disk refuses.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise BadInput(f"{path}: a picture must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if Path(path).suffix.lower() != ".png":
        raise BadInput(f"{path}: pictures are written as PNG: end the name in .png")
    # Encoded in memory and written here: cv2.imwrite returns False for a full disk and says nothing more.
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise SceneR1Error(f"{path}: OpenCV cannot encode a picture of {image.shape} as PNG")
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise SceneR1Error(f"{path}: cannot be written: {error.strerror or error}") from error
