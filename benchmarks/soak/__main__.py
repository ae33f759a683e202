"""Whether a session stays as small as it was: `python -m benchmarks.soak --minutes N`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from benchmarks.arguments import argument_parser, real_recording, run
from benchmarks.process_tree import PROC, process_tree, rss_bytes
from benchmarks.query.path import questions
from benchmarks.recordings import add_cache, cache_folder
from benchmarks.report import Report
from benchmarks.stream.laps import laps, played, waited
from scene_r1.config import Config, LiveConfig
from scene_r1.session import Session
from scene_r1.tracking.tracker import TRACKERS
from scene_r1_engines.errors import BadInput, SceneR1Error

MINUTES, QUICK_MINUTES = 30.0, 0.2
RATE_HZ = 30.0
SAMPLE_S = 0.5
ASK_EVERY_S = 10.0
"""From one question's end to the next one's begin: the model's own memory is what it asks for, not what is watched."""
QUESTIONS = 60
"""Each is asked in the first third, then one after the other again: the first thing that is found takes 40 MB for masks
and lift, once and for all."""
WARM = 0.05
"""Share of the run after which descriptors and threads are counted first."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Sample:
    """rss: of this process; tree: of it and its children (capture, model). bytes. fds, threads: of this process."""

    at_s: float
    rss: int
    tree: int
    fds: int
    threads: int


def sampled(begun_s: float) -> Sample:
    pid = os.getpid()
    tree = 0
    for one in process_tree(pid):
        try:
            tree += rss_bytes(one)
        except (FileNotFoundError, ProcessLookupError):
            continue
    proc = PROC / str(pid)
    fds, threads = len(os.listdir(proc / "fd")), len(os.listdir(proc / "task"))
    return Sample(time.monotonic() - begun_s, rss_bytes(pid), tree, fds, threads)


def growth(samples: Sequence[Sample], which: str) -> float:
    """Maximum of the last third minus that of the middle third, in 1e6 bytes. Raises BadInput for under 9 samples."""
    third = len(samples) // 3
    if third < 3:
        raise BadInput(f"{len(samples)} samples are too few for thirds: run it for longer")
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return float(max(getattr(one, which) for one in last) - max(getattr(one, which) for one in middle)) / MB


def soaked(session: Session, source: Any, seconds: float, asked: Sequence[str]) -> tuple[list[Sample], dict[str, int]]:
    """Samples of a session that runs a source for so long, and how its questions ended."""
    samples: list[Sample] = []
    outcomes: dict[str, int] = {}
    faults: list[BaseException] = []

    def frames() -> None:
        try:
            session.run(source)
        except SceneR1Error as error:
            faults.append(error)

    def ask() -> None:
        for number, question in enumerate(cycle(asked)):
            try:
                status = session.ask(question).status.value
            except SceneR1Error as error:
                status = type(error).__name__
            outcomes[status] = outcomes.get(status, 0) + 1
            if over.wait(min(ASK_EVERY_S, seconds / 3.0 / len(asked)) if number < len(asked) else ASK_EVERY_S):
                return

    over, begun_s = threading.Event(), time.monotonic()
    runner, asker = threading.Thread(target=frames, daemon=True), threading.Thread(target=ask, daemon=True)
    runner.start()
    asker.start()
    for _ in waited(begun_s + seconds, runner, SAMPLE_S):
        samples.append(sampled(begun_s))
    over.set()
    source.stop()
    runner.join()
    if faults:
        raise faults[0]
    return samples, outcomes


def measure(args: argparse.Namespace) -> int:
    config = Config(live=LiveConfig(args.tracker))
    config = replace(config, reasoner=replace(config.reasoner, threads=args.threads))
    report = Report("soak", args.out, config)
    report.card()
    minutes = args.minutes or (QUICK_MINUTES if args.quick else MINUTES)
    asked = questions(QUESTIONS, args.seed)
    with (
        played(real_recording(args), RATE_HZ, args.seed, cache_folder(args), args.quick) as path,
        laps(path, RATE_HZ) as source,
        Session.open(config, args.model) as session,
    ):
        samples, outcomes = soaked(session, source, minutes * 60.0, asked)
        counted = session.counters
    first, last = samples[int(WARM * len(samples))], samples[-1]
    report.add("minutes", minutes)
    report.add("tracker", args.tracker)
    report.add("rss_growth_mb", growth(samples, "rss"))
    report.add("tree_rss_growth_mb", growth(samples, "tree"))
    report.add("rss_end_mb", last.rss / MB)
    report.add("frames", counted.frames)
    report.add("dropped", counted.source.get("dropped", 0))
    report.add("questions", outcomes)
    for what in ("fds", "threads"):
        report.add(f"{what}_start", getattr(first, what))
        report.add(f"{what}_end", getattr(last, what))
    rows = [
        ("RSS of the session's process", f"{growth(samples, 'rss'):+.2f} MB", f"{last.rss / MB:.0f} MB"),
        ("RSS of it, the capture and the model", f"{growth(samples, 'tree'):+.2f} MB", f"{last.tree / MB:.0f} MB"),
        ("descriptors", f"{last.fds - first.fds:+d}", last.fds),
        ("threads", f"{last.threads - first.threads:+d}", last.threads),
    ]
    report.table(f"{counted.frames} frames in {minutes:g} minutes", ("what", "growth", "at the end"), rows)
    report.finish()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("soak", "Memory, descriptors and threads of a session that runs for long.")
    add_cache(parser)
    parser.add_argument("--minutes", type=float, metavar="N", help=f"how long (default {MINUTES:g})")
    parser.add_argument("--tracker", choices=sorted(TRACKERS), default="host", help="where poses come from")
    parser.add_argument("--model", metavar="DIR", help="folder of the model that is asked (default nano)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the model (default: all cores but one)")
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
