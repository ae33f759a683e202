"""Which topics of a bag are the colour camera, the depth camera and the poses: by type and name, or as told."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from scene_r1 import pose
from scene_r1.sources.recorded_file import read_text
from scene_r1.sources.ros.messages import ODOMETRY, OLD_TF, POSE, TF
from scene_r1.sources.ros.storage import Topic
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

TOPICS_FILE = "topics.toml"
MAX_BYTES = 64 << 10
HOW = f"name it in a file {TOPICS_FILE} beside the bag"
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO = "sensor_msgs/msg/CameraInfo"
NOT_SEEN = ("infra", "/ir", "mask", "label", "confidence", "disparity", "normal", "theora", "ffmpeg", "image_mono")
"""Words in the names of images that are neither colour nor depth of the scene, or no pictures one by one."""
COLOR_ENDS = (
    "color/image_rect_color",
    "color/image_rect",
    "color/image_raw",
    "rgb/image_rect_color",
    "rgb/image_raw",
    "image_color",
)
DEPTH_ENDS = ("aligned_depth_to_color/image_raw", "depth_registered/image_rect", "depth_registered/image_raw")
DEPTH_WORDS = ("aligned_depth", "depth_registered", "depth/image_rect", "depth/image_raw", "depth/image")
TRANSPORTS = ("/compressedDepth", "/compressed")


@dataclass(frozen=True, slots=True)
class Topics:
    """What to read, where the automatic choice is wrong or impossible. None: chosen by type and name.

    color, depth: topics of images; color_info, depth_info: their CameraInfo. poses: `tf`, `none`, or a topic of
    nav_msgs/Odometry (of its child frame, the rest by /tf_static) or geometry_msgs/PoseStamped (of the colour camera,
    OpenCV axes). fixed_frame: where poses are given. depth_scale: metres per count of 16-bit depth.
    T_color_depth: four rows of four numbers, metres, where /tf_static lacks it; the identity: depth is registered.

    Raises BadConfig.
    """

    color: str | None = None
    depth: str | None = None
    color_info: str | None = None
    depth_info: str | None = None
    poses: str | None = None
    fixed_frame: str | None = None
    depth_scale: float | None = None
    T_color_depth: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("color", "depth", "color_info", "depth_info", "poses", "fixed_frame"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise BadConfig(f"{name} must be the name of a topic or frame, got {value!r}")
        scale = self.depth_scale
        if scale is not None and (isinstance(scale, bool) or not isinstance(scale, float | int)):
            raise BadConfig(f"depth_scale must be a number, got {scale!r}")
        if scale is not None and not 1e-6 <= scale <= 0.1:
            raise BadConfig(f"depth_scale must be metres per count in 1e-6..0.1, got {scale!r}")
        if self.T_color_depth is not None:
            try:
                pose.rigid(np.array(self.T_color_depth, dtype=np.float64), "T_color_depth")
            except (ValueError, TypeError) as error:
                raise BadConfig(f"T_color_depth must be four rows of four numbers: {error}") from None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The topics of one reading. poses: candidates, in this order, where tf does not place the camera."""

    color: Topic
    depth: Topic
    color_info: Topic
    depth_info: Topic
    tf: tuple[Topic, ...]
    tf_static: tuple[Topic, ...]
    poses: tuple[Topic, ...]

    @property
    def rectified_color(self) -> bool:
        return _is_rectified(self.color.name)

    @property
    def rectified_depth(self) -> bool:
        return _is_rectified(self.depth.name)

    def names(self) -> frozenset[str]:
        images = (self.color, self.depth, self.color_info, self.depth_info)
        return frozenset(topic.name for topic in (*images, *self.tf, *self.tf_static, *self.poses))


def read_topics(bag: Path) -> Topics:
    """`topics.toml` in a bag's folder, or in the folder of its file; nothing chosen where there is none.

    Raises BadRecording naming the key at fault, and the nearest known one if it is unknown.
    """
    path = (bag if bag.is_dir() else bag.parent) / TOPICS_FILE
    if not os.path.lexists(path):
        return Topics()
    try:
        table: dict[str, Any] = tomllib.loads(read_text(path, limit_bytes=MAX_BYTES))
        known = [field.name for field in fields(Topics)]
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.0)
                raise BadConfig(f"unknown key {key[:100]!r}: did you mean {near[0]!r}?")
        rows = table.get("T_color_depth")
        if isinstance(rows, list):
            table["T_color_depth"] = tuple(tuple(row) if isinstance(row, list) else row for row in rows)
        return Topics(**table)
    except BadRecording:
        raise
    except (BadInput, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadRecording(path, str(error)[:400]) from None


def choose(topics: Sequence[Topic], told: Topics, path: str | os.PathLike[str]) -> Chosen:
    """The topics to read. Raises BadRecording listing what the bag has, where none or several could be meant."""
    pictures = [topic for topic in topics if topic.type in IMAGES]
    color = _image(pictures, "color", told.color, None, path)
    depth = _image(pictures, "depth", told.depth, color.name, path)
    moving = [topic for topic in topics if topic.type in (TF, OLD_TF)]
    static = tuple(topic for topic in moving if topic.name.endswith("tf_static"))
    by_tf = told.poses in (None, "tf")
    return Chosen(
        color=color,
        depth=depth,
        color_info=_info(topics, color, "color_info", told.color_info, path),
        depth_info=_info(topics, depth, "depth_info", told.depth_info, path),
        tf=tuple(topic for topic in moving if topic not in static) if by_tf else (),
        tf_static=static,
        poses=_poses(topics, told.poses, path),
    )


def _poses(topics: Sequence[Topic], told: str | None, path: str | os.PathLike[str]) -> tuple[Topic, ...]:
    known = [topic for kind in (ODOMETRY, POSE) for topic in topics if topic.type == kind]
    if told is None:
        # A pose may be a goal or a robot's: only a name that says so makes it the camera's without being told.
        return tuple(t for t in known if t.type == ODOMETRY or "camera" in t.name.rpartition("/")[2].lower())
    found = tuple(topic for topic in known if topic.name == told)
    if not found and told not in ("tf", "none"):
        raise BadRecording(path, f"it has no poses on {told!r} (named as poses); it has {_listed(known)}")
    return found


def _image(
    pictures: Sequence[Topic], key: str, told: str | None, near: str | None, path: str | os.PathLike[str]
) -> Topic:
    if told is not None:
        found = [topic for topic in pictures if topic.name == told]
        if not found:
            raise BadRecording(path, f"it has no images on {told!r} (named as {key}); it has {_listed(pictures)}")
        return found[0]
    wanted = [topic for topic in pictures if ("depth" in topic.name.lower()) == (key == "depth")]
    wanted = [topic for topic in wanted if not any(word in topic.name.lower() for word in NOT_SEEN)]
    if not wanted:
        raise BadRecording(path, f"it has no topic of {key} images; it has {_listed(pictures)}: {HOW} as {key} = ...")
    rank = _color_rank if key == "color" else _depth_rank
    best = min(wanted, key=lambda topic: _order(topic, rank, near))
    # The same images may be there in several transports, of which the plainest comes first.
    equal = [t for t in wanted if _order(t, rank, near)[:2] == _order(best, rank, near)[:2]]
    if len({_plain(topic.name) for topic in equal}) > 1:
        raise BadRecording(path, f"several topics may be its {key} images: {_listed(equal)}: {HOW} as {key} = ...")
    return best


def _order(topic: Topic, rank: Any, near: str | None) -> tuple[int, int, int]:
    """Smaller is better: fewest names away from the colour topic, then by the usual names, then by transport."""
    parts = zip(topic.name.split("/"), near.split("/"), strict=False) if near is not None else ()
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], parts))
    transport = next((i for i, end in enumerate(TRANSPORTS, 1) if topic.name.endswith(end)), 0)
    return -shared, rank(_plain(topic.name)), transport


def _color_rank(name: str) -> int:
    return next((i for i, end in enumerate(COLOR_ENDS) if name.endswith(end)), len(COLOR_ENDS))


def _depth_rank(name: str) -> int:
    for i, end in enumerate(DEPTH_ENDS):
        if name.endswith(end):
            return i
    found = (i for i, word in enumerate(DEPTH_WORDS, len(DEPTH_ENDS)) if word in name)
    return next(found, len(DEPTH_ENDS) + len(DEPTH_WORDS))


def _info(topics: Sequence[Topic], image: Topic, key: str, told: str | None, path: str | os.PathLike[str]) -> Topic:
    infos = [topic for topic in topics if topic.type == INFO]
    wanted = told or f"{_plain(image.name).rpartition('/')[0]}/camera_info"
    for topic in infos:
        if topic.name == wanted:
            return topic
    raise BadRecording(
        path, f"it has no camera_info {wanted!r} to {image.name}; it has {_listed(infos)}: {HOW} as {key} = ..."
    )


def _plain(name: str) -> str:
    for end in TRANSPORTS:
        name = name.removesuffix(end)
    return name


def _is_rectified(name: str) -> bool:
    return "rect" in _plain(name).rpartition("/")[2].split("_")


def _listed(topics: Sequence[Topic]) -> str:
    shown = ", ".join(f"{topic.name} ({topic.type.rpartition('/')[2]})" for topic in topics[:20])
    return (shown + (", ..." if len(topics) > 20 else "")) or "none of that kind"
