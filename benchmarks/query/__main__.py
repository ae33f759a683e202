"""The headline: from a question to a metric 3D box, through the path as it is shipped: `python -m benchmarks.query`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.arguments import argument_parser, real_recording, run
from benchmarks.memory import MemorySampler
from benchmarks.percentiles import Summary, summarise
from benchmarks.query.cold import PARTS, cold_start
from benchmarks.query.path import Asked, ask, config_of, questions, reached, recording, statuses, watched
from benchmarks.reasoner.model import NONSENSE, add_model, tried_model
from benchmarks.recordings import WALK_FRAMES, add_cache, cache_folder
from benchmarks.report import Report
from scene_r1.config import Config
from scene_r1.grounder import open_grounder
from scene_r1_engines.errors import BadInput

QUESTIONS, QUICK_QUESTIONS = 64, 3
WARMUP, QUICK_WARMUP = 3, 1
COLD, QUICK_COLD = 5, 1
COLD_FRAMES = 60
QUICK_FRAMES = 12
TARGET_UNATTRIBUTED = 5.0


def measure(args: argparse.Namespace) -> int:
    if args.recording is not None:
        args.data = args.recording
    data, cache = real_recording(args), cache_folder(args)
    count = args.questions or (QUICK_QUESTIONS if args.quick else QUESTIONS)
    frames = args.frames or (QUICK_FRAMES if args.quick else WALK_FRAMES)
    cold_starts = args.cold_starts if args.cold_starts is not None else (QUICK_COLD if args.quick else COLD)
    if count < 1 or frames < 2 or cold_starts < 0:
        raise BadInput(f"--questions, --frames and --cold-starts are {count}, {frames} and {cold_starts}: too few")
    warmup = QUICK_WARMUP if args.quick else WARMUP
    config = config_of(args.think, args.threads, args.gpu_layers)
    with tried_model(args.model, seed=args.seed) as tried:
        said = {"runtime": config, "questions": count, "warmup": warmup, "frames": frames, "quick": args.quick}
        report = Report("query", args.out, said | {"seed": args.seed})
        report.card()
        report.add("model", tried.as_dict())
        report.add("recording", f"synthetic room {args.seed}" if data is None else data.name)
        if tried.random:
            print(f"note     {NONSENSE}")
        report.not_measured("accuracy", "no model with trained weights was given, or its truth is not known here")
        with MemorySampler(report.folder / "telemetry.csv") as memory, ExitStack() as stack:
            grounder = stack.enter_context(open_grounder(config, str(tried.folder)))
            with recording(data, args.seed, cache, frames) as source:
                report.add("watched", watched(grounder, source, frames))
            asked = questions(warmup + count, args.seed)
            for question in asked[:warmup]:
                ask(grounder, question)
            bar = tqdm(asked[warmup:], desc="questions", disable=None, leave=False)
            answered = [ask(grounder, question) for question in bar]
        _say_answers(report, answered, config)
        _say_memory(report, memory)
        options = {
            "seed": args.seed,
            "cache": str(cache.resolve()),
            "room_frames": frames,
            "frames": min(frames, COLD_FRAMES),
            "think": args.think,
            "threads": args.threads,
            "gpu_layers": args.gpu_layers,
        }
        # one after another, and none beside the grounder above, whose worker would take a core
        starts = [
            cold_start(tried.folder.resolve(), None if data is None else data.resolve(), options)
            for _ in range(cold_starts)
        ]
        _say_cold(report, starts)
    report.finish()
    return 0


def _say_answers(report: Report, answered: Sequence[Asked], config: Config) -> None:
    with (report.folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for one in answered:
            file.write(json.dumps(asdict(one)) + "\n")
    total = summarise([one.total_ms for one in answered])
    report.add("total", asdict(total))
    report.add("statuses", statuses(answered))
    report.add("share_reaching_stage", reached(answered))
    timed = [one for one in answered if one.stages]
    if timed:
        report.add("unattributed_percent", 100.0 * float(np.mean([one.unattributed for one in timed])))
        report.add("unattributed_percent_max", 100.0 * max(one.unattributed for one in timed))
    else:
        for key in ("unattributed_percent", "unattributed_percent_max"):
            report.not_measured(key, "every question ended in an error")
    stages = {
        name: [one.stages[name] for one in answered if name in one.stages]
        for name in dict.fromkeys(name for one in answered for name in one.stages if name != "total")
    }
    summaries = {name: summarise(times) for name, times in stages.items()}
    report.add("stages", {name: asdict(one) for name, one in summaries.items()})
    rows = [_row("total", total, len(answered))]
    rows += [_row(name, one, len(answered)) for name, one in summaries.items()]
    think = config.limits.think_tokens
    title = f"Question to answer, {len(answered)} questions, {think} tokens of thinking a call, isolation "
    header = ("stage", "p50", "p90", "mean", "max", "share of questions")
    report.table(title + config.reasoner.isolation, header, rows)
    if timed:
        share = report.as_dict()["results"]["unattributed_percent"]
        print(f"in no stage: {share:.2f} % of the total (target: below {TARGET_UNATTRIBUTED:g} %)")
    print("ended: " + ", ".join(f"{status} {n}" for status, n in statuses(answered).items()))


def _row(name: str, summary: Summary, asked: int) -> tuple[str, ...]:
    label = f"- {name}" if "." in name else name
    mean, most = f"{summary.mean_ms:.3g} ms", f"{summary.max_ms:.3g} ms"
    return label, summary.cell(50), summary.cell(90), mean, most, f"{summary.n / asked:.0%}"


def _say_memory(report: Report, memory: MemorySampler) -> None:
    summary = memory.summary()
    report.add("memory", summary)
    report.add("peak_rss_bytes", summary["rss_peak_bytes"])
    pss = summary["pss_peak_bytes"]
    said = "PSS not readable" if pss is None else f"PSS {pss / 1e6:.0f} MB"
    print(f"peak of {summary['processes_max']} processes: RSS {summary['rss_peak_bytes'] / 1e6:.0f} MB, {said}")


def _say_cold(report: Report, starts: Sequence[dict[str, Any]]) -> None:
    if not starts:
        report.not_measured("cold_start", "--cold-starts 0")
        return
    keys = (*PARTS, "total_ms")
    summaries = {key: summarise([start[key] for start in starts]) for key in keys}
    report.add("cold_start", {"runs": starts, **{key: asdict(one) for key, one in summaries.items()}})
    rows = [
        (key.removesuffix("_ms"), f"{one.mean_ms:.4g} ms", f"{one.max_ms:.4g} ms") for key, one in summaries.items()
    ]
    report.table(f"Cold start, {len(starts)} fresh processes, page cache warm", ("part", "mean", "max"), rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("query", "From a question to a 3D box, through the grounder and its worker process.")
    add_cache(parser)
    add_model(parser)
    parser.add_argument("--recording", type=Path, metavar="PATH", help="as --data")
    parser.add_argument("--questions", type=int, metavar="N", help=f"asked after the warm-up (default {QUESTIONS})")
    parser.add_argument("--frames", type=int, metavar="N", help=f"watched at the most (default {WALK_FRAMES})")
    parser.add_argument("--think", type=int, default=64, metavar="N", help="tokens a call thinks (default %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of llama.cpp (default: all cores but one)")
    parser.add_argument("--gpu-layers", type=int, default=-1, metavar="N", help="on the GPU, -1 = all (default)")
    parser.add_argument("--cold-starts", type=int, metavar="N", help=f"fresh processes (default {COLD})")
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
