"""What a live source is doing, and how long it waits for its camera."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """STREAMING: new frames come. RECONNECTING: none do, and the camera is being opened again. LOST: that has failed
    for a while; a camera is still tried for, a recording is not. ENDED: the recording is over, or the source closed."""

    STREAMING = "streaming"
    RECONNECTING = "reconnecting"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Status:
    """reason: why it is not streaming, in words for people; empty while it is."""

    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that are waited before something is done about a camera.

    open_s: for it to open, the first time (librealsense alone may take 15). reopen_s: later. first_frame_s: for its
    first frame. silent_s: without a new frame until the status says so. hung_s: until the capturing process is killed
    and the camera opened again. recorded_s: instead of these for a recording, whose frames are only slow to decode.
    rests_s: before the first, second, ... try in a row; the last one from then on, as LOST. settled_s: a camera that
    ran so long starts again with the first.
    """

    open_s: float = 60.0
    reopen_s: float = 20.0
    first_frame_s: float = 5.0
    silent_s: float = 0.7
    hung_s: float = 2.0
    recorded_s: float = 30.0
    rests_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    settled_s: float = 5.0
