"""Data for GRPO on disk: pictures, prompts and truth in one folder, whole or absent.

OUT/data.toml                              how it was made: the settings, the picture sizes, how time is said
OUT/train.jsonl                            one row a line: a prompt, its pictures and the truth
OUT/images/room-000019/000012-448x336.jpg  frame 12 of that recording, stretched to whole patches
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scene_r1.files import whole_folder
from scene_r1.memory import Keyframe
from scene_r1.rooms.questions.question import Question
from scene_r1_engines.errors import BadInput, SceneR1Error
from scene_r1_engines.llama.picture import resized
from scene_r1_engines.settings_file import to_toml
from scene_r1_export.recipe.asked import AskedRecording
from scene_r1_export.recipe.data_settings import DataSettings
from scene_r1_export.recipe.rows import Row, Rows
from scene_r1_export.recipe.shown import shown
from scene_r1_export.rewards import truth_of

SETTINGS, ROWS, IMAGES = "data.toml", "train.jsonl", "images"


@dataclass(frozen=True, slots=True)
class MadeData:
    """How much was made. rows: by task. unseen: questions of which no row was made, see Rows."""

    recordings: int
    questions: int
    rows: dict[str, int]
    images: int
    unseen: int


def make_data(
    out: str | os.PathLike[str],
    recordings: Iterable[AskedRecording],
    settings: DataSettings | None = None,
    on_recording: Callable[[str], None] | None = None,
) -> MadeData:
    """Write the folder `out`, which must not exist or be empty. on_recording: told each recording's name when it is
    done.

    Raises BadInput where a question and its recording do not fit each other or no row came of them all, BadRecording
    for a damaged recording, OutputExists, SceneR1Error when the disk refuses. Then nothing is left behind.
    """
    settings = settings or DataSettings()
    counts = {"when": 0, "where": 0, "answer": 0}
    done = asked = unseen = images = 0
    try:
        with whole_folder(out) as folder, (folder / ROWS).open("w", encoding="utf-8") as file:
            for recording in recordings:
                writer = _Pictures(folder, recording.name, settings.jpeg_quality)
                with recording.open() as source:
                    rows = Rows(recording.name, shown(source, settings.k), settings, writer)
                for question in recording.questions:
                    for row in _checked(rows, question):
                        file.write(json.dumps(row, allow_nan=False) + "\n")
                        counts[row["task"]] += 1
                done, asked = done + 1, asked + len(recording.questions)
                unseen, images = unseen + rows.unseen, images + len(writer.written)
                if on_recording is not None:
                    on_recording(recording.name)
            if not any(counts.values()):
                raise BadInput(
                    f"no row came of {asked} questions about {done} recordings: no keyframe shows what they ask for"
                )
            (folder / SETTINGS).write_text(to_toml(settings), encoding="utf-8")
    except OSError as error:
        if isinstance(error, SceneR1Error):
            raise
        raise SceneR1Error(f"{os.fspath(out)}: cannot be written: {error.strerror or error}") from error
    return MadeData(done, asked, counts, images, unseen)


def _checked(rows: Rows, question: Question) -> Iterator[Row]:
    """The rows of a question. Raises BadInput naming it."""
    try:
        for row in rows.of(question):
            truth_of(row)  # what the rewards will read
            yield row
    except BadInput as error:
        raise BadInput(f"question {question.id!r}: {error}") from error


class _Pictures:
    """Writes a keyframe as a picture of a size, each once."""

    def __init__(self, folder: Path, name: str, quality: int) -> None:
        self._folder, self._name, self._quality = folder, name, quality
        self.written: set[str] = set()

    def __call__(self, keyframe: Keyframe, size: tuple[int, int]) -> str:
        place = f"{IMAGES}/{self._name}/{keyframe.index:06d}-{size[1]}x{size[0]}.jpg"
        if place in self.written:
            return place
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        bgr = np.asarray(cv2.cvtColor(resized(keyframe.image(), size), cv2.COLOR_RGB2BGR), np.uint8)
        ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        if not ok:
            raise SceneR1Error(f"frame {keyframe.index} of {self._name} cannot be written as JPEG")
        path.write_bytes(bytes(data))
        self.written.add(place)
        return place
