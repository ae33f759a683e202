"""`scene-r1-export check-tensorrt`: are a folder's graphs what NVIDIA's parser and builder take? Needs no GPU."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from scene_r1.program import FAULT, OK
from scene_r1_engines.sam2.manifest import PARTS
from scene_r1_export.tensorrt.check import MOST_SECONDS, Report, check_folder


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="that `scene-r1-export sam2` has made")
    parser.add_argument(
        "--timeout", type=float, default=MOST_SECONDS, metavar="S", help="give a graph up after so long (default 1800)"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    with tqdm(total=len(PARTS), unit="graph", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def begun(part: str) -> None:
            bar.set_description(part)
            bar.update(PARTS.index(part) - bar.n)

        report = check_folder(args.folder, begun, args.timeout)
    if args.json:
        print(json.dumps(report.to_json()))
    else:
        _show(report)
    return OK if report.ok else FAULT


def _show(report: Report) -> None:
    print(f"{report.folder}, asked of TensorRT-RTX {report.tensorrt_rtx or '(no answer)'}")
    for one in report.graphs:
        how = "parsed and built" if one.ok else "PARSED, NOT BUILT" if one.parsed else "NOT PARSED"
        took = f"{one.layers} layers, plan of {one.plan_bytes / 1e6:.1f} MB, {one.parse_s + one.build_s:.1f} s"
        print(f"  {one.part:<17} {one.precision:<5} {how}{': ' + took if one.ok else ''}")
        for message in one.messages[: 2 if one.ok else None]:
            print(f"      {message[:300]}")
