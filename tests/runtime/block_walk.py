"""A recording on disk whose truth is known: a camera walks around a red block on a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.runtime.analytic_scene import CAMERA, NOISE, TABLE, Block, cast, looking, seen

from scene_r1.frame import RgbdFrame
from scene_r1.sources import create_sink

BLOCK = Block((0.10, -0.08, 0.0), (0.30, 0.10, 0.16))
FLOOR = Block((-6.0, -6.0, -0.80), (6.0, 6.0, -0.75))
SOLIDS = (BLOCK, TABLE, FLOOR)
PAINT = np.array([(190, 40, 35), (205, 190, 165), (70, 80, 90), (0, 0, 0)], np.float64)
"""RGB of the solids, and of what is beyond them (index -1)."""
FRAMES = 12


def poses(count: int = FRAMES) -> list[np.ndarray]:
    """Half a turn around the block, going up and down a little, at about 1 m."""
    turns, center = np.linspace(-0.5 * np.pi, 0.5 * np.pi, count), np.mean((BLOCK.low, BLOCK.high), axis=0)
    eyes = [np.add(center, (np.cos(a), np.sin(a), 0.6 + 0.15 * np.sin(3.0 * a))) for a in turns]
    return [looking(eye, np.add(center, (0.0, 0.05 * i / count, 0.0))) for i, eye in enumerate(eyes)]


def frames(count: int = FRAMES) -> Iterator[tuple[RgbdFrame, tuple[float, float, float, float]]]:
    """Each frame with the exact 2D box of the block in it."""
    for index, T_world_camera in enumerate(poses(count)):
        view = seen(SOLIDS, T_world_camera, index, NOISE)
        _, which = cast(SOLIDS, CAMERA, T_world_camera)
        grain = np.random.default_rng(index).normal(scale=4.0, size=(*which.shape, 1))
        color = np.clip(PAINT[which] + grain, 0, 255).astype(np.uint8)
        rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
        xyxy = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        yield replace(view.frame, color=color), xyxy


def record(path: Path, count: int = FRAMES, posed: bool = True, depth: bool = True) -> list[tuple[float, ...]]:
    """Write the walk; returns the block's 2D box in each frame."""
    boxes = []
    with create_sink(path) as sink:
        for frame, xyxy in frames(count):
            boxes.append(xyxy)
            raw = frame.depth_raw if depth else np.zeros_like(frame.depth_raw)
            sink.write(replace(frame, depth_raw=raw, T_world_camera=frame.T_world_camera if posed else None))
    return boxes
