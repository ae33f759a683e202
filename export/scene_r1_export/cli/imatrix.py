"""`scene-r1-export imatrix`: how strongly calibration data uses each column of a checkpoint's weights."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from scene_r1.files import check_output_folder
from scene_r1_engines.errors import OutputExists
from scene_r1_export.imatrix import DEFAULT_CHUNKS, compute_imatrix
from scene_r1_export.imatrix_file import write_imatrix


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT_DIR", help="folder of a checkpoint, as model hubs give it")
    parser.add_argument(
        "--calibration",
        metavar="FOLDER",
        required=True,
        help="texts (*.txt) and pictures (*.png, *.jpg; a .txt of the same name is the prompt) like the model's work",
    )
    parser.add_argument("--out", metavar="FILE.gguf", required=True, help="the importance matrix, as llama-imatrix's")
    parser.add_argument(
        "--chunks", type=int, default=DEFAULT_CHUNKS, help="most passes of 512 tokens or one picture (default 128)"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    out = Path(args.out)
    if out.exists() or out.is_symlink():
        raise OutputExists(f"{out} is already there: name another place or remove it")
    check_output_folder(out.parent)
    with tqdm(desc="calibrating", unit="pass", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance() -> None:
            bar.update(1)

        made = compute_imatrix(Path(args.checkpoint), Path(args.calibration), args.chunks, advance)
    write_imatrix(out, made.matrix)
    print(f"passes    {made.matrix.chunk_count}, {made.pictures} with a picture, {made.tokens} tokens")
    print(f"tensors   {len(made.matrix.sums)}")
    if made.idle:
        print(f"idle      {len(made.idle)} were never activated: {', '.join(made.idle)}")
    print(f"wrote     {out}")
    if args.json:
        print(
            json.dumps(
                {
                    "out": str(out),
                    "chunks": made.matrix.chunk_count,
                    "pictures": made.pictures,
                    "tokens": made.tokens,
                    "tensors": len(made.matrix.sums),
                    "never_activated": list(made.idle),
                }
            )
        )
    return 0
