"""What goes through the pipe between the capturing process and its caller's. Frames go through the ring.

The capturing process says Opened, or Fault and is at its end; then it waits for Play. Ended and Fault tell how a
playing came to its end.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scene_r1.live.device import CameraInfo, Device
from scene_r1.live.ring import Layout
from scene_r1.live.timeline import Mark
from scene_r1_engines.errors import CameraLost, SceneR1Error

LAST_LINES = 6
"""Of a traceback that is told."""


@dataclass(frozen=True, slots=True)
class Open:
    """The first order. serial: the camera that was lost; another is refused. index: of the first frame. after: where
    the times have got to."""

    make: Callable[[], Device]
    serial: str | None
    index: int
    after: Mark | None


@dataclass(frozen=True, slots=True)
class Play:
    """Put frames into the ring, which is there now; of a recording: from its beginning. run: numbers the playings."""

    run: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Stop:
    """Close the camera and end."""


Order: TypeAlias = "Play | Stop"


@dataclass(frozen=True, slots=True)
class Opened:
    info: CameraInfo


@dataclass(frozen=True, slots=True)
class Ended:
    """This playing of a recording is over; every frame of it was put into the ring. error: what it broke off with."""

    run: int
    error: SceneR1Error | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """The camera broke, or could not be opened. No more frames come from this process."""

    error: SceneR1Error


Message: TypeAlias = "Opened | Ended | Fault"


def travelling(error: BaseException) -> SceneR1Error:
    """The error itself where it is one of ours and survives the pipe; else a CameraLost that tells of it."""
    if isinstance(error, SceneR1Error) and _survives(error):
        return error
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).strip().split("\n")
    return CameraLost("the camera's driver broke: " + "\n".join([lines[-1], *lines[-LAST_LINES:-1]]))


def _survives(error: SceneR1Error) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001 - whatever its pickling raises, the error is told in another way
        return False
