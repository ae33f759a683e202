"""The weight-free segmenter: a box, points or a coarse mask become a mask by depth and colour alone."""

from scene_r1_engines.depth_cut.engine import DepthCut

__all__ = ["DepthCut"]
