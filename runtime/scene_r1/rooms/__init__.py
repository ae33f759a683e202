"""Synthetic rooms: an RGB-D camera walks through a furnished room in which every box is known exactly.

Making a room and a path needs numpy and scipy; rendering needs the extra `rooms` (a ray caster, imported on use).
"""

from scene_r1.rooms.capture.depth_noise import noisy_depth
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.rooms.capture.walk import camera_path
from scene_r1.rooms.model.layout import make_room
from scene_r1.rooms.model.room import BACKGROUND, FIRST_FURNITURE, Box, Furniture, Room, RoomObject
from scene_r1.rooms.render.render import Rendering, Truth, realsense_cameras, render, survey
from scene_r1.rooms.render.visibility import Visibility, visibility

__all__ = [
    "BACKGROUND",
    "FIRST_FURNITURE",
    "Box",
    "Furniture",
    "Rendering",
    "Room",
    "RoomObject",
    "SyntheticRecording",
    "Truth",
    "Visibility",
    "camera_path",
    "make_room",
    "noisy_depth",
    "realsense_cameras",
    "render",
    "survey",
    "visibility",
]
