"""One room on disk: its recording, its instance images, its scene graph and its questions, whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_folder
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.rooms.dataset.graph import SceneGraph, graph_of, read_graph, write_graph
from scene_r1.rooms.dataset.instance_image import instance_path, write_instance
from scene_r1.rooms.dataset.questions_file import read_questions, write_questions
from scene_r1.rooms.dataset.settings import RoomsSettings
from scene_r1.rooms.questions.question import Question
from scene_r1.rooms.questions.seen_walk import SeenWalk
from scene_r1.sources import create_sink
from scene_r1_engines.errors import BadRecording, OutputExists, SceneR1Error

RECORDING, INSTANCE, GRAPH, QUESTIONS = "recording", "instance", "scene.json", "questions.jsonl"
JPEG_QUALITY = 95
FILES_A_FRAME = ("color.jpg", "depth.png", "pose.txt")


def room_name(seed: int) -> str:
    """The name of a room's folder, and of its scene in questions."""
    return f"room-{seed:06d}"


def make_room_folder(out: Path, seed: int, made: RoomsSettings) -> int:
    """Render the walk through the room of that seed into its folder below `out`; returns how many questions it has.

    The folder appears when all of it is written. Raises MissingExtra without a ray caster, OutputExists when the
    folder is there, SceneR1Error when the room cannot be made or the disk refuses.
    """
    from scene_r1.rooms.questions import make_questions  # on use: kept rooms need none

    name = room_name(seed)
    try:
        with whole_folder(out / name) as folder, _walk(seed, made) as walk:
            (folder / INSTANCE).mkdir()
            instance: list[NDArray[np.int16]] = []
            with create_sink(folder / RECORDING, like=walk.info, jpeg_quality=JPEG_QUALITY) as sink:
                for index in range(len(walk)):
                    frame, truth = walk.shot(index)
                    sink.write(frame)
                    write_instance(instance_path(folder / INSTANCE, index), truth.instance)
                    instance.append(truth.instance)
            visible = walk.visible_fraction()
            times_s = np.arange(len(walk)) / made.rate_hz
            seen = SeenWalk(walk.room, walk.cameras[0], walk.poses, times_s, instance, visible)
            questions = make_questions(seen, name, made.questions, seed) if made.questions else ()
            write_questions(folder / QUESTIONS, questions)
            write_graph(folder / GRAPH, graph_of(walk.room, visible, made))
            return len(questions)
    except OSError as error:
        if isinstance(error, SceneR1Error):
            raise
        raise SceneR1Error(f"{out / name}: cannot be written: {error.strerror or error}") from error


def check_kept(out: Path, seed: int, made: RoomsSettings) -> bool:
    """Whether the room of that seed is there, made as it would be now.

    Raises OutputExists where it was made otherwise or is another room, BadRecording where some of its files are gone.
    """
    folder = out / room_name(seed)
    if not os.path.lexists(folder):
        return False
    graph = read_graph(folder / GRAPH)
    if graph.seed != seed:
        raise OutputExists(f"{folder} holds the room of seed {graph.seed}: remove it or name another folder")
    if graph.made != made:
        found = graph.made.differences(made)
        raise OutputExists(f"{folder} was made otherwise ({found}): remove it or name another folder")
    check_complete(folder, made.frames)
    return True


def check_complete(folder: Path, frames: int) -> None:
    """Raises BadRecording naming the first file of a room that is not there; none is opened."""
    there = {where: _names(folder / where) for where in (RECORDING, INSTANCE)}
    for index in range(frames):
        image = instance_path(folder / INSTANCE, index)
        if image.name not in there[INSTANCE]:
            raise BadRecording(image, "is missing: remove the room's folder and make the rooms again", index)
        for suffix in FILES_A_FRAME:
            file = folder / RECORDING / f"frame-{index:06d}.{suffix}"
            if file.name not in there[RECORDING]:
                raise BadRecording(file, "is missing: remove the room's folder and make the rooms again", index)


def questions_of(out: Path, seed: int) -> Iterator[Question]:
    """The questions kept in a room's own folder. Raises BadRecording."""
    path = out / room_name(seed) / QUESTIONS
    for line, question in read_questions(path):
        if question.scene != room_name(seed):
            raise BadRecording(path, f"line {line}: scene {question.scene!r} is not the room of this folder")
        yield question


def graph_at(folder: Path) -> SceneGraph:
    """The scene graph of a room's folder. Raises BadRecording."""
    return read_graph(folder / GRAPH)


def _walk(seed: int, made: RoomsSettings) -> SyntheticRecording:
    return SyntheticRecording(seed, made.frames, made.size, rate_hz=made.rate_hz, noise_scale=made.noise_scale)


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError as error:
        raise BadRecording(folder, f"cannot be listed ({error.strerror or error}): make the rooms again") from error
