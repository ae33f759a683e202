"""`adopt`: a new run that begins with the weights of an exported small model, the one in the package for example."""

from __future__ import annotations

import argparse
from pathlib import Path

from scene_r1.files import write_text
from scene_r1_engines.errors import OutputExists
from scene_r1_engines.nano import model_folder
from scene_r1_export.nano.adopt import adopt
from scene_r1_export.nano.card import ADOPTED, history
from scene_r1_export.nano.export import CARD
from scene_r1_export.nano.run import Run
from scene_r1_export.nano.train.language import Teacher


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR", help="folder that `export` wrote (the model in the package)")


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    state = begun.state("language")
    if state.exists():
        raise OutputExists(f"{state} is there already: name a folder for a new run")
    language = begun.language(begins=True)
    model, exported = begun.model(language), model_folder(args.model)
    adopt(model, exported)
    card = exported / CARD
    write_text(begun.folder / ADOPTED, history(card.read_text(encoding="utf-8") if card.exists() else ""))
    Teacher(model, begun.sizes, language, (), state).save()
    print(f"{begun.folder}: the weights of {exported}; go on with `train --one 0 --walks STEPS`, or with `grpo`")
    return 0
