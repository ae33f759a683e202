"""`export`: the trained model as a checkpoint, and as the folder that the engine loads."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from scene_r1.files import whole_folder
from scene_r1_export.nano.card import card
from scene_r1_export.nano.checkpoint import write_checkpoint
from scene_r1_export.nano.export import export_nano
from scene_r1_export.nano.run import Run


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write, not there yet")
    parser.add_argument("--stage", choices=("language", "grpo"), help="which weights (the last there are)")
    parser.add_argument("--quantize", metavar="TYPE", default="Q8_0", help="llama.cpp's file type (Q8_0)")
    parser.add_argument("--llama-cpp", metavar="DIR", type=Path, help="a checkout of llama.cpp, for its converter")


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    stage = args.stage or begun.last()
    language = begun.language()
    model = begun.model(language, stage)
    checkpoint = begun.folder / "checkpoint"
    shutil.rmtree(checkpoint, ignore_errors=True)
    with whole_folder(checkpoint) as folder:
        write_checkpoint(model, language.tokenizer, begun.sizes, folder, card(begun.folder, stage))
    made = export_nano(checkpoint, Path(args.out), args.quantize, args.llama_cpp)
    print(f"{args.out}: {made.name}, {(made.text.bytes + made.mmproj.bytes) / 1e6:.1f} MB")
    return 0
