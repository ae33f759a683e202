"""The demo's room: a walk through it, written as a recording, and the questions that its truth answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.rooms.dataset.room_folder import room_name
from scene_r1.rooms.model.splits import Split, split_of
from scene_r1.rooms.questions import Question, SeenWalk, make_questions
from scene_r1.sources import FrameSink, SourceInfo, create_sink
from scene_r1_engines.errors import BadInput, MissingExtra

FRAMES, RATE_HZ = 120, 4.0
"""A walk of 30 s, once around the room: as the rooms are walked in which a model learns and by which it is judged."""
OFFERED = 6
"""Questions that are made of a room; three of them are asked. So many a room has in the accuracy benchmark too."""
ASKED = 3


@dataclass(frozen=True, slots=True)
class Walked:
    """A room on disk. path: of the recording. questions: all that were made of the room, with their truth."""

    path: Path
    seed: int
    split: Split
    duration_s: float
    questions: tuple[Question, ...]


def walk_through(out: Path, seed: int, on_frame: Callable[[], None]) -> Walked:
    """Render a walk through the room of that seed and write it into the folder `out`, as a RealSense recording where
    librealsense is there, else as a folder of images. on_frame: called after each frame.

    Raises MissingExtra without a ray caster, OutputExists where the recording's place is taken, BadInput for a seed
    that is none.
    """
    with SyntheticRecording(seed, FRAMES, rate_hz=RATE_HZ) as walk:
        path, sink = _sink(out, walk.info)
        instance: list[NDArray[np.int16]] = []
        with sink:
            for index in range(len(walk)):
                frame, truth = walk.shot(index)
                sink.write(frame)
                instance.append(truth.instance)
                on_frame()
        times_s = np.arange(len(walk)) / RATE_HZ
        seen = SeenWalk(walk.room, walk.cameras[0], walk.poses, times_s, instance, walk.visible_fraction())
        questions = make_questions(seen, room_name(seed), OFFERED, seed)
    return Walked(path, seed, split_of(seed), float(times_s[-1]), questions)


def chosen(questions: Sequence[Question]) -> tuple[Question, ...]:
    """The three to ask: the first that finds a thing by what it is like, the first that finds one by where it is, and
    the first that is answered by a word or a number. A room that lacks a kind has another of what it offers in its
    place.

    Raises BadInput where there are no questions.
    """
    if not questions:
        raise BadInput("this room offers no question that has one answer: try another --seed")
    kinds: tuple[Callable[[Question], bool], ...] = (
        lambda one: one.family == "attribute",
        lambda one: one.family == "relation",
        lambda one: one.answer_kind in ("word", "number") and one.task == "vqa",
    )
    first = [next((one for one in questions if kind(one)), None) for kind in kinds]
    taken = [one for one in first if one is not None]
    return (*taken, *[one for one in questions if one not in taken][: ASKED - len(taken)])


def _sink(out: Path, info: SourceInfo) -> tuple[Path, FrameSink]:
    try:
        return out / "room.db3", create_sink(out / "room.db3", like=info)
    except MissingExtra:  # librealsense has no wheel for every machine that this runs on
        return out / "room", create_sink(out / "room", like=info)
