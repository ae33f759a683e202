"""ROS bags with standard topics: MCAP files, ROS 2 bags (folders and bare .db3), ROS 1 .bag."""

from __future__ import annotations

from scene_r1.sources.ros.bag import RosBag
from scene_r1.sources.ros.kinds import looks_like_ros_folder, open_bag
from scene_r1.sources.ros.topics import Topics

__all__ = ["RosBag", "Topics", "looks_like_ros_folder", "open_bag"]
