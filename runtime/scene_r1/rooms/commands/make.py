"""`scene-r1-rooms make`: rooms, walks through them, the truth about them, and questions."""

from __future__ import annotations

import argparse
import json
import re
import sys

from scene_r1.cli.progress import progress
from scene_r1.program import FAULT, OK
from scene_r1.rooms.dataset.make import SHEET, make_rooms
from scene_r1.rooms.dataset.settings import RoomsSettings
from scene_r1.rooms.dataset.worker import RoomDone
from scene_r1.rooms.model.splits import SPLITS, room_seeds
from scene_r1_engines.errors import BadInput

DEFAULTS = RoomsSettings()


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="the folder; rooms that are there, made the same way, are kept")
    parser.add_argument("--rooms", type=int, default=10, metavar="N", help="how many (default 10)")
    parser.add_argument(
        "--seed", type=int, default=7, metavar="S", help="which ones: another number, others (default 7)"
    )
    parser.add_argument("--split", choices=SPLITS, default="train", help="to learn from or to be judged by (train)")
    parser.add_argument("--size", type=size_of, default=DEFAULTS.size, metavar="WxH", help="of the images (320x240)")
    parser.add_argument("--frames", type=int, default=DEFAULTS.frames, metavar="N", help="of each walk (default 120)")
    parser.add_argument("--questions", type=int, default=DEFAULTS.questions, metavar="N", help="about each room (6)")
    parser.add_argument("--preview", action="store_true", help=f"also write OUT/{SHEET}, a picture for people")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that render (default: one for each core)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    if args.rooms < 1:
        raise BadInput(f"--rooms must be 1 or more, got {args.rooms}")
    seeds = room_seeds(args.split, args.seed, args.rooms)
    with progress("rooms", len(seeds), "room") as advance:

        def told(room: RoomDone) -> None:
            advance()
            if room.how == "failed":
                print(f"scene-r1-rooms make: {room.name} failed: {room.reason}", file=sys.stderr)

        made = make_rooms(
            args.out,
            seeds,
            size=args.size,
            frames=args.frames,
            questions=args.questions,
            preview=args.preview,
            workers=args.workers,
            on_room=told,
        )
    if args.json:
        result = {
            "out": args.out,
            "split": args.split,
            "made": list(made.made),
            "kept": list(made.kept),
            "failed": dict(made.failed),
            "questions": made.questions,
        }
        print(json.dumps(result))
    else:
        failed = f", {len(made.failed)} failed" if made.failed else ""
        print(f"{args.out}: {len(made.made)} rooms made, {len(made.kept)} kept{failed}; {made.questions} questions")
    return FAULT if made.failed else OK


def size_of(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it as 320x240")
    return int(match[1]), int(match[2])
