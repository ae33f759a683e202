"""An answer for 3D viewers: GLB, which every one of them opens, and Rerun's .rrd, which also has the time."""

from scene_r1.viewer.cloud import scene_cloud
from scene_r1.viewer.glb import write_glb
from scene_r1.viewer.rrd import require_rerun, write_rrd
from scene_r1.viewer.showing import Showing

__all__ = ["Showing", "require_rerun", "scene_cloud", "write_glb", "write_rrd"]
