"""`train`: the vision tower, then language about one picture, then, past the gate, about whole walks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.begin import begin
from scene_r1_export.nano.commands.data import BLOCK, make
from scene_r1_export.nano.commands.eval import told
from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.data.sights import picture_of, read_rooms
from scene_r1_export.nano.data.views import Views
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.run import Run
from scene_r1_export.nano.state import read_state
from scene_r1_export.nano.train.evaluate import evaluate, figures
from scene_r1_export.nano.train.language import LanguageTraining, Teacher
from scene_r1_export.nano.train.vision import VisionTraining, head_of_cells, train_vision

GATE = "box IoU >= 0.5"
LEAST = 0.5
SOME = 100
"""Views that tell how strong the tower's tokens are in each direction."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vision", type=int, default=4200, metavar="STEPS", help="of the vision tower (4200)")
    parser.add_argument("--one", type=int, default=1000, metavar="STEPS", help="then about one picture (1000)")
    parser.add_argument("--walks", type=int, default=3000, metavar="STEPS", help="then about walks as well (3000)")
    parser.add_argument("--see-from", type=int, metavar="STEP", help="of language, when the tower learns along (never)")
    parser.add_argument("--gate-views", type=int, default=40, help="single pictures that the gate asks about (40)")
    parser.add_argument("--past-gate", action="store_true", help="go on to walks however well boxes are found")


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    if args.smoke:
        args.vision, args.one, args.walks, args.see_from, args.past_gate = 2, 2, 2, 0, True
        for split in ("train", "val"):
            make(begun, split, BLOCK, 1, 1, True)
    new = not begun.state("language").exists()
    if new:
        _vision(begun, args)
    rooms = begun.rooms("train")
    language = begun.language(begins=True)
    model = begun.model(language, "vision" if new else None)
    if new:
        head = head_of_cells(read_state(begun.state("vision")))
        begin(model, begun.sizes, language, some_tokens(model, begun.sizes, rooms), head)
    teacher = Teacher(model, begun.sizes, language, rooms, begun.state("language"), read_rooms(begun.data("looks")))
    with begun.log("language") as say:
        one = LanguageTraining(args.one, see_from=args.see_from, fall_from=args.one * 2 // 3)
        one = replace(one, pictures=2, questions=2, walk_questions=2, fewest=2, most=3) if args.smoke else one
        teacher.train(one, say)
    if teacher.step == args.one:
        judged = evaluate(model, begun.sizes, language, begun.rooms("val"), 0, 1 if args.smoke else args.gate_views)
        reached = figures(judged)
        with begun.log("evaluations") as say:
            say(json.dumps({"after": "one", "step": teacher.step, **told(reached)}))
        if (GATE not in reached or reached[GATE].mean < LEAST) and not args.past_gate:
            raise BadInput(
                f"the gate is closed: {GATE} of single pictures is {reached[GATE].mean if GATE in reached else 0:.2f}, "
                f"below {LEAST}: train longer with --one, or go on anyway with --past-gate"
            )
    with begun.log("language") as say:
        teacher.train(walks_after(one, args.walks), say)
    return 0


def walks_after(one: LanguageTraining, steps: int) -> LanguageTraining:
    """Training with walks among the single pictures. At the full rate what was learned about these was half lost."""
    end = one.steps + steps
    return replace(one, steps=end, walks=0.5, rate=one.rate / 2, begun=one.steps, fall_from=one.steps + steps // 2)


def _vision(begun: Run, args: argparse.Namespace) -> None:
    state = begun.state("vision")
    if state.exists() and read_state(state)["step"] >= args.vision:
        return
    views = Views(begun.data("train"), begun.data("looks"))
    if views.refresh() == 0:
        raise BadInput(f"{begun.data('train')} holds no rooms: run `data` first")
    model = begun.model(begun.language(begins=True))
    scale = begun.sizes.picture[1] / views.views[0].instance.shape[1]
    made = VisionTraining(args.vision, fall_from=args.vision * 4 // 5)
    made = replace(made, batch=2, side=112, zoom=(1.0, 1.2)) if args.smoke else made
    with begun.log("vision") as say:
        train_vision(model.model.visual, views, scale, made, state, say)


@torch.no_grad()
def some_tokens(model: Any, sizes: Sizes, rooms: Sequence[RoomShard]) -> Tensor:
    """(n, width) float32: what the vision tower makes of some views."""
    rng = np.random.default_rng(0)
    tokens = []
    for number in range(SOME):
        room = rooms[number % len(rooms)]
        picture = picture_of(room, int(rng.integers(len(room.images))), sizes.picture, rng)
        seen, _ = embed_pictures(model.model.visual, torch.from_numpy(picture.image[None]))
        tokens.append(seen[0])
    return torch.cat(tokens)
