"""A recording of a synthetic room: a FrameSource that knows the truth."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_file
from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.rooms.capture.depth_noise import DEPTH_SCALE, noisy_depth
from scene_r1.rooms.capture.photo import Exposure, automatic_exposure, blurred, exposed
from scene_r1.rooms.capture.walk import hand_held
from scene_r1.rooms.model.layout import make_room
from scene_r1.rooms.model.room import Room
from scene_r1.rooms.render.render import (
    Truth,
    developed,
    even_gain,
    realsense_cameras,
    render_linear,
    survey,
)
from scene_r1.rooms.render.visibility import Visibility, visibility
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadInput, BadRecording

VERSION = 3
"""Part of a cache file's name, and of rooms on disk: raise it when the same arguments give something else."""
COARSE_PX = 40
"""Width of the pictures that the exposure is measured in."""
MEASURED_HZ = 6.0
"""Slower than that nothing needs to be measured: the exposure follows more slowly."""


# Recordings of one seed share their room, and so its baked light. typed: 1.0 and True are refused as ever.
_room_of = lru_cache(maxsize=4, typed=True)(make_room)


class SyntheticRecording:
    """A walk through the room of that seed, rendered frame by frame as it is read.

    frames: how many, `rate_hz` a second. size: (width, height) of both images. noise: the depth of a stereo camera
    (`noisy_depth` with `noise_scale`) and the pictures of a phone (`photo`): exposure that follows, motion blur, grain;
    without it pictures are sharp and evenly exposed, and depth is exact but for its counts of 1 mm. one_camera: depth
    registered to colour. path_seed: another walk through the same room.
    cache_dir: where a recording, once read to its end, is kept as one npz file of PNG images, whole or absent; the
    next of the same arguments reads it from there.

    The same arguments give the same frames. Raises BadInput for arguments that cannot be; reading raises
    MissingExtra without a ray caster, BadRecording for a damaged cache file.
    """

    def __init__(
        self,
        seed: int,
        frames: int = 300,
        size: tuple[int, int] = (640, 480),
        noise: bool = True,
        one_camera: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        rate_hz: float = 30.0,
        noise_scale: float = 1.0,
        path_seed: int = 0,
    ) -> None:
        if not (np.isfinite(noise_scale) and noise_scale >= 0.0):
            raise BadInput(f"noise_scale must be a number >= 0, got {noise_scale!r}")
        self.cameras = realsense_cameras(size, one_camera)
        self.room: Room = _room_of(seed)
        self._walk = hand_held(self.room, frames, path_seed, rate_hz)
        self.poses: NDArray[np.float64] = self._walk.poses
        self.poses.flags.writeable = False
        self._exposure: Exposure | None = None
        self._noise, self._noise_scale, self._rate_hz = bool(noise), float(noise_scale), float(rate_hz)
        self._seeds = (int(seed), int(path_seed))
        self._closed = False
        self._cache = None if cache_dir is None else Path(cache_dir) / self._name()

    @property
    def info(self) -> SourceInfo:
        """What is known before a frame is rendered."""
        color, depth, T_color_depth = self.cameras
        return SourceInfo(
            path=f"synthetic:{self.room.seed}",
            format="synthetic",
            frames=len(self.poses),
            rate_hz=self._rate_hz,
            timestamps="recorded",
            color_intrinsics=color,
            depth_intrinsics=depth,
            T_color_depth=T_color_depth,
            depth_scale=DEPTH_SCALE,
            intrinsics_from="the synthetic camera, exact",
            has_poses=True,
            notes=("a synthetic room: poses, boxes and masks are exact",),
        )

    def __len__(self) -> int:
        return len(self.poses)

    def frames(self) -> Iterator[RgbdFrame]:
        """All frames from the first on. Raises BadInput after `close`, in a loop that is still running too."""
        self._check_open()
        if self._cache is None:
            return self._render_all()
        return self._read_cache(self._cache) if self._cache.exists() else self._write_cache(self._cache)

    def frame(self, index: int) -> RgbdFrame:
        """One frame, rendered now, the same as `frames` yields. Raises BadInput for an index out of range."""
        return self.shot(index)[0]

    def shot(self, index: int) -> tuple[RgbdFrame, Truth]:
        """One frame and what is really there, from one rendering. Raises as `frame`."""
        self._check_open()
        color, depth_raw, truth = self._render(self._checked(index))
        return self._frame(index, color, depth_raw), truth

    def truth(self, index: int) -> Truth:
        """Instance images and exact depth of one frame. Raises BadInput for an index out of range."""
        return survey(self.room, self.poses[self._checked(index)], *self.cameras)

    def visible_fraction(self, frames: Sequence[int] | None = None) -> tuple[Visibility, ...]:
        """How much of each object was seen, and from how near, in those frames (all of them where none are named).

        Raises BadInput for an index out of range.
        """
        chosen = range(len(self)) if frames is None else [self._checked(i) for i in frames]
        return visibility(self.room, (self.poses[i] for i in chosen), self.cameras)

    def close(self) -> None:
        """Nothing is held; reading afterwards is refused."""
        self._closed = True

    def __enter__(self) -> SyntheticRecording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _render_all(self) -> Iterator[RgbdFrame]:
        for index in range(len(self)):
            self._check_open()
            yield self._frame(index, *self._render(index)[:2])

    def _check_open(self) -> None:
        if self._closed:
            raise BadInput(f"synthetic:{self.room.seed} was closed: open it again to read frames")

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise BadInput(f"synthetic:{self.room.seed} has frames 0..{len(self) - 1}, not {index}")
        return int(index)

    def _render(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16], Truth]:
        linear, truth = render_linear(self.room, self.poses[index], *self.cameras)
        if not self._noise:
            return developed(linear, even_gain(self.room)), depth_counts(truth.depth_m, DEPTH_SCALE), truth
        rng = np.random.default_rng([*self._seeds, index, 0xD0])  # of this frame alone: any order gives the same
        exposure = self._exposed()
        linear = blurred(linear, self.cameras[0], self._walk.turning[index], float(exposure.exposure_s[index]))
        color = developed(exposed(linear, exposure, index, rng), 1.0)
        return color, noisy_depth(truth.depth_m, self.cameras[1], rng, self._noise_scale), truth

    def _exposed(self) -> Exposure:
        """How every frame is exposed: measured once, in coarse pictures along the walk."""
        if self._exposure is None:
            camera = self.cameras[0]
            coarse = camera.scaled(COARSE_PX, max(1, round(COARSE_PX * camera.height / camera.width)))
            frames = np.arange(len(self))
            # Every so-many-th: where, does not depend on how long the walk is.
            measured = frames[:: max(1, int(self._rate_hz / MEASURED_HZ))]
            light = [float(render_linear(self.room, self.poses[i], coarse)[0].mean()) for i in measured]
            brightness = np.interp(frames, measured, light)
            self._exposure = automatic_exposure(brightness, even_gain(self.room), self._rate_hz, self._seeds)
        return self._exposure

    def _frame(self, index: int, color: NDArray[np.uint8], depth_raw: NDArray[np.uint16]) -> RgbdFrame:
        color_intrinsics, depth_intrinsics, T_color_depth = self.cameras
        return RgbdFrame(
            index=index,
            timestamp_ns=round(index * 1e9 / self._rate_hz),
            color=color,
            color_intrinsics=color_intrinsics,
            depth_raw=depth_raw,
            depth_scale=DEPTH_SCALE,
            depth_intrinsics=depth_intrinsics,
            T_color_depth=T_color_depth,
            T_world_camera=self.poses[index],
        )

    def _name(self) -> str:
        color, depth, T = self.cameras
        words = [VERSION, *self._seeds, len(self), self._rate_hz, self._noise, self._noise_scale]
        text = json.dumps([words, asdict(color), asdict(depth), T.tolist()], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"room{self.room.seed}-{len(self)}-{color.width}x{color.height}-{digest}.npz"

    def _write_cache(self, path: Path) -> Iterator[RgbdFrame]:
        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(path))
            archive = stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED))
            for index in range(len(self)):
                self._check_open()
                color, depth_raw, _ = self._render(index)
                _put(archive, f"color_{index:06d}", color[:, :, ::-1])
                _put(archive, f"depth_{index:06d}", depth_raw)
                yield self._frame(index, color, depth_raw)

    def _read_cache(self, path: Path) -> Iterator[RgbdFrame]:
        def check(read: Callable[[], RgbdFrame], index: int | None) -> RgbdFrame:
            try:
                return read()
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, cv2.error) as error:
                raise BadRecording(path, f"damaged ({error}): remove it and it is made again", index) from error

        try:
            archive = np.load(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise BadRecording(path, f"damaged ({error}): remove it and it is made again") from error
        with archive:
            for index in range(len(self)):
                self._check_open()

                def read(index: int = index) -> RgbdFrame:
                    color = cv2.imdecode(archive[f"color_{index:06d}"], cv2.IMREAD_COLOR)
                    depth_raw = cv2.imdecode(archive[f"depth_{index:06d}"], cv2.IMREAD_UNCHANGED)
                    if color is None or depth_raw is None:
                        raise ValueError("an image cannot be decoded")
                    rgb = np.ascontiguousarray(color[:, :, ::-1]).astype(np.uint8, copy=False)
                    return self._frame(index, rgb, depth_raw.astype(np.uint16, copy=False))

                yield check(read, index)


def _put(archive: zipfile.ZipFile, name: str, image: NDArray[np.generic]) -> None:
    # Written entry by entry, an npz of any length needs the memory of one frame.
    _, png = cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    with archive.open(f"{name}.npy", "w") as entry:
        np.lib.format.write_array(entry, png, allow_pickle=False)
