"""A film out of a recording, and a recording out of a synthetic room where there is none."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2

from benchmarks.recordings import WALK_NOISE, WALK_SIZE
from benchmarks.sam2.film import Film, read_film
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.sources import create_sink, open_source
from scene_r1_engines.errors import BadInput

EVERY = 5
"""Of a recording every fifth frame, so that the camera has moved a little from one to the next."""
ROOM_HZ = 6.0
"""As far apart, of a walk at 30 Hz."""
QUALITY = 95


def recorded_room(seed: int, cache: Path, frames: int, folder: Path) -> Path:
    """A walk through the synthetic room of that seed as a recording on disk, for the export reads one too."""
    walk = SyntheticRecording(seed, frames, WALK_SIZE, cache_dir=cache, rate_hz=ROOM_HZ, noise_scale=WALK_NOISE)
    with walk as room, create_sink(folder, "seven_scenes", like=room.info) as sink:
        for frame in room.frames():
            sink.write(frame)
    return folder


def write_film(recording: Path, frames: int, folder: Path, every: int = EVERY) -> Film:
    """Pictures of the recording from its first, `every` frames apart. Raises BadInput where there are fewer."""
    folder.mkdir(parents=True)
    written = 0
    with open_source(recording) as source:
        for frame in islice(source.frames(), 0, frames * every, every):
            bgr = cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR)
            done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            if not done:
                raise BadInput(f"{recording}: frame {frame.index} cannot be written as JPEG: give another --data")
            (folder / f"{written:05d}.jpg").write_bytes(jpeg.tobytes())
            written += 1
    if written < frames:
        raise BadInput(
            f"{recording}: {frames} frames, {every} apart, are needed, it gave {written}: give fewer --frames"
        )
    return read_film(folder)
