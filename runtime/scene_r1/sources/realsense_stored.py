"""Every stored image of one RealSense `.db3`, in order, without librealsense: through SQLite and `rosbags`.

librealsense has no wheel for every machine (none for aarch64 with Python 3.11). What it writes are ROS 2 messages:
images as sensor_msgs/CompressedImage (PNG; colour of two bytes a pixel as Zstandard), and what they are in strings of
`name=value` parts: cameras, depth units, and before all the device's time of each image.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.sources import images
from scene_r1.sources.pose_topic import typestore
from scene_r1.sources.realsense_db3 import reading
from scene_r1.sources.realsense_pairing import StreamImage
from scene_r1.sources.realsense_playback import Cameras
from scene_r1.sources.realsense_sdk import COLOR_FORMATS, intrinsics_of, nanoseconds, shortest, transform_of
from scene_r1.sources.ros.storage import bounded_zstd
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import Intrinsics

IMAGE, STRING = "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
DEPTH_HEADER_BYTES = 12
"""Before the PNG of a compressedDepth image."""
_TOPIC = re.compile(r"(/device_\d+/sensor_\d+)/(Depth|Color)_(\d+)/image/data(?:/\w+)?")
_SIZES = re.compile(r"(\d{1,5})x(\d{1,5}) step=(\d{1,6})")

Kind = Literal["depth", "color"]


@dataclass(frozen=True, slots=True)
class _Stream:
    """One stream: topic ids of its images and of their metadata, and what its strings say."""

    kind: Kind
    image_id: int
    metadata_id: int
    intrinsics: Intrinsics
    note: str | None
    encoding: str
    fps: int
    T_stream_reference: NDArray[np.float64]
    sensor: str


class StoredPlayback:
    """One pass over a `.db3`, with what `Playback` has. Raises BadRecording for what it cannot read."""

    def __init__(self, path: str, shown_path: str) -> None:
        self._path, self._shown = path, shown_path
        self._read = typestore("reading RealSense recordings").deserialize_cdr
        try:
            with reading(path) as connection:
                topics = {str(name): int(key) for key, name in connection.execute("SELECT id, name FROM topics")}
                self._depth = self._stream(connection, topics, "depth")
                self._color = self._stream(connection, topics, "color")
                units = self._text(connection, topics, f"{self._depth.sensor}/option/Depth_Units/value")
        except sqlite3.Error as error:
            raise BadRecording(shown_path, f"it is truncated or damaged ({error})") from error
        self._depth_scale = shortest(_number(units, "depth units", shown_path))

    def cameras(self) -> Cameras:
        depth, color = self._depth, self._color
        return Cameras(
            color=color.intrinsics,
            depth=depth.intrinsics,
            T_color_depth=color.T_stream_reference @ pose.inverse(depth.T_stream_reference),
            depth_scale=self._depth_scale,
            rate_hz=float(min(depth.fps, color.fps)),
            color_format=color.encoding if color.encoding in ("yuyv", "uyvy") else "rgb8",
            notes=tuple(stream.note for stream in (color, depth) if stream.note),
        )

    def images(self) -> Iterator[StreamImage]:
        """Images of both streams in the order of their rows' times, as librealsense plays them."""
        streams = {stream.image_id: stream for stream in (self._depth, self._color)}
        metadata = {stream.metadata_id: stream for stream in streams.values()}
        waiting: dict[Kind, bytes] = {}
        keys = (*streams, *metadata)
        query = (
            f"SELECT topic_id, CASE WHEN length(data) <= {images.MAX_IMAGE_BYTES} THEN data END FROM messages "
            "WHERE topic_id IN (?, ?, ?, ?) ORDER BY timestamp, id"
        )
        try:
            with reading(self._path) as connection:
                for key, data in connection.execute(query, keys):
                    if not isinstance(data, bytes):
                        raise BadRecording(self._shown, f"an image has more than {images.MAX_IMAGE_BYTES} bytes")
                    if key in streams:
                        waiting[streams[key].kind] = data
                    elif (image := waiting.pop(metadata[key].kind, None)) is not None:
                        yield self._image(metadata[key], image, self._parts(data))
        except sqlite3.Error as error:
            raise BadRecording(self._shown, f"it is damaged ({error})") from error

    def close(self) -> None:
        """Nothing is held between passes; `images` closes its file when it ends or is left."""

    def __enter__(self) -> StoredPlayback:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _image(self, stream: _Stream, data: bytes, said: Mapping[str, str]) -> StreamImage:
        return StreamImage(
            stream.kind,
            int(_number(said.get("Frame number", ""), "frame number", self._shown)),
            nanoseconds(_number(said.get("timestamp", ""), "timestamp of an image", self._shown)),
            said.get("timestamp_domain", ""),
            self._pixels(stream, self._message(data, IMAGE)),
        )

    def _pixels(self, stream: _Stream, message: Any) -> NDArray[Any]:
        data, shown = bytes(message.data), Path(self._shown)
        size = (stream.intrinsics.width, stream.intrinsics.height)
        if stream.kind == "depth":
            return images.decode_depth(data[DEPTH_HEADER_BYTES:], shown, size)
        if stream.encoding not in ("yuyv", "uyvy"):
            return images.decode_color(data, shown, size)
        sizes = _SIZES.search(str(message.format))
        if sizes is None or (int(sizes[1]), int(sizes[2])) != size or int(sizes[3]) < 2 * size[0]:
            raise BadRecording(self._shown, f"an image is {str(message.format)[:80]!r}, its stream is of {size}")
        step = int(sizes[3])
        try:
            raw = bounded_zstd(data, step * size[1])
            rows = np.frombuffer(raw, dtype=np.uint8).reshape(size[1], step)
        except ValueError as error:
            raise BadRecording(self._shown, f"an image cannot be decoded: it {error}") from None
        return np.ascontiguousarray(rows[:, : 2 * size[0]])

    def _stream(self, connection: sqlite3.Connection, topics: Mapping[str, int], kind: Kind) -> _Stream:
        others = []
        formats = ("z16",) if kind == "depth" else COLOR_FORMATS
        for name, key in sorted(topics.items(), key=lambda item: item[1]):
            match = _TOPIC.fullmatch(name)
            if match is None or match[2].lower() != kind:
                continue
            prefix = f"{match[1]}/{match[2]}_{match[3]}"
            said = self._split(self._text(connection, topics, f"{prefix}/info"))
            if (encoding := said.get("encoding", "").lower()) not in formats:
                others.append(f"{kind} as {encoding}")
                continue
            camera = self._split(self._text(connection, topics, f"{prefix}/camera_info"))
            mounted = self._split(self._text(connection, topics, self._reference(topics, prefix)))
            intrinsics, note = self._intrinsics(match[2], camera)
            rotation, translation = (self._floats(mounted.get(part, "")) for part in ("rotation", "translation"))
            if (len(rotation), len(translation)) != (9, 3):
                raise BadRecording(self._shown, "it lacks the transform from depth to colour")
            return _Stream(
                kind=kind,
                image_id=key,
                metadata_id=topics.get(f"{prefix}/image/metadata", -1),
                intrinsics=intrinsics,
                note=note,
                encoding=encoding,
                fps=int(_number(said.get("fps", ""), f"rate of {kind}", self._shown)),
                T_stream_reference=transform_of(self._shown, rotation, translation),
                sensor=match[1],
            )
        has = f" (it has {'; '.join(others)})" if others else ""
        raise BadRecording(self._shown, f"it has no {kind} stream in a format read here: {', '.join(formats)}{has}")

    def _intrinsics(self, stream: str, said: Mapping[str, str]) -> tuple[Intrinsics, str | None]:
        names = {"width": "width", "height": "height", "fx": "fx", "fy": "fy", "cx": "ppx", "cy": "ppy"}
        # librealsense holds them as float32, which the digits written down identify.
        numbers = {
            ours: float(np.float32(_number(said.get(theirs, ""), f"{theirs} of {stream}", self._shown)))
            for ours, theirs in names.items()
        }
        coefficients = self._floats(said.get("coeffs", ""))
        if len(coefficients) != 5:
            raise BadRecording(self._shown, f"{stream} has {len(coefficients)} distortion coefficients, not 5")
        model = said.get("model", "").lower().replace(" ", "_")
        return intrinsics_of(self._shown, stream, model, numbers, coefficients)

    def _reference(self, topics: Mapping[str, int], prefix: str) -> str:
        return next((name for name in topics if name.startswith(f"{prefix}/tf/ref_")), f"{prefix}/tf/ref_?")

    def _text(self, connection: sqlite3.Connection, topics: Mapping[str, int], name: str) -> str:
        """The first string of a topic. Raises BadRecording where it has none."""
        query = "SELECT data FROM messages WHERE topic_id = ? AND length(data) < 1000000 LIMIT 1"
        row = connection.execute(query, (topics.get(name, -1),)).fetchone()
        if row is None:
            raise BadRecording(self._shown, f"it does not say what its topic {name} should")
        return str(self._message(bytes(row[0]), STRING).data)

    def _parts(self, data: bytes) -> dict[str, str]:
        return self._split(str(self._message(data, STRING).data))

    def _message(self, data: bytes, kind: str) -> Any:
        try:
            return self._read(data, kind)
        except Exception as error:  # the deserialiser raises whatever its generated code stumbles over
            raise BadRecording(self._shown, f"it is damaged: a message is no {kind}: {error!r}"[:300]) from error

    def _floats(self, text: str) -> list[float]:
        words = text.split(",") if text else []
        return [float(np.float32(_number(word, "number of a camera", self._shown))) for word in words[:16]]

    @staticmethod
    def _split(text: str) -> dict[str, str]:
        return dict(part.split("=", 1) for part in text.split(";") if "=" in part)


def _number(text: str, what: str, path: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e15:  # also NaN
        raise BadRecording(path, f"it does not say the {what}: {text[:40]!r}")
    return value
