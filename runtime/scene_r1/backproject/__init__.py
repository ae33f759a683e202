"""Depth images -> world points with colour. Fast: `BackProjector`; plain twin: `backproject_reference`."""

from scene_r1.backproject.points import Points
from scene_r1.backproject.projector import EDGE_RATIO, BackProjector, color_pixels
from scene_r1.backproject.reference import backproject_reference

__all__ = ["EDGE_RATIO", "BackProjector", "Points", "backproject_reference", "color_pixels"]
