"""The built-in tracker: RGB-D, on the CPU, with a map that is bounded."""

from scene_r1.tracking.visual.settings import VisualSettings
from scene_r1.tracking.visual.tracker import VisualTracker

__all__ = ["VisualSettings", "VisualTracker"]
