"""What a live source is called on the command line: `realsense`, `realsense:SERIAL` or `RECORDING@30hz`."""

from __future__ import annotations

import math
import os
import re
from functools import partial

from scene_r1.live.capture import WAITING, LiveSource
from scene_r1.live.device import FASTEST_HZ
from scene_r1_engines.errors import BadConfig

# What either kind needs is imported on use: every capturing process imports this package.
_REALSENSE = re.compile(r"realsense(?::(.*))?", re.DOTALL)
_SERIAL = re.compile(r"[0-9A-Za-z]{1,32}")
_RATED = re.compile(r"(.+)@([^@/]*)hz", re.DOTALL | re.IGNORECASE)


def open_live(address: str, size: tuple[int, int] | None = None, waiting: int = WAITING) -> LiveSource:
    """Open a camera, or play a recording as one.

    address: `realsense` (the one that is plugged in), `realsense:SERIAL`, or a recording of any format that is known,
    `PATH@30hz`; without a rate: at its own. size: (width, height) of a camera's images. waiting: see LiveSource.

    Raises CameraLost (no camera, or none of this serial, naming those there are), BadRecording, BadConfig (a rate or a
    size that cannot be), MissingExtra.
    """
    camera = _REALSENSE.fullmatch(address)
    if camera is not None:
        serial = camera[1]
        if serial is not None and _SERIAL.fullmatch(serial) is None:
            raise BadConfig(f"{address!r}: a camera is named realsense:SERIAL, with the digits printed on it")
        from scene_r1.live.realsense_device import RealSenseDevice

        return LiveSource(partial(RealSenseDevice, serial, size), address, waiting)
    if size is not None:
        raise BadConfig(f"{address}: a recording has the size it has; size is for cameras")
    from scene_r1.live.recording_device import RecordingDevice

    path, rate_hz = recording_and_rate(address)
    return LiveSource(partial(RecordingDevice, os.path.abspath(path), rate_hz), address, waiting)


def recording_and_rate(address: str) -> tuple[str, float | None]:
    """`room.db3@30hz` in its parts; no rate: None. Raises BadConfig for a rate that cannot be."""
    rated = _RATED.fullmatch(address)
    if rated is None:
        return address, None
    try:
        rate_hz = float(rated[2])
    except ValueError:
        rate_hz = math.nan
    if not 0.0 < rate_hz <= FASTEST_HZ:  # also NaN
        raise BadConfig(f"{address}: a rate is a number in 0..{FASTEST_HZ:g}, as in {rated[1]}@30hz; got {rated[2]!r}")
    return rated[1], rate_hz
