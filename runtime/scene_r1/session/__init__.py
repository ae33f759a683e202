"""The library's front door: frames in while the camera runs, questions answered at the same time."""

from scene_r1.session.counters import Counters
from scene_r1.session.session import Session
from scene_r1.session.state import State

__all__ = ["Counters", "Session", "State"]
