"""Rooms at a glance: some frames of every walk, with what is asked about them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.drawing import Exhibit, evidence_sheet
from scene_r1.files import whole_file
from scene_r1.frame import RgbdFrame
from scene_r1.rooms.dataset.folder import RoomScene
from scene_r1.rooms.questions.question import Question, Xyxy
from scene_r1_engines.errors import BadInput, SceneR1Error

COLUMNS = 6
MOST_ROOMS = 24
"""More make a picture that nobody looks at."""
WIDTH_PX = 2000
JPEG_QUALITY = 90


def preview_sheet(scenes: Sequence[RoomScene]) -> NDArray[np.uint8]:
    """A row of frames for each of the first MOST_ROOMS rooms, spread over its walk: (H, WIDTH_PX, 3) uint8 RGB.

    Below each frame stand the room, the time and a question; where it asks for something, its 2D box is drawn in the
    frame that shows it best. Raises BadInput for no rooms, BadRecording for a damaged recording.
    """
    return evidence_sheet([view for scene in scenes[:MOST_ROOMS] for view in _views(scene)], COLUMNS, WIDTH_PX)


def write_jpeg(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write an image, (H, W, 3) uint8 RGB, in place of whatever file was there; missing folders are made.

    Raises BadInput for a name that does not end in .jpg or .jpeg, OutputExists where a folder has the name,
    SceneR1Error when the disk refuses.
    """
    if Path(path).suffix.lower() not in (".jpg", ".jpeg"):
        raise BadInput(f"{path}: a contact sheet is written as JPEG: end the name in .jpg")
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise SceneR1Error(f"{path}: OpenCV cannot encode a picture of {image.shape} as JPEG")
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise SceneR1Error(f"{path}: cannot be written: {error.strerror or error}") from error


def _views(scene: RoomScene) -> list[Exhibit]:
    places = _places(scene)
    wanted = {frame for frame, _, _ in places}
    with scene.source() as source:
        frames: dict[int, RgbdFrame] = {frame.index: frame for frame in source.frames() if frame.index in wanted}
    out = []
    for number, (index, question, xyxy) in enumerate(places):
        where = f"{scene.name} ({scene.split}, {len(scene.graph.objects)} objects), " if number == 0 else ""
        caption = f"{where}{index / scene.made.rate_hz:.1f} s"
        if question is not None:
            caption += f": {question.text}" + (f" - {question.answer}" if question.answer else _found(question))
        out.append(Exhibit(frames[index], xyxy, caption=caption))
    return out


def _found(question: Question) -> str:
    return "" if question.family != "absent" else " - it is not there"


def _places(scene: RoomScene) -> list[tuple[int, Question | None, Xyxy | None]]:
    """COLUMNS frames in the order of time, each with at most one question and its box.

    Frames are spread evenly; a question with boxes moves the free frame nearest to where its object is seen best.
    """
    last = scene.made.frames - 1
    slots: list[tuple[int, Question | None, Xyxy | None]] = [
        (round(i * last / (COLUMNS - 1)), None, None) for i in range(COLUMNS)
    ]
    for question in sorted(scene.questions, key=lambda one: not one.boxes_2d):
        free = [i for i, (_, taken, _) in enumerate(slots) if taken is None]
        if not free:
            break
        if not question.boxes_2d:
            slots[free[0]] = (slots[free[0]][0], question, None)
            continue
        frame, xyxy = max(question.boxes_2d.items(), key=lambda item: _shown(item[1], scene.made.size))
        nearest = min(free, key=lambda i: abs(slots[i][0] - frame))
        slots[nearest] = (frame, question, xyxy)
    return sorted(slots, key=lambda slot: slot[0])


def _shown(xyxy: Xyxy, size: tuple[int, int]) -> tuple[bool, float]:
    """How well a box shows its object: whole in the picture, then large."""
    x0, y0, x1, y1 = xyxy
    whole = x0 > 0.0 and y0 > 0.0 and x1 < size[0] and y1 < size[1]
    return whole, (x1 - x0) * (y1 - y0)
