"""A folder of rooms, opened: every file of words in it checked, pictures read when they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.files import write_text
from scene_r1.rooms.dataset.fields import Fields, parse_json
from scene_r1.rooms.dataset.graph import MOST_SEED, SceneGraph, check_format
from scene_r1.rooms.dataset.instance_image import instance_path, read_instance
from scene_r1.rooms.dataset.questions_file import read_questions, write_questions
from scene_r1.rooms.dataset.room_folder import GRAPH, INSTANCE, RECORDING, check_complete, graph_at, room_name
from scene_r1.rooms.dataset.settings import FORMAT, RoomsSettings, settings_of
from scene_r1.rooms.model.room import FIRST_FURNITURE
from scene_r1.rooms.model.splits import SPLITS, Split, split_of
from scene_r1.rooms.questions.question import Question
from scene_r1.sources import FrameSource, open_source
from scene_r1.sources.recorded_file import read_text
from scene_r1_engines.errors import BadInput, BadRecording

ROOMS_FILE, QUESTIONS_FILE = "rooms.json", "questions.jsonl"
MAX_BYTES = 64 << 20
CLOSE_M = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class RoomScene:
    """One room of a folder: what is in it, what is asked about it, and its recording, read on use."""

    folder: Path
    name: str
    seed: int
    split: Split
    made: RoomsSettings
    graph: SceneGraph
    questions: tuple[Question, ...]

    def source(self) -> FrameSource:
        """The recording, open. Raises BadRecording where it is not the one that the folder's index tells of."""
        source = open_source(self.folder / RECORDING)
        info, made = source.info, self.made
        color, depth = info.color_intrinsics, info.depth_intrinsics
        found = (info.frames, color.width, color.height, depth.width, depth.height)
        if found != (made.frames, *made.size, *made.size):
            source.close()
            raise BadRecording(
                self.folder / RECORDING,
                f"has {found[0]} frames of {found[1]}x{found[2]} (depth {found[3]}x{found[4]}) pixels, but "
                f"{ROOMS_FILE} says {made.frames} of {made.size[0]}x{made.size[1]}: make the rooms again",
            )
        return source

    def instance(self, frame: int) -> NDArray[np.int16]:
        """What each pixel of a frame's colour image shows: (H, W) int16, an object's id from 0, a piece of furniture's
        from 100, what is lying about from 200, and -1 for the room itself. Raises BadInput for a frame that does not
        exist, BadRecording for a damaged file or an object that the room does not have."""
        if not 0 <= frame < self.made.frames:
            raise BadInput(f"{self.name} has frames 0..{self.made.frames - 1}, not {frame}")
        path = instance_path(self.folder / INSTANCE, frame)
        instance = read_instance(path, self.made.size, frame)
        strangers = instance[(instance >= len(self.graph.objects)) & (instance < FIRST_FURNITURE)]
        if len(strangers):
            raise BadRecording(path, f"shows object {int(strangers[0])}, which {GRAPH} does not have", frame)
        return instance


@dataclass(frozen=True, slots=True, eq=False)
class RoomsFolder:
    """Rooms made with the same settings, in the order they were asked for."""

    path: Path
    made: RoomsSettings
    scenes: tuple[RoomScene, ...]

    def scene(self, name: str) -> RoomScene:
        """The room of that name. Raises BadInput when there is none."""
        for scene in self.scenes:
            if scene.name == name:
                return scene
        shown = ", ".join(scene.name for scene in self.scenes[:8]) + (", ..." if len(self.scenes) > 8 else "")
        raise BadInput(f"{self.path} has no room {name!r}: it has {shown}")


def write_index(folder: Path, seeds: Sequence[int], made: RoomsSettings, questions: Sequence[Question]) -> None:
    """Write what `open_rooms` begins with, each file whole or absent. Raises SceneR1Error when the disk refuses."""
    write_questions(folder / QUESTIONS_FILE, questions)
    rooms = [{"name": room_name(seed), "seed": int(seed), "split": split_of(seed)} for seed in seeds]
    text = {"format": FORMAT, **made.to_json(), "rooms": rooms}
    write_text(folder / ROOMS_FILE, json.dumps(text, indent=1) + "\n")


def open_rooms(path: str | os.PathLike[str]) -> RoomsFolder:
    """Open a folder that `make_rooms` made.

    Index, scene graphs and questions are read and checked against each other; of pictures, only that they are there.
    Raises BadRecording naming the file, and its line where it is one of questions.
    """
    folder = Path(path)
    index = folder / ROOMS_FILE
    if not index.exists():
        raise BadRecording(index, "is missing: this is no folder of rooms, or making them was not finished")
    fields = Fields(parse_json(read_text(index, limit_bytes=MAX_BYTES), index), index)
    check_format(fields)
    made = settings_of(fields)
    graphs: dict[str, SceneGraph] = {}
    for one in fields.tables("rooms"):
        name = _room(one)
        if name in graphs:
            raise fields.fault(f"rooms: {name} is there twice")
        graphs[name] = _graph(folder / name, one, made)
    fields.end()
    asked: dict[str, list[Question]] = {name: [] for name in graphs}
    for line, question in read_questions(folder / QUESTIONS_FILE):
        reason = _against(question, graphs.get(question.scene), made)
        if reason:
            raise BadRecording(folder / QUESTIONS_FILE, f"line {line}: {reason}")
        asked[question.scene].append(question)
    scenes = [
        RoomScene(folder / name, name, graph.seed, graph.split, made, graph, tuple(asked[name]))
        for name, graph in graphs.items()
    ]
    return RoomsFolder(folder, made, tuple(scenes))


def _room(fields: Fields) -> str:
    """The name of a room in the index."""
    seed, name = fields.whole("seed", 0, MOST_SEED), fields.text("name")
    split = fields.word("split", SPLITS)
    fields.end()
    if name != room_name(seed) or split != split_of(seed):
        raise fields.fault(f"the room of seed {seed} is {room_name(seed)} of {split_of(seed)}, not {name!r} of {split}")
    return name


def _graph(folder: Path, room: Fields, made: RoomsSettings) -> SceneGraph:
    graph = graph_at(folder)
    if graph.seed != room.whole("seed", 0, MOST_SEED):
        raise BadRecording(folder / GRAPH, f"is of the room of seed {graph.seed}: make the rooms again")
    if graph.made != made:
        raise BadRecording(
            folder / GRAPH, f"was made otherwise than {ROOMS_FILE} says ({graph.made.differences(made)})"
        )
    check_complete(folder, made.frames)
    return graph


def _against(question: Question, graph: SceneGraph | None, made: RoomsSettings) -> str:
    """What is wrong with a question about that room, or nothing."""
    if graph is None:
        return f"scene {question.scene[:80]!r} is none of the rooms in {ROOMS_FILE}"
    if question.split != graph.split:
        return f"split {question.split} is not that of {question.scene}, {graph.split}"
    for start, end in question.windows_s:
        if end > made.duration_s + CLOSE_M:
            return f"windows_s: {[start, end]} ends after the recording, which has {made.duration_s:g} s"
    width, height = made.size
    for frame, (x0, y0, x1, y1) in question.boxes_2d.items():
        if frame >= made.frames:
            return f"boxes_2d: frame {frame} does not exist: the recording has frames 0..{made.frames - 1}"
        if x1 > width or y1 > height:
            return f"boxes_2d: the box {[x0, y0, x1, y1]} of frame {frame} is not inside {width}x{height} pixels"
    if question.target is None or question.box_3d is None:
        return ""
    thing = graph.object(question.target)
    if thing is None:
        return f"target {question.target} is no object of {question.scene}, which has 0..{len(graph.objects) - 1}"
    if question.name != thing.name:
        return f"name {question.name!r} is not that of object {question.target}, {thing.name!r}"
    corners = zip((*question.box_3d.low, *question.box_3d.high), (*thing.box.low, *thing.box.high), strict=True)
    if any(abs(a - b) > CLOSE_M for a, b in corners):
        return f"box_3d is not that of object {question.target} in {GRAPH}"
    return ""
