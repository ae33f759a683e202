"""How much a run of the SAM2 benchmark measures."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from scene_r1_engines.errors import BadInput
from scene_r1_engines.sam2.manifest import PRECISIONS
from scene_r1_export.sam2.config import INPUTS_PX

LEAST_SOAK = 12
"""Frames: fewer are too few to tell flat memory from growing."""
LEAST_FRAMES = 3
"""One with the prompt, one that remembers it alone, one that remembers a frame without a prompt."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. input_px: side of the square that pictures are resized to. frames: that are tracked, the
    prompted one with them. memories: that memory attention is timed at. precisions: of the exports. slots, sizes:
    fewer of both than the model has, to see what they save. rounds: of the parts' race. soak_frames: of the endless
    stream, at soak_px. questions: about the same views.
    """

    input_px: int
    frames: int
    memories: tuple[int, ...]
    precisions: tuple[str, ...]
    slots: tuple[int, ...]
    sizes: tuple[int, ...]
    rounds: int
    warmup_rounds: int
    soak_frames: int
    soak_px: int
    questions: int


SMALLEST = min(INPUTS_PX)
PLAN = Plan(1024, 8, (1, 3, 7), PRECISIONS, (3, 1), (768, 512), 5, 1, 2000, SMALLEST, 3)
QUICK = Plan(SMALLEST, 3, (1, 3, 7), ("fp32",), (1,), (), 1, 0, LEAST_SOAK, SMALLEST, 2)
"""Each export takes longer than all the rest of a quick run together."""


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan of a run by its arguments. Raises BadInput for one that cannot be run."""
    usual = QUICK if args.quick else PLAN
    given = {name: getattr(args, name) for name in ("input_px", "frames", "rounds", "soak_frames")}
    plan = replace(usual, **{name: value for name, value in given.items() if value is not None})
    if plan.input_px not in INPUTS_PX:
        raise BadInput(f"--input-px must be one of {', '.join(map(str, INPUTS_PX))}, got {plan.input_px}")
    if plan.frames < LEAST_FRAMES or plan.rounds < 1 or args.threads < 1:
        raise BadInput(
            f"at least {LEAST_FRAMES} --frames, 1 of --rounds and 1 of --threads are needed, "
            f"got {plan.frames}, {plan.rounds} and {args.threads}"
        )
    if plan.soak_frames < LEAST_SOAK:
        raise BadInput(f"--soak-frames must be {LEAST_SOAK} or more, got {plan.soak_frames}")
    wanted = plan.precisions if args.precisions is None else tuple(args.precisions)
    precisions = tuple(one for one in PRECISIONS if one in {"fp32", *wanted})
    smaller = tuple(size for size in plan.sizes if size < plan.input_px)
    return replace(plan, precisions=precisions, sizes=smaller)
