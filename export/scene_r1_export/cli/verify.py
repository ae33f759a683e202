"""`scene-r1-export verify`: is an exported model the checkpoint it was made from?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from scene_r1_export.verify import Report, verify


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL_DIR", help="a folder that `scene-r1-export vlm` has made")
    parser.add_argument("--reference", metavar="CHECKPOINT_DIR", help="the checkpoint it was made from")
    parser.add_argument("--lora", metavar="DIR", help="the adapter that was merged into it")
    parser.add_argument("--images", metavar="FILE", nargs="+", default=[], help="pictures to compare on")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    with tqdm(desc="compare", unit="case", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        report = verify(
            args.model, args.reference, [Path(name) for name in args.images], args.lora, lambda: bar.update() and None
        )
    if args.json:
        print(json.dumps(report.to_json()))
    else:
        _show(report)
    return 1 if report.faults() else 0


def _show(report: Report) -> None:
    print(f"{report.name}, {report.quantization} with a vision tower in {report.vision_quantization}")
    if not report.reference:
        print("files, hashes and pins are right; no --reference, so nothing was compared with a checkpoint")
    for case in report.cases:
        tokens = "same tokens" if case.first_difference is None else f"token {case.first_difference} differs"
        print(f"  {case.name:<20} logits within {case.max_logit_diff:.1e}   {tokens}")
    if report.streamed_max_logit_diff is not None:
        print(f"streamed against at once: logits within {report.streamed_max_logit_diff:.1e}")
    for fault in report.faults():
        print(f"WRONG: {fault}")
    if report.faults():
        print("not what the checkpoint is")
    elif report.reference and report.tolerance is None:
        print("ok: prompts, boxes and streaming; what a lossy type changes in the logits is reported, not judged")
    else:
        print("ok")
