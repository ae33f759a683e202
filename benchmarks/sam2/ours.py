"""Ours: the tracker without torch on the exported graphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.sam2.film import Film
from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.sam2.tracker import Sam2Video
from scene_r1_engines.view import Prompt


def opened(folder: Path, threads: int, max_feature_mb: float) -> Sam2:
    """The engine of a folder on the CPU, which is where the original can be compared with."""
    return Sam2(folder, backend="cpu", threads=threads, max_feature_mb=max_feature_mb)


def tracked(engine: Sam2, film: Film, slots: int | None = None) -> Iterator[NDArray[np.bool_]]:
    """Masks (H, W) of the film's pictures from its box on, each found when it is asked for. slots: fewer memories than
    the model's own."""
    video = Sam2Video(engine.features, frames=len(film.views), slots=slots)
    first = film.views[0]
    video.prompt(0, first, 0, Prompt(xyxy=film.box))
    for number, view in enumerate(film.views):
        yield video.track(number, view)[0].mask(view.image.shape[:2])
