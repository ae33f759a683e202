"""One room of the training data as one file: its views, what they show, and the questions about it."""

from __future__ import annotations

import json
import tokenize
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_file
from scene_r1_engines.errors import BadInput

FORMAT = 1
DAMAGE = (
    OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, MemoryError, NotImplementedError,
    RuntimeError, BadZipFile, zlib.error, cv2.error, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What the readers of zip, npy, JSON and pictures raise for bytes that are none."""
JPEG_QUALITY = 92
"""As the runtime's memory keeps its keyframes."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What a view may show. color: of an object; "" for furniture and for what nobody asks for. support: the id of what
    it stands on, -1 for the floor. box: lowest and highest corner, metres, world."""

    id: int
    name: str
    color: str
    kind: str
    support: int
    box: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Named:
    """What a question calls a thing: by shape, colour or both ("" where it does not say). id: of the one thing that is
    meant, None where there is none or several."""

    shape: str
    color: str
    id: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about the whole walk, as `rooms.questions` made it. windows_s: the best first, seconds. noun,
    relation, anchors: its sense; relation is "" where it has none."""

    text: str
    task: str
    family: str
    form: str
    kind: str
    noun: Named
    relation: str
    anchors: tuple[Named, ...]
    rationale: str
    target: int | None
    windows_s: tuple[tuple[float, float], ...]
    answer: str
    answer_kind: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RoomShard:
    """seconds: (N,) of each view since the walk's start. keyframe: (N,) bool, whether the selector held it at the end.
    images: N pictures, (H, W, 3) uint8 RGB. instance: N, (H, W) int16, a thing's id or -1."""

    seed: int
    span_s: float
    seconds: NDArray[np.float64]
    keyframe: NDArray[np.bool_]
    images: tuple[NDArray[np.uint8], ...]
    instance: tuple[NDArray[np.int16], ...]
    things: tuple[Thing, ...]
    questions: tuple[Asked, ...]


def write_shard(path: Path, room: RoomShard) -> None:
    """Write a room's file, whole or not at all."""
    meta = {
        "format": FORMAT,
        "seed": room.seed,
        "span_s": room.span_s,
        "things": [asdict(thing) for thing in room.things],
        "questions": [asdict(question) for question in room.questions],
    }
    color, color_ends = _joined([_jpeg(image) for image in room.images])
    shown, shown_ends = _joined([_png(instance) for instance in room.instance])
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
            seconds=room.seconds,
            keyframe=room.keyframe,
            color=color,
            color_ends=color_ends,
            instance=shown,
            instance_ends=shown_ends,
        )


def read_shard(path: Path) -> RoomShard:
    """Read what `write_shard` wrote. Raises BadInput for a damaged file."""
    try:
        with np.load(path) as file:
            meta: dict[str, Any] = json.loads(file["meta"].tobytes())
            if meta["format"] != FORMAT:
                raise ValueError("of another version of this program")
            color = _parts(file["color"], file["color_ends"])
            shown = _parts(file["instance"], file["instance_ends"])
            images = [cv2.imdecode(part, cv2.IMREAD_COLOR) for part in color]
            instance = [cv2.imdecode(part, cv2.IMREAD_UNCHANGED) for part in shown]
            seconds, keyframe = file["seconds"], file["keyframe"]
        _check(images, instance, seconds, keyframe)
        return RoomShard(
            meta["seed"],
            meta["span_s"],
            seconds,
            keyframe,
            tuple(np.ascontiguousarray(image[:, :, ::-1]) for image in images if image is not None),
            tuple(one.astype(np.int16) - np.int16(1) for one in instance if one is not None),
            tuple(_thing(thing) for thing in meta["things"]),
            tuple(_asked(question) for question in meta["questions"]),
        )
    except DAMAGE as error:
        raise BadInput(f"{path}: damaged ({error}): remove it and make the data again") from error


def _check(images: list[Any], instance: list[Any], seconds: NDArray[Any], keyframe: NDArray[Any]) -> None:
    count = len(images)
    if count == 0 or len(instance) != count or seconds.shape != (count,) or keyframe.shape != (count,):
        raise ValueError(f"{count} pictures, {len(instance)} instance images, {seconds.shape} times: not one of each")
    if keyframe.dtype != np.bool_ or seconds.dtype != np.float64 or not np.isfinite(seconds).all():
        raise ValueError("times or keyframes are none")
    for image, shown in zip(images, instance, strict=True):
        if image is None or shown is None:
            raise ValueError("a picture cannot be decoded")
        if shown.ndim != 2 or image.shape[:2] != shown.shape:
            raise ValueError(f"a picture of shape {image.shape} with an instance image of shape {shown.shape}")


def _thing(given: dict[str, Any]) -> Thing:
    low, high = (tuple(float(x) for x in corner) for corner in given["box"])
    return Thing(**{**given, "box": (low, high)})


def _asked(given: dict[str, Any]) -> Asked:
    windows = tuple((float(start), float(end)) for start, end in given["windows_s"])
    noun, anchors = Named(**given["noun"]), tuple(Named(**anchor) for anchor in given["anchors"])
    told = {"windows_s": windows, "choices": tuple(given["choices"]), "noun": noun, "anchors": anchors}
    return Asked(**{**given, **told})


def _jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, coded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(coded, np.uint8).ravel()


def _png(instance: NDArray[np.int16]) -> NDArray[np.uint8]:
    _, coded = cv2.imencode(".png", (instance + 1).astype(np.uint16))
    return np.asarray(coded, np.uint8).ravel()


def _joined(parts: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.concatenate(parts), np.cumsum([len(part) for part in parts])


def _parts(joined: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    return list(np.split(joined, ends[:-1]))
