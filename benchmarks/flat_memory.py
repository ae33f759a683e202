"""Whether memory stays flat: thousands of frames decoded, selected and kept, in places never seen before."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.memory import MemorySampler, flatness
from benchmarks.recordings import room_views, with_progress
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector, SelectionSettings
from scene_r1.keyframes.voxel_table import VoxelTable
from scene_r1.memory import SceneMemory
from scene_r1.sources import FrameSource, create_sink, open_source
from scene_r1.stream import stream
from scene_r1_engines.errors import BadInput

FLAT_FRAMES = 20_000
VIEWS, QUICK_VIEWS = 24, 4
STEP_M = 3.0
"""How far along x and y the whole recording moves each time it begins anew: a world without end. So the voxel table is
full early in the run, is halved again and again, and no buffer has pages left that are first touched late."""
COUNTED_SHARE = 0.75
"""The last of the run; before it buffers, caches and the voxel table are still filling."""


@dataclass(frozen=True, slots=True)
class FlatMemory:
    """Resident memory of the process while frames went through, and what the keyframes took of it.

    rss_drift_percent: (max - min) / median over the last COUNTED_SHARE of the run. rss_*_bytes: over the same.
    slope, growth: see `memory.Flatness`. keyframe_cap_bytes: what SceneMemory would never exceed; keyframe_*_bytes:
    what it held. voxel_table_bytes: allocated for the selector's table, which does not grow. sampled: share of the
    voxels still in the table; below 1 the world has outgrown it.
    """

    frames: int
    k: int
    inserted: int
    rss_drift_percent: float
    rss_median_bytes: float
    rss_spread_bytes: float
    rss_growth_percent: float
    rss_slope_mb_per_h: float
    keyframe_cap_bytes: int
    keyframe_peak_bytes: int
    keyframe_end_bytes: int
    voxel_table_bytes: int
    sampled: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def flat_memory(
    data: Path | None,
    cache: Path,
    frames: int = FLAT_FRAMES,
    *,
    k: int = 16,
    settings: SelectionSettings | None = None,
    seed: int = 0,
    quick: bool = False,
    csv_path: Path | None = None,
) -> FlatMemory:
    """Decode a recording over and over, offer every frame, keep the keyframes; watch the process's memory.

    data: the recording; None: views of a synthetic room, written as a 7-Scenes folder first. csv_path: of the samples.
    Raises BadInput for a recording without poses, or a run too short to be sampled nine times.
    """
    selector, memory = KeyframeSelector(k, settings), SceneMemory()
    peak = 0
    rate_hz = 2.0 if frames > 1000 else 10.0  # in a long run seldom: the samples are held in memory too
    with ExitStack() as stack:
        source = stack.enter_context(open_source(data or _written(stack, cache, seed, quick)))
        sampler = stack.enter_context(MemorySampler(csv_path, rate_hz=rate_hz))
        for _ in stream(with_progress(endless(source, frames), frames, "flat memory"), selector, memory):
            peak = max(peak, memory.nbytes)
    series = sampler.series()
    flat = flatness(series)
    last = np.array([rss for _, rss in series[round((1.0 - COUNTED_SHARE) * len(series)) :]])
    return FlatMemory(
        frames=selector.counters.offered,
        k=k,
        inserted=selector.counters.inserted,
        rss_drift_percent=100.0 * float(np.ptp(last) / np.median(last)),
        rss_median_bytes=float(np.median(last)),
        rss_spread_bytes=float(np.ptp(last)),
        rss_growth_percent=100.0 * flat.growth,
        rss_slope_mb_per_h=flat.slope_mb_per_h,
        keyframe_cap_bytes=memory.max_bytes,
        keyframe_peak_bytes=peak,
        keyframe_end_bytes=memory.nbytes,
        voxel_table_bytes=voxel_table_bytes(k, selector.table.capacity),
        sampled=selector.table.sampled,
    )


def endless(source: FrameSource, frames: int) -> Iterator[RgbdFrame]:
    """A recording from its beginning again and again, each time STEP_M further on; indices run through.

    Only frames with a pose. Raises BadInput when there are none.
    """
    index = 0
    T_shift = np.eye(4)
    while index < frames:
        begun = index
        for frame in source.frames():
            if frame.T_world_camera is None:
                continue
            yield replace(frame, index=index, T_world_camera=T_shift @ frame.T_world_camera)
            index += 1
            if index == frames:
                return
        if index == begun:
            raise BadInput(f"{source.info.path}: no frame has a pose, so nothing can be selected: give another --data")
        T_shift[:2, 3] += STEP_M


def voxel_table_bytes(k: int, capacity: int) -> int:
    """What the selector's table takes, by asking the allocator."""
    tracemalloc.start()
    try:
        table = VoxelTable(k, capacity)
        taken = tracemalloc.get_traced_memory()[0]
        del table
    finally:
        tracemalloc.stop()
    return taken


def _written(stack: ExitStack, cache: Path, seed: int, quick: bool) -> Path:
    """Views of a room as image files, so that decoding is part of what is watched."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scene-r1-"))) / "room"
    with (
        room_views(seed, cache, QUICK_VIEWS if quick else VIEWS, one_camera=False) as room,
        create_sink(folder, "seven_scenes", like=room.info) as sink,
    ):
        for frame in room.frames():
            sink.write(frame)
    return folder
