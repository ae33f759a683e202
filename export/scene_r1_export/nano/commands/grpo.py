"""`grpo`: reinforcement from where `train` has left the model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from scene_r1_export.nano.run import Run
from scene_r1_export.nano.train.grpo import GrpoTraining, Reinforcer


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=300, help="up to this one (300)")
    parser.add_argument("--scenes", type=int, default=2, help="a step: walks, or single pictures (2)")
    parser.add_argument("--questions", type=int, default=4, help="about each of them (4)")
    parser.add_argument("--group", type=int, default=8, help="answers to a question (8)")
    parser.add_argument("--rounds", type=int, default=2, help="of learning from the same answers (2)")
    parser.add_argument("--temperature", type=float, default=1.0, help="at which answers are drawn (1)")
    parser.add_argument("--beta", type=float, default=0.02, help="weight of the divergence (0.02)")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate (1e-4)")


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    rooms = begun.rooms("train")
    language = begun.language()
    made = GrpoTraining(
        args.steps,
        args.scenes,
        args.questions,
        args.group,
        args.temperature,
        rounds=args.rounds,
        beta=args.beta,
        rate=args.rate,
    )
    if args.smoke:
        made = replace(made, steps=2, scenes=1, questions=2, group=2, most=24)
    model = begun.model(language, "language")
    with begun.log("grpo") as say:
        Reinforcer(model, begun.sizes, language, rooms, begun.state("grpo")).train(made, say)
    return 0
