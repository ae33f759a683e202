"""How right the answers are, from a question to a metric 3D box, through the session and its engines as shipped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.arguments import argument_parser, run
from benchmarks.grounding import published, rooms
from benchmarks.grounding.datasets import DATASETS
from benchmarks.grounding.rooms import GUESS
from benchmarks.grounding.told import ORACLES
from benchmarks.recordings import add_cache
from benchmarks.report import Report
from scene_r1.config import Config, load_config, with_options
from scene_r1.rooms.commands.make import size_of
from scene_r1.rooms.model.splits import SPLITS
from scene_r1_engines.errors import BadConfig, BadInput
from scene_r1_engines.nano import NANO
from scene_r1_engines.reasoner import REASONERS


def start(args: argparse.Namespace) -> int:
    for name in ("rooms", "questions", "every", "scenes", "frames"):
        number = getattr(args, name)
        if number is not None and number < 1:
            raise BadInput(f"--{name} must be 1 or more, got {number}")
    _check_dataset(args)
    config = config_of(args)
    options = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    report = Report("grounding", args.out, {"runtime": config, "options": options})
    report.card()
    if args.reasoner == GUESS:
        print("reasoner guess: no model is asked, what it would say is drawn at random; read the oracle rows")
    if args.dataset is None:
        rooms.measure(args, config, report)
    else:
        published.measure(args, config, report)
    report.finish()
    return 0


def _check_dataset(args: argparse.Namespace) -> None:
    """Raises BadConfig for options that do nothing together: an option that does nothing is a wrong figure."""
    if args.dataset is None:
        for name in ("queries", "every", "scenes"):
            if getattr(args, name) is not None:
                raise BadConfig(f"--{name} does nothing without --dataset: leave it out")
        return
    if args.oracle:
        raise BadConfig("--oracle needs the truth of every frame, which only rooms have: leave it or --dataset out")
    if args.model is None and args.config is None:
        raise BadConfig(f"--dataset {args.dataset} needs --model DIR: guesses would say nothing there")


def config_of(args: argparse.Namespace) -> Config:
    """The settings of --config with what the command line says in their place; names the reasoner in `args` too.

    Raises BadConfig where the options contradict each other.
    """
    config = with_options(load_config(args.config), args.keyframes, args.segmenter)
    if args.reasoner is None:
        named = args.model is not None or args.config is not None
        args.reasoner = config.reasoner.name if named else GUESS
    if args.reasoner == GUESS:
        if args.model is not None:
            raise BadConfig("--reasoner guess asks no model: leave --model out")
        return config
    if args.model is None and args.reasoner != "openai":
        args.model = NANO  # as everywhere; named, so that it stands among the options of the report
    reasoner = replace(config.reasoner, name=args.reasoner)
    if args.threads is not None:
        reasoner = replace(reasoner, threads=args.threads)
    if args.gpu_layers is not None:
        reasoner = replace(reasoner, gpu_layers=args.gpu_layers)
    limits = config.limits if args.think is None else replace(config.limits, think_tokens=args.think)
    return replace(config, reasoner=reasoner, limits=limits)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("grounding", "Accuracy from a question to a metric 3D box, against the truth.")
    parser.set_defaults(data=None)  # a real recording has no truth to be judged by
    add_cache(parser)
    parser.add_argument("--rooms", type=int, default=10, metavar="N", help="rooms to judge by (default %(default)s)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which rooms (default %(default)s)")
    parser.add_argument("--questions", type=int, default=6, metavar="N", help="of each room (default %(default)s)")
    parser.add_argument("--size", type=size_of, metavar="WxH", help="of both images (default 640x480)")
    parser.add_argument("--frames", type=int, metavar="N", help="of each room, over its walk (default 120)")
    parser.add_argument(
        "--model", metavar="DIR", help="a model folder of scene-r1-export, or nano: the one that is here"
    )
    parser.add_argument(
        "--reasoner",
        choices=[GUESS, *sorted(REASONERS)],
        help=f"engine that is asked (default {GUESS} without --model)",
    )
    parser.add_argument(
        "--segmenter",
        metavar="NAME|DIR",
        help="engine that turns boxes into masks, or the folder of a SAM2 model (default depth_cut)",
    )
    parser.add_argument(
        "--oracle", default="", metavar="STAGES", help=f"answer these from the truth: {', '.join(ORACLES)}, with commas"
    )
    parser.add_argument("--no-ladder", action="store_true", help="without the rows that add one oracle after the other")
    parser.add_argument("--think", type=int, metavar="N", help="tokens a call may think, 0 = none (default 256)")
    parser.add_argument("--keyframes", "-k", type=int, metavar="K", help="keyframes to hold (default 16)")
    parser.add_argument("--threads", type=int, metavar="N", help="of llama.cpp (default: all cores but one)")
    parser.add_argument("--gpu-layers", type=int, metavar="N", help="on the GPU, -1 = all (default)")
    parser.add_argument("--pictures", type=int, default=120, metavar="N", help="pictures at most (default %(default)s)")
    parser.add_argument("--dataset", choices=list(DATASETS), help="a published data set at --data, instead of rooms")
    parser.add_argument("--queries", type=Path, metavar="FILE", help="with --dataset: which of its questions")
    parser.add_argument("--scenes", type=int, metavar="N", help="with --dataset: of so many scenes at most")
    parser.add_argument("--every", type=int, metavar="N", help="with --dataset: stream every N-th frame (default 1)")
    parser.add_argument("--config", metavar="FILE", help="settings of the runtime in TOML")
    return run(start, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
