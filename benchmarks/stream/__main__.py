"""How old a frame is once a session has it, at a camera's pace, and at what cost: `python -m benchmarks.stream`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.arguments import argument_parser, real_recording, run
from benchmarks.query.path import questions
from benchmarks.recordings import add_cache, cache_folder
from benchmarks.report import Report
from benchmarks.stream.laps import laps, played
from benchmarks.stream.watch import Seen, streamed
from scene_r1.config import Config, LiveConfig
from scene_r1.session import Session
from scene_r1.tracking.tracker import TRACKERS

RATE_HZ = 30.0
SECONDS, QUICK_SECONDS = 60.0, 4.0
"""60 s are 1800 frames; a p99 stands on 662 or more."""
QUESTIONS = 50


def measure(args: argparse.Namespace) -> int:
    config = Config(live=LiveConfig(args.tracker))
    config = replace(config, reasoner=replace(config.reasoner, threads=args.threads))
    report = Report("stream", args.out, config)
    report.card()
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    found: dict[str, Seen] = {}
    with played(real_recording(args), args.rate, args.seed, cache_folder(args), args.quick) as path:
        for name, asked in (("idle", ()), ("asking", questions(QUESTIONS, args.seed))):
            with laps(path, args.rate) as source, Session.open(config, args.model) as session:
                found[name] = streamed(session, source, seconds, asked)
    idle, asking = found["idle"], found["asking"]
    report.add("recording", "a synthetic room" if args.data is None else str(args.data.name))
    report.add("rate_hz", args.rate)
    report.add("tracker", args.tracker)
    for name, seen in found.items():
        report.add(name, seen.as_dict())
    for key, p, ages in (
        ("frame_age_p50_ms", 50, idle.ages()),
        ("frame_age_p99_ms", 99, idle.ages()),
        ("frame_age_p99_ms_asking", 99, asking.ages(asking=True)),
    ):
        value = None if ages is None else getattr(ages, f"p{p}_ms")
        if value is None:
            report.not_measured(key, f"{0 if ages is None else ages.n} frames are too few: run it for longer")
        else:
            report.add(key, value)
    report.add("dropped", idle.dropped + asking.dropped)
    report.add("ingest_core_share", idle.thread_s / idle.wall_s)
    _print(report, found)
    report.finish()
    return 0


def _print(report: Report, found: dict[str, Seen]) -> None:
    rows = []
    for name, seen in found.items():
        ages = seen.ages(asking=True) if name == "asking" else seen.ages()
        cells = ["n/a", "n/a"] if ages is None else [ages.cell(50), ages.cell(99)]
        most = "n/a" if ages is None else f"{ages.max_ms:.3g} ms"
        rows.append((name, len(seen.age_ms), seen.dropped, *cells, most, _said(seen)))
    report.table("Age of a frame once it is observed", ("run", "frames", "dropped", "p50", "p99", "max", "asked"), rows)
    stages = list(found["idle"].stages())
    shares = [
        (name, *(f"{seen.stages()[stage]:.1%}" for stage in stages), f"{seen.thread_s / seen.wall_s:.1%}")
        for name, seen in found.items()
    ]
    report.table("Share of one core, by stage of the thread that takes frames", ("run", *stages, "all"), shares)
    capture = [(name, f"{seen.capture_s / seen.wall_s:.1%}") for name, seen in found.items()]
    report.table("Share of one core, of the process that captures", ("run", "all"), capture)


def _said(seen: Seen) -> str:
    return ", ".join(f"{count} {status}" for status, count in seen.outcomes.most_common()) or "nothing"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("stream", "Frames at a camera's pace into a session, with and without questions beside.")
    add_cache(parser)
    parser.add_argument("--tracker", choices=sorted(TRACKERS), default="host", help="where poses come from")
    parser.add_argument(
        "--rate", type=float, default=RATE_HZ, metavar="HZ", help="frames a second (default %(default)s)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help=f"of each of the two runs (default {SECONDS:g})")
    parser.add_argument("--model", metavar="DIR", help="folder of the model that is asked (default nano)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the model (default: all cores but one)")
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
