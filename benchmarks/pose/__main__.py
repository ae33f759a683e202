"""How well the camera is followed, at what cost, against other ways: `python -m benchmarks.pose`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import NO_RECORDING, argument_parser, real_recording, run
from benchmarks.pose.methods import Follow, methods
from benchmarks.pose.trajectory import Score, score
from benchmarks.recordings import WALK_FRAMES, add_cache, cache_folder, room_walk, with_progress
from benchmarks.report import Report
from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.tracking.visual.rehearsal import rehearse
from scene_r1_engines.errors import BadInput

ROOMS = 2
QUICK_FRAMES = 40
COLUMNS = ("ate_cm", "ate_percent", "rpe_mm", "rpe_deg", "cpu_ms_per_frame", "cpu_ms_p95", "lost_frames")


def followed(frames: Iterable[RgbdFrame], ways: Mapping[str, Follow], name: str) -> dict[str, Score | None]:
    """Every method over one sequence, frame by frame side by side; frames without a true pose are left out.

    CPU time is the process's while a frame is followed, with OpenCV on one thread.
    """
    poses: dict[str, list[np.ndarray | None]] = {way: [] for way in ways}
    spent_ns: dict[str, list[int]] = {way: [] for way in ways}
    true = []
    for frame in frames:
        if frame.T_world_camera is None:
            continue
        true.append(frame.T_world_camera)
        for way, follow in ways.items():
            start = time.process_time_ns()
            poses[way].append(follow(frame))
            spent_ns[way].append(time.process_time_ns() - start)
    if len(true) < 3:
        raise BadInput(f"{name}: {len(true)} frames with a pose, and a trajectory needs three: give another recording")
    return {way: score(poses[way], true, np.array(spent_ns[way]) / 1e6) for way in ways}


def measure(args: argparse.Namespace) -> int:
    data, cache = real_recording(args), cache_folder(args)
    if args.rooms < 0 or (args.rooms == 0 and data is None):
        raise BadInput(f"--rooms is {args.rooms}: at least one room is needed where no --data is given")
    frames = QUICK_FRAMES if args.quick else args.frames
    if frames is not None and frames < 3:
        raise BadInput(f"--frames is {frames}: a trajectory needs three")
    makers, missing = methods()
    report = Report("pose", args.out, {"rooms": args.rooms, "seed": args.seed, "frames": frames, "quick": args.quick})
    report.card()
    cv2.setNumThreads(1)
    rehearse()  # compiles, which is no part of following a camera
    results: dict[str, dict[str, Score | None]] = {}
    if data is not None:
        with open_source(data) as source:
            name = Path(source.info.path).name
            read = islice(source.frames(), frames)
            ways = {way: make() for way, make in makers.items()}
            results[name] = followed(with_progress(read, frames or source.info.frames, name), ways, name)
    for seed in range(args.seed, args.seed + args.rooms):
        name, length = f"room {seed}", frames or WALK_FRAMES
        with room_walk(seed, cache, length) as room:
            ways = {way: make() for way, make in makers.items()}
            results[name] = followed(with_progress(room.frames(), length, name), ways, name)
    for way in makers:
        scored = {name: by_way[way] for name, by_way in results.items()}
        report.add(way, {name: None if one is None else asdict(one) for name, one in scored.items()})
    for way, why in missing.items():
        report.not_measured(way, why)
    if data is None:
        report.not_measured("real_recording", NO_RECORDING)
    rows = [
        (name, way, *(None if one is None else f"{getattr(one, column):.3g}" for column in COLUMNS))
        for name, by_way in results.items() for way, one in by_way.items()
    ]  # fmt: skip
    report.table("Trajectories", ("sequence", "method", *COLUMNS), rows)
    report.finish()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("pose", "Accuracy and cost of following the camera, against other ways.")
    add_cache(parser)
    parser.add_argument("--rooms", type=int, default=ROOMS, metavar="N", help=f"synthetic rooms (default {ROOMS})")
    parser.add_argument("--frames", type=int, metavar="N", help="of each sequence (default: all)")
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
