"""A camera in the hand, for hours: captured in a process of its own, watched over, opened again when it is lost."""

from scene_r1.live.address import open_live
from scene_r1.live.capture import LiveSource
from scene_r1.live.device import CameraInfo, Device, RawFrame
from scene_r1.live.live_frame import Capture, LiveFrame
from scene_r1.live.status import Patience, State, Status

__all__ = [
    "CameraInfo",
    "Capture",
    "Device",
    "LiveFrame",
    "LiveSource",
    "Patience",
    "RawFrame",
    "State",
    "Status",
    "open_live",
]
