"""`eval`: rewards on rooms of the split val, in torch; stage against stage."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from scene_r1_export.nano.run import Run, Stage
from scene_r1_export.nano.train.evaluate import Figure, Judged, evaluate, figures, gains


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", choices=("language", "grpo"), nargs="*", help="which (those that are there)")
    parser.add_argument("--walks", type=int, default=14, help="walks that are asked about, 8 questions each (14)")
    parser.add_argument("--views", type=int, default=40, help="single pictures, 8 questions each (40)")
    parser.add_argument("--no-think", action="store_true", help="without thinking")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    rooms = begun.rooms("val")
    language = begun.language()
    all_: tuple[Stage, ...] = ("language", "grpo")
    stages: list[Stage] = args.stage or [stage for stage in all_ if begun.state(stage).exists()]
    asked: dict[Stage, list[Judged]] = {}
    for stage in stages or [begun.last()]:
        model = begun.model(language, stage)
        think = False if args.no_think else None
        asked[stage] = evaluate(model, begun.sizes, language, rooms, args.walks, args.views, args.seed, think)
        found = figures(asked[stage])
        show(f"{stage}{' without thinking' if args.no_think else ''}", found)
        with begun.log("evaluations") as say:
            say(json.dumps({"after": stage, "think": not args.no_think, **told(found)}))
    if "language" in asked and "grpo" in asked:
        gained = gains(asked["language"], asked["grpo"])
        show("grpo - language, question by question", gained)
        with begun.log("evaluations") as say:
            say(json.dumps({"after": "grpo - language", "think": not args.no_think, **told(gained)}))
    return 0


def show(title: str, found: Mapping[str, Figure]) -> None:
    """Figures as lines of text."""
    print(title)
    for name, figure in found.items():
        print(f"  {name:20} {figure.mean:6.3f}   {figure.low:.3f} to {figure.high:.3f}   of {figure.count}", flush=True)


def told(found: Mapping[str, Figure]) -> dict[str, list[float]]:
    """For a log: mean, and the interval's ends, of each figure."""
    return {name: [round(value, 4) for value in (one.mean, one.low, one.high)] for name, one in found.items()}
