"""`scene-r1 convert`: write a recording in another format."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

from scene_r1.cli import OK
from scene_r1.cli.progress import progress
from scene_r1.convert import ConversionReport, convert
from scene_r1.sources import FORMATS, create_sink, open_source
from scene_r1_engines.errors import OutputExists


def configure(parser: argparse.ArgumentParser) -> None:
    known = "; ".join(f"{one.name}: {one.looks}" for one in FORMATS)
    parser.add_argument("input", metavar="IN", help=f"the recording ({known})")
    parser.add_argument("output", metavar="OUT", help="a .db3 file, or a folder; it must not exist yet")
    folders = [one.name for one in FORMATS if one.folder and one.sink is not None]
    parser.add_argument("--format", choices=folders, help="layout of a folder (default: seven_scenes)")
    parser.add_argument(
        "--jpeg-quality", type=int, metavar="Q", help="write colour as JPEG, 1..100 (default: PNG, bit for bit)"
    )
    parser.add_argument(
        "--keep-good-prefix", action="store_true", help="when IN breaks half-way, keep the frames before and say so"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    if os.path.lexists(args.output):
        raise OutputExists(f"{args.output} is already there: name another place or remove it")
    with open_source(args.input) as source:
        sink = create_sink(args.output, args.format, like=source.info, jpeg_quality=args.jpeg_quality)
        with progress("writing", source.info.frames) as advance:
            report = convert(source, sink, lambda _: advance(), args.keep_good_prefix)
    if report.fault is not None:
        print(f"scene-r1 convert: kept the first {report.frames} frames; then {report.fault}", file=sys.stderr)
    if args.json:
        print(json.dumps({"input": args.input, "output": args.output, **asdict(report)}))
    else:
        print(_in_words(args.output, report))
    return OK


def _in_words(output: str, report: ConversionReport) -> str:
    parts = [f"{report.frames} frames"]
    if report.without_pose:
        parts.append(f"{report.without_pose} without a pose")
    if report.max_depth_rounding_m > 0.0:
        parts.append(f"depth rounded by up to {report.max_depth_rounding_m * 1e3:.3f} mm")
    else:
        parts.append("depth counts unchanged or rescaled exactly")
    if report.depth_overflow_px:
        parts.append(f"{report.depth_overflow_px} pixels too far for the new depth unit (now: no return)")
    return f"{output}: " + ", ".join(parts)
