"""Confidence images of phone recordings: how far the device trusts each pixel of its depth, 0, 1 or 2."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.images import MAX_IMAGE_BYTES, image_header
from scene_r1.sources.recorded_file import read_bytes
from scene_r1_engines.errors import BadConfig, BadRecording

HIGHEST = 2
"""ARConfidenceLevel: 0 low, 1 medium, 2 high."""
LOWEST_BELIEVED = 1


def check_threshold(min_confidence: int) -> int:
    """The threshold itself. Raises BadConfig unless it is 0 (keep all), 1 or 2."""
    if isinstance(min_confidence, bool) or min_confidence not in range(HIGHEST + 1):
        raise BadConfig(f"min_confidence must be 0, 1 or 2, got {min_confidence!r}")
    return min_confidence


def threshold_note(min_confidence: int) -> str:
    """For the notes of a source that drops depth."""
    return f"depth with a confidence below {min_confidence} (of 0, 1, 2) counts as no return: see low_confidence_px"


def read_confidence(path: Path, size: tuple[int, int], frame: int | None = None) -> NDArray[np.uint8]:
    """A confidence image, PNG with one channel of 8 bits.

    size: (width, height) that it must have, the depth image's. Returns (h, w) uint8 in 0..2. Raises BadRecording.
    """
    data = read_bytes(path, MAX_IMAGE_BYTES, frame)
    try:
        header = image_header(data)
    except ValueError as error:
        raise BadRecording(path, str(error), frame) from None
    if (header.kind, header.bits, header.channels) != ("PNG", 8, 1):
        raise BadRecording(
            path,
            f"must be a PNG with one channel of 8 bits, got a {header.kind} with {header.channels} channel(s) of "
            f"{header.bits} bits",
            frame,
        )
    if (header.width, header.height) != size:
        raise BadRecording(
            path,
            f"is {header.width}x{header.height} pixels, but the depth image is {size[0]}x{size[1]}: "
            "copy the recording again, or move its confidence folder away to keep all depth",
            frame,
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadRecording(path, f"does not decode ({error.err})", frame) from error
    if image is None or image.shape != (header.height, header.width) or image.dtype != np.uint8:
        raise BadRecording(path, "does not decode: its compressed data is damaged", frame)
    return checked(np.asarray(image, dtype=np.uint8), path, frame)


def checked(confidence: NDArray[np.uint8], path: Path, frame: int | None = None) -> NDArray[np.uint8]:
    """The same image. Raises BadRecording where a value is none of the three levels."""
    highest = int(confidence.max(initial=0))
    if highest > HIGHEST:
        raise BadRecording(path, f"holds the value {highest}: a confidence is 0, 1 or 2", frame)
    return confidence


def believed(
    depth_raw: NDArray[np.uint16], confidence: NDArray[np.uint8], min_confidence: int
) -> tuple[NDArray[np.uint16], int]:
    """Depth with what is not trusted set to 0 (no return), and how many returns that cost.

    depth_raw: (h, w) uint16 counts. confidence: (h, w) uint8 of the same pixels.
    """
    low = (confidence < min_confidence) & (depth_raw > 0)
    dropped = int(np.count_nonzero(low))
    return (np.where(low, np.uint16(0), depth_raw) if dropped else depth_raw), dropped
