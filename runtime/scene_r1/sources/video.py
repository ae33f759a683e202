"""A video file, decoded from its first picture to its last."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.images import MAX_PIXELS
from scene_r1_engines.errors import BadRecording


class Video:
    """Pictures of one video file, in order. `close()` twice is fine, and from another thread.

    size: (width, height) in pixels. frames: how many the container claims, or None. rate_hz: nominal, or None.
    Raises BadRecording when it is missing, no regular file, no video, or larger than pictures here may be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except FileNotFoundError:
            raise BadRecording(path, "is missing: copy the recording again") from None
        except (OSError, ValueError) as error:
            raise BadRecording(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
        if not regular:
            raise BadRecording(path, "is not a regular file: put the recorded video here")
        self._lock = threading.Lock()
        self._capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise BadRecording(
                path, "does not open as a video (cut short, or a codec this OpenCV lacks): copy it again"
            )
        # Phones write "show me turned" into the file; depth, poses and intrinsics are of the sensor as it is.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not 0 < width * height <= MAX_PIXELS:
            self.close()
            raise BadRecording(path, f"is {width:.0f}x{height:.0f} pixels, not 1 to the {MAX_PIXELS} that are decoded")
        self.size = (int(width), int(height))
        claimed, rate = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        self.frames = int(claimed) if 0 < claimed < 1 << 31 else None
        self.rate_hz = float(rate) if 1e-3 <= rate <= 1e5 else None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) uint8, RGB. Ends with the video, whether that is its end or damage; raises for another size."""
        index = 0
        while True:
            with self._lock:
                read, picture = self._capture.read() if self._capture.isOpened() else (False, None)
            if not read or picture is None:
                return
            if picture.shape != (self.size[1], self.size[0], 3) or picture.dtype != np.uint8:
                raise BadRecording(self.path, f"decodes to {picture.shape} {picture.dtype} half-way", index)
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            index += 1

    def close(self) -> None:
        """Let go of the file and the decoder."""
        with self._lock:
            self._capture.release()
