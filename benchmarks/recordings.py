"""The recordings that benchmarks run on: a real one where it is given, and synthetic rooms kept in a cache folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scene_r1.frame import RgbdFrame
from scene_r1.rooms.capture.depth_noise import DEPTH_SCALE, noisy_depth
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.rooms.render.render import render
from scene_r1_engines.errors import BadInput

WALK_FRAMES = 600
WALK_SIZE = (320, 240)
COLOR_SIGMA = 1.6
"""Grain of a still picture in steps of 1/255."""
WALK_NOISE = 0.5
"""At half the width the focal length in pixels is half: 0.5 keeps sigma_z = 0.1 px z^2 / (385 px * 5 cm)."""


def add_cache(parser: argparse.ArgumentParser) -> None:
    """The argument --cache: rendering a walk takes about a minute, so it is done once for each room."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        default=None,
        help="where rendered rooms are kept (default: $XDG_CACHE_HOME/scene-r1 or ~/.cache/scene-r1)",
    )


def cache_folder(args: argparse.Namespace) -> Path:
    """The folder of --cache, made when it is not there. Raises BadInput when it cannot be."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scene-r1"
    folder = Path(args.cache or default)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: rooms cannot be kept there ({error.strerror}): give another --cache") from error
    return folder


def room_walk(seed: int, cache: Path, frames: int = WALK_FRAMES) -> SyntheticRecording:
    """A walk of 20 s through the room of that seed: 320x240, 30 Hz, two cameras, the depth noise of a D435."""
    return SyntheticRecording(seed, frames, WALK_SIZE, cache_dir=cache, rate_hz=30.0, noise_scale=WALK_NOISE)


def room_views(seed: int, cache: Path, frames: int, one_camera: bool) -> SyntheticRecording:
    """Views of the room of that seed at 640x480, one second of walking apart."""
    return SyntheticRecording(seed, frames, (640, 480), one_camera=one_camera, cache_dir=cache, rate_hz=1.0)


def standing_still(seed: int, frames: int, at: float = 0.5) -> Iterator[RgbdFrame]:
    """A camera that does not move: one view rendered once, and for each frame fresh noise of depth and colour.

    at: which view of the room's walk, as a share of it. Size and noise as `room_walk`.
    """
    walk = SyntheticRecording(seed, WALK_FRAMES, WALK_SIZE, rate_hz=30.0, noise_scale=WALK_NOISE)
    color_intrinsics, depth_intrinsics, T_color_depth = walk.cameras
    T_world_camera = walk.poses[round(at * (len(walk) - 1))]
    view = render(walk.room, T_world_camera, *walk.cameras)
    for index in range(frames):
        rng = np.random.default_rng([seed, index, 0x5711])
        yield RgbdFrame(
            index=index,
            timestamp_ns=round(index * 1e9 / 30.0),
            color=_grainy(view.color, rng),
            color_intrinsics=color_intrinsics,
            depth_raw=noisy_depth(view.depth_m, depth_intrinsics, rng, WALK_NOISE),
            depth_scale=DEPTH_SCALE,
            depth_intrinsics=depth_intrinsics,
            T_color_depth=T_color_depth,
            T_world_camera=T_world_camera,
        )


def spread(frames: Iterable[RgbdFrame], count: int, every: int = 1) -> list[RgbdFrame]:
    """Every so-many-th frame that has a pose, `count` of them; what comes after is not read.

    Raises BadInput when the recording has fewer.
    """
    found: list[RgbdFrame] = []
    posed = 0
    for frame in frames:
        if frame.T_world_camera is None:
            continue
        if posed % every == 0:
            found.append(frame)
        posed += 1
        if len(found) == count:
            return found
    raise BadInput(f"{count} frames with a pose, {every} apart, are needed; the recording has {posed} with a pose")


def with_progress(frames: Iterable[RgbdFrame], total: int | None, what: str) -> Iterator[RgbdFrame]:
    """The same frames, counted on stderr where that is a terminal."""
    yield from tqdm(frames, total=total, desc=what, unit="frame", disable=None, leave=False)


def _grainy(color: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    grain = rng.standard_normal(color.shape, dtype=np.float32) * np.float32(COLOR_SIGMA)
    return np.asarray(np.clip(np.rint(color + grain), 0, 255), np.uint8)
