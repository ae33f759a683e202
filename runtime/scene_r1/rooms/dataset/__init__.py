"""Rooms on disk: recordings, instance images, scene graphs and questions in one folder.

    OUT/rooms.json                            how they were made, and which there are
    OUT/questions.jsonl                       the questions about all of them, one a line
    OUT/room-000019/recording/                the walk, as a 7-Scenes folder: JPEG colour, depth in millimetres, poses
    OUT/room-000019/instance/frame-000000.png what each colour pixel shows: uint16, id + 1, 0 = background
    OUT/room-000019/scene.json                the scene graph
    OUT/room-000019/questions.jsonl           this room's questions, from which the list of all is put together

Reading needs no ray caster.
"""

from scene_r1.rooms.dataset.folder import RoomScene, RoomsFolder, open_rooms
from scene_r1.rooms.dataset.graph import GraphFurniture, GraphObject, SceneGraph
from scene_r1.rooms.dataset.make import MadeRooms, make_rooms
from scene_r1.rooms.dataset.questions_file import read_questions, write_questions
from scene_r1.rooms.dataset.settings import RoomsSettings
from scene_r1.rooms.dataset.sheet import preview_sheet, write_jpeg
from scene_r1.rooms.dataset.worker import RoomDone

__all__ = [
    "GraphFurniture",
    "GraphObject",
    "MadeRooms",
    "RoomDone",
    "RoomScene",
    "RoomsFolder",
    "RoomsSettings",
    "SceneGraph",
    "make_rooms",
    "open_rooms",
    "preview_sheet",
    "read_questions",
    "write_jpeg",
    "write_questions",
]
