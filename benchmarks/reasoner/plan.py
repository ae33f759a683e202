"""How much a run of the reasoner's benchmark measures."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from benchmarks.reasoner.soak import QUESTIONS, QUICK_QUESTIONS
from scene_r1_engines.errors import BadInput

KEYFRAMES = (4, 8, 16)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. image: side of the pictures, pixels. think: tokens that a question thinks. anew: time the
    vision tower over all pictures again, beside `settle_ms`."""

    keyframes: tuple[int, ...]
    rounds: int
    warmup_rounds: int
    image: int
    think: int
    soak_questions: int
    soak_image: int
    anew: bool = True


PLAN = Plan(KEYFRAMES, 11, 1, 448, 32, QUESTIONS, 112)
QUICK = Plan(KEYFRAMES, 2, 0, 112, 4, QUICK_QUESTIONS, 112)
REAL = Plan((4,), 1, 0, 448, 4, 0, 0, anew=False)
"""A real size on CPU takes minutes a question: once is all there is time for, and no percentile comes of it."""


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan of a run by its arguments. Raises BadInput for one that cannot be run."""
    if args.real_size is not None and args.model is not None:
        raise BadInput("--real-size makes a model and --model names one: give one of them")
    usual = REAL if args.real_size is not None else QUICK if args.quick else PLAN
    plan = Plan(
        tuple(sorted(set(args.keyframes or usual.keyframes))),
        args.rounds or usual.rounds,
        usual.warmup_rounds,
        args.image or usual.image,
        args.think or usual.think,
        usual.soak_questions,
        usual.soak_image,
        usual.anew,
    )
    if plan.keyframes[0] < 3 or plan.rounds < 1:
        raise BadInput(f"at least 3 keyframes and 1 round are needed, got {plan.keyframes[0]} and {plan.rounds}")
    if not 112 <= plan.image <= 1792 or plan.image % 28:  # so that neither side resizes, nor pads
        raise BadInput(f"--image must be a multiple of 28 in 112..1792, got {plan.image}")
    return plan
