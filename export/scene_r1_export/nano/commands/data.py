"""`data`: rooms, their keyframes, what they show, and questions about them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from scene_r1.rooms.model.splits import SPLITS, room_seeds
from scene_r1_export.nano.data.make import DataSettings, LookSettings, make_data
from scene_r1_export.nano.run import Run

SMOKE = DataSettings(size=(160, 120), coarse=(80, 60), frames=24, rate_hz=2.0, keyframes=6, more=2, questions=12)
BLOCK = 50
"""Of the seeds: benchmarks and demos take theirs from others. Rooms to look at come from the tenth after it."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rooms", type=int, default=300, help="how many rooms (300)")
    parser.add_argument("--looks", type=int, default=0, help="and so many more that are only looked at (0)")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--block", type=int, default=BLOCK, help="which ten thousand seeds (50)")
    parser.add_argument("--workers", type=int, default=1, help="rooms at a time (1)")


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    make(begun, args.split, args.block, args.rooms, args.workers, args.smoke)
    if args.looks:
        seeds = room_seeds("train", args.block + 10, args.looks)
        _say(make_data(begun.data("looks"), seeds, LookSettings(), args.workers))
    return 0


def make(run_: Run, split: str, block: int, rooms: int, workers: int, smoke: bool) -> None:
    """Make what is not there yet, and say so."""
    seeds = room_seeds(split, block, rooms)  # type: ignore[arg-type]
    _say(make_data(run_.data(split), seeds, SMOKE if smoke else DataSettings(), workers))


def _say(paths: Iterable[Path]) -> None:
    for number, path in enumerate(paths, 1):
        sys.stderr.write(f"{number}: {path}\n")
