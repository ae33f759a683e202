"""`scene-r1-export sam2`: a SAM2 checkpoint becomes four ONNX graphs in a folder that the runtime loads."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from scene_r1.program import OK
from scene_r1_engines.sam2.manifest import PARTS, PRECISIONS, Sam2Manifest
from scene_r1_export.sam2.config import CONFIGS, INPUTS_PX
from scene_r1_export.sam2.export import Sam2Export, export_sam2


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT.pt", help="as SAM2's authors publish it")
    parser.add_argument("--config", required=True, metavar="NAME", help=f"which model it is: {', '.join(CONFIGS)}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder; must not exist yet")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of weights and arithmetic (default fp32); int8 is for the image encoder, the rest is then fp32",
    )
    parser.add_argument(
        "--input-px",
        type=int,
        default=1024,
        metavar="N",
        help=f"side of the square that pictures are resized to: {', '.join(map(str, INPUTS_PX))} (default 1024)",
    )
    parser.add_argument("--calibrate", type=Path, metavar="RECORDING", help="of the rooms it is for; int8 needs one")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    task = Sam2Export(args.checkpoint, args.out, args.config, args.precision, args.input_px, args.calibrate)
    with tqdm(total=len(PARTS), unit="graph", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance(part: str, done: bool) -> None:
            bar.set_description(part)
            bar.update(done)

        manifest = export_sam2(task, advance)
    if args.json:
        print(json.dumps({"out": str(args.out), "manifest": asdict(manifest)}))
    else:
        print(_in_words(args.out, manifest))
    return OK


def _in_words(out: Path, manifest: Sam2Manifest) -> str:
    files = ", ".join(f"{one.file} ({one.precision}, {one.bytes / 1e6:.1f} MB)" for one in manifest.graphs.values())
    return f"{out}: {manifest.name}, {manifest.input_px} px, licence {manifest.license}: {files}"
