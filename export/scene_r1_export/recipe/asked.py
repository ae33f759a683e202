"""Which recordings there are and what is asked about each: rooms, or recordings with a file of questions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scene_r1.rooms.dataset import open_rooms, read_questions
from scene_r1.rooms.model.splits import Split
from scene_r1.rooms.questions.question import Question
from scene_r1.sources import FrameSource, open_source
from scene_r1_engines.errors import BadInput, BadRecording

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
"""A scene's name: it becomes that of a folder."""


@dataclass(frozen=True, slots=True, eq=False)
class AskedRecording:
    """One recording, opened on use, and the questions about it. name: the `scene` of its questions."""

    name: str
    open: Callable[[], FrameSource]
    questions: tuple[Question, ...]


def asked_rooms(path: str | os.PathLike[str], split: Split) -> Iterator[AskedRecording]:
    """The rooms of a folder that `make_rooms` made, those of one split. Raises BadRecording, and BadInput where the
    folder has no such room."""
    scenes = [scene for scene in open_rooms(path).scenes if scene.split == split]
    if not scenes:
        raise BadInput(f"{os.fspath(path)} has no room of the split {split}: make some, or name another with --split")
    for scene in scenes:
        yield AskedRecording(scene.name, scene.source, scene.questions)


def asked_recordings(
    questions: str | os.PathLike[str], split: Split, *, folder: str | os.PathLike[str] | None, one: str | None = None
) -> Iterator[AskedRecording]:
    """The recordings that a file of questions is about, those of one split, in the order of the file.

    folder: holds each scene's recording under its name. one: a path instead, where all questions are about a single
    scene. Raises BadRecording for a file that cannot be read, BadInput where it has no question of that split, several
    scenes for one path, or a scene that is no name of a folder.
    """
    scenes: dict[str, list[Question]] = {}
    for line, question in read_questions(questions):
        if not NAME.fullmatch(question.scene):
            raise BadRecording(questions, f"line {line}: scene {question.scene[:80]!r} is no plain name of a recording")
        if question.split == split:
            scenes.setdefault(question.scene, []).append(question)
    if not scenes:
        raise BadInput(f"{os.fspath(questions)} has no question of the split {split}: name another with --split")
    if one is not None and len(scenes) > 1:
        raise BadInput(
            f"{os.fspath(questions)} asks about {len(scenes)} scenes ({', '.join(list(scenes)[:4])}, …): name the "
            "folder of their recordings with --recordings"
        )
    for name, asked in scenes.items():
        path = one if one is not None else os.fspath(Path(folder or ".") / name)
        yield AskedRecording(name, _opener(path), tuple(asked))


def _opener(path: str) -> Callable[[], FrameSource]:
    return lambda: open_source(path)
