"""Where librealsense's threads leave what a camera gives: copied at once, a few images deep."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.live.gravity import Gravity
from scene_r1.sources.realsense_pairing import StreamImage
from scene_r1.sources.realsense_sdk import nanoseconds

MOST_IMAGES = 16
"""That wait to be paired; the oldest is dropped and counted."""


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedImage(StreamImage):
    """With the host's monotonic time at which it came in."""

    received_ns: int = 0


class Inbox:
    """It knows nothing of the device: librealsense holds its callbacks, and a callback that held the device would keep
    it and its threads alive for ever.

    filters: that depth goes through, librealsense's own.
    """

    def __init__(self, filters: list[Any]) -> None:
        self.dropped = 0
        self.unplugged = threading.Event()
        self._filters = filters
        self._images: deque[ReceivedImage | BaseException] = deque()
        self._changed = threading.Condition()
        self._gravity = Gravity()

    def on_frame(self, frame: Any) -> None:
        """An image of either stream. A frame held, or a view into it, would starve the camera."""
        received_ns = time.monotonic_ns()
        item: ReceivedImage | BaseException
        try:
            depth = frame.get_profile().stream_type().name == "depth"
            for one in self._filters if depth else ():
                frame = one.process(frame)
            item = ReceivedImage(
                "depth" if depth else "color",
                frame.get_frame_number(),
                nanoseconds(frame.get_timestamp()),
                frame.get_frame_timestamp_domain().name,
                np.array(frame.get_data()),
                received_ns,
            )
        except (RuntimeError, ValueError) as error:
            item = error
        with self._changed:
            if len(self._images) >= MOST_IMAGES:
                self._images.popleft()
                self.dropped += 1
            self._images.append(item)
            self._changed.notify()

    def on_motion(self, frame: Any) -> None:
        """A measurement of the accelerometer or of the gyroscope."""
        kind = frame.get_profile().stream_type().name
        vector = frame.as_motion_frame().get_motion_data()
        measure = self._gravity.accel if kind == "accel" else self._gravity.gyro
        with self._changed:
            measure(nanoseconds(frame.get_timestamp()), (vector.x, vector.y, vector.z))

    def get(self, timeout_s: float) -> ReceivedImage | None:
        """The next image, None after the timeout. Raises RuntimeError or ValueError of what could not be taken."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._images, timeout_s):
                return None
            item = self._images.popleft()
        if isinstance(item, BaseException):
            raise item
        return item

    @property
    def down(self) -> NDArray[np.float64] | None:
        """(3,) unit vector in the IMU's axes, None where unknown."""
        with self._changed:
            return self._gravity.down
