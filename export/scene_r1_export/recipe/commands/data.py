"""`recipe data`: recordings and questions become pictures, prompts and their truth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from tqdm import tqdm

from scene_r1.files import check_output_folder
from scene_r1.program import OK
from scene_r1.rooms.model.splits import SPLITS
from scene_r1_engines.errors import BadInput
from scene_r1_export.recipe.asked import AskedRecording, asked_recordings, asked_rooms
from scene_r1_export.recipe.data import make_data
from scene_r1_export.recipe.data_settings import DataSettings
from scene_r1_export.recipe.layout import Layout, layout_of


def configure(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--rooms", metavar="DIR", help="a folder that `scene-r1-rooms make` made")
    source.add_argument("--recordings", metavar="DIR", help="holds the recording of each scene that is asked about")
    source.add_argument("--recording", metavar="PATH", help="one recording that all questions are about")
    parser.add_argument("--questions", metavar="FILE", help="with --recording(s): one JSON object a line, as of rooms")
    parser.add_argument("--out", metavar="DIR", required=True, help="it must not exist yet")
    parser.add_argument("--checkpoint", metavar="DIR", help="what will be tuned (default: the published Qwen2.5-VL)")
    parser.add_argument("--split", choices=SPLITS, default="train", help="of the questions (default train)")
    default = DataSettings()
    parser.add_argument("-k", type=int, default=default.k, help="keyframes to hold (default %(default)s)")
    parser.add_argument("--image-pixels", type=int, default=default.image_pixels, help="of a keyframe, at most")
    parser.add_argument("--grounding-pixels", type=int, help="`where` looks again at this many (needs --checkpoint)")
    parser.add_argument("--views", type=int, default=default.views, help="in which a thing is sought, at most")
    parser.add_argument("--absent-views", type=int, default=default.absent_views, help="that do not show it, at most")


def run(args: argparse.Namespace) -> int:
    check_output_folder(args.out)
    if (args.questions is None) is (args.rooms is None):
        raise BadInput("--questions goes with --recording or --recordings, and rooms have their own")
    if args.grounding_pixels is not None and args.checkpoint is None:
        raise BadInput("--grounding-pixels needs --checkpoint, whose limits it must keep to")
    layout = Layout() if args.checkpoint is None else layout_of(args.checkpoint, args.grounding_pixels)
    settings = DataSettings(args.k, args.image_pixels, args.views, args.absent_views, layout=layout)
    with tqdm(desc="recordings", disable=None, leave=False) as bar:
        made = make_data(args.out, _recordings(args), settings, lambda _: bar.update() and None)
    sys.stderr.write(
        f"{args.out}: {sum(made.rows.values())} rows, {made.images} pictures; of {made.questions} questions about "
        f"{made.recordings} recordings, {made.unseen} are about what no keyframe shows\n"
    )
    sys.stdout.write(json.dumps(asdict(made)) + "\n")
    return OK


def _recordings(args: argparse.Namespace) -> Iterator[AskedRecording]:
    if args.rooms is not None:
        return asked_rooms(args.rooms, args.split)
    return asked_recordings(args.questions, args.split, folder=args.recordings, one=args.recording)
