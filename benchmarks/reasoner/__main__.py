"""What a question over many keyframes costs, against the stock chat handler of llama-cpp-python: `python -m
benchmarks.reasoner`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.arguments import NO_RECORDING, argument_parser, real_recording, run
from benchmarks.percentiles import Summary
from benchmarks.reasoner.cache import bytes_per_keyframe, rebuild_ms, saved_and_restored, settled, watch_all
from benchmarks.reasoner.model import Tried, add_model, tried_model
from benchmarks.reasoner.plan import PLAN, Plan, plan_of
from benchmarks.reasoner.questions import QUESTION, asked, decode_cost, encodes_per_question
from benchmarks.reasoner.race import Race, pictures, race
from benchmarks.reasoner.random_shapes import SHAPES
from benchmarks.reasoner.soak import HELD, soaked
from benchmarks.reasoner.stock import DIFFERENCES, StockHandler, data_uri
from benchmarks.reasoner.stream import LONG, streamed
from benchmarks.recordings import WALK_FRAMES, add_cache, cache_folder, room_walk
from benchmarks.report import Report
from scene_r1.sources import open_source
from scene_r1_engines.answer_format.prompts import Prompts
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.llama.settings import KV_TYPES, LlamaSettings

STREAM_K = 16
TARGETS = {"ttft_speedup_k16": ">= 15", "image_encodes_per_question": "0", "encodes_per_1000_frames": "<= 30"}


def measure(args: argparse.Namespace) -> int:
    plan, data, cache = plan_of(args), real_recording(args), cache_folder(args)
    with ExitStack() as stack:
        if args.real_size is not None:
            print(f"a random {args.real_size} is written, which takes a minute", file=sys.stderr)
        tried = stack.enter_context(tried_model(args.model, args.real_size, args.seed))
        config = asdict(plan) | {"kv_type": args.kv_type, "seed": args.seed, "quick": args.quick}
        report = Report("reasoner", args.out, config)
        report.card()
        report.add("model", tried.as_dict())
        report.add("targets", TARGETS)
        settings = partial(
            LlamaSettings,
            str(tried.folder),
            kv_type=args.kv_type,
            threads=args.threads,
            gpu_layers=args.gpu_layers,
        )
        _race_and_cache(report, tried, settings, plan, args.seed)
        if args.real_size is None:
            _stream(report, args, settings, data, cache)
            _soak(report, settings, plan, args.seed)
    report.finish()
    return 0


def _race_and_cache(
    report: Report, tried: Tried, settings: Callable[..., LlamaSettings], plan: Plan, seed: int
) -> None:
    """Everything that is asked of settled reasoners, one for each number of keyframes."""
    most = plan.keyframes[-1]
    shown = pictures(most, plan.image, seed)
    at_once = {"image_pixels": plan.image**2, "encode_after_s": 0.0, "encode_every_s": 0.0}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="scene-r1-"))
        ours: dict[int, LlamaReasoner] = {}
        settle_s: dict[int, float] = {}
        for k in plan.keyframes:
            ours[k] = stack.enter_context(
                LlamaReasoner(settings(keyframes=k, cache=f"{folder}/{k}", answer_tokens=plan.think + 64, **at_once))
            )
            watch_all(ours[k], shown[:k])
            start = time.perf_counter()
            settled(ours[k])
            settle_s[k] = time.perf_counter() - start
            _say_time_left(settle_s[k], k, plan)
        last = ours[most]
        report.add("settle_ms", {str(k): 1e3 * seconds for k, seconds in settle_s.items()})
        report.add("n_ctx", {str(k): one.context.n_ctx for k, one in ours.items()})
        report.add("threads", last.settings.working_threads)
        report.add("image_encodes_per_question", encodes_per_question(last))
        stock = stack.enter_context(StockHandler(tried.manifest, last.settings, last.context.n_ctx))
        # The handler is given PNGs: decoding them is a hundredth of the vision tower's time.
        uris = [(float(i), data_uri(picture)) for i, picture in enumerate(shown)]
        candidates: dict[str, Any] = {}
        for k in plan.keyframes:
            told = Prompts.of(tried.manifest.prompt).when_text(QUESTION, 0.0, float(k - 1))
            candidates[f"ours k={k}"] = partial(asked, ours[k], plan.think)
            tokens = asked(ours[k], plan.think).generated_tokens
            candidates[f"stock k={k}"] = partial(stock.ask, uris[:k], told, tokens)
        run = race(candidates, plan.rounds, warmup_rounds=plan.warmup_rounds, seed=seed)
        _say_race(report, run, plan)
        _say_cache(report, last, shown, plan, seed)


def _say_time_left(settle_s: float, k: int, plan: Plan) -> None:
    """How long race and cache will take, as far as encoding k keyframes tells: a stock question costs as much, and a
    round of the cache's figures about four times as much as the most keyframes."""
    a_keyframe_s = settle_s / k
    asked_of = sum(plan.keyframes) * (plan.rounds + plan.warmup_rounds)
    left_s = a_keyframe_s * (asked_of + 4 * plan.keyframes[-1] * plan.rounds)
    print(f"{k} keyframes encoded in {settle_s:.1f} s; about {left_s / 60:.1f} minutes to go", file=sys.stderr)


def _say_race(report: Report, run: Race, plan: Plan) -> None:
    rows = []
    for k in plan.keyframes:
        ours, stock = f"ours k={k}", f"stock k={k}"
        first, total = run.first.ratio(stock, ours), run.total.ratio(stock, ours)
        report.add(f"ttft_speedup_k{k}", first.median)
        report.add(f"total_speedup_k{k}", total.median)
        for name, which in (("", ours), ("stock_", stock)):
            report.add(f"{name}ttft_ms_k{k}", _middle(run.first.timings[which].summary()))
            report.add(f"{name}total_ms_k{k}", _middle(run.total.timings[which].summary()))
            cells = [_cell(one.timings[which].summary()) for one in (run.first, run.total)]
            ratios = (str(first), str(total)) if which == ours else ("-", "-")
            rows.append((which, *cells, run.last[which].generated_tokens, run.last[which].encodes, *ratios))
    fewest, most = plan.keyframes[0], plan.keyframes[-1]
    if most > fewest:
        growth = run.first.ratio(f"ours k={most}", f"ours k={fewest}")
        report.add(f"ttft_k{most}_vs_k{fewest}", growth.median)
    report.add("stock_image_encodes_per_question", run.last[f"stock k={most}"].encodes)
    report.add(
        "race",
        {
            "rounds": run.first.rounds,
            "warmup_rounds_discarded": run.first.warmup_rounds,
            "order": "round-robin, shuffled anew each round",
            "generated_tokens": {name: one.generated_tokens for name, one in run.last.items()},
            "image_encodes": {name: one.encodes for name, one in run.last.items()},
            "first_token_ms": {name: list(one.wall_ms) for name, one in run.first.timings.items()},
            "total_ms": {name: list(one.wall_ms) for name, one in run.total.timings.items()},
            "differences": DIFFERENCES,
        },
    )
    ratios_of = ("first: stock/ours", "total: stock/ours")
    header = ("question over keyframes", "first token", "total", "tokens", "encodes", *ratios_of)
    report.table(f"A question over k keyframes of {plan.image} x {plan.image} px, wall clock, median", header, rows)
    if most > fewest:
        print(f"first token of ours, k = {most} against k = {fewest}: {growth}")


def _say_cache(report: Report, reasoner: LlamaReasoner, shown: Sequence[Any], plan: Plan, seed: int) -> None:
    k = len(shown)
    for key, value in bytes_per_keyframe(reasoner, shown).items():
        report.add(key, value)
    rebuilt = rebuild_ms(reasoner, shown, plan.rounds, seed, plan.anew)
    report.add("rebuild_ms", {"k": k, **{name: asdict(one) for name, one in rebuilt.items()}})
    kept = saved_and_restored(reasoner, shown, plan.rounds)
    for key, value in kept.items():
        report.add(key, asdict(value) if isinstance(value, Summary) else value)
    rows = [(f"evict the {name} of {k}", _cell(rebuilt[name])) for name in ("first", "middle", "last")]
    rows += [("prefix from its first token, pictures kept", _cell(rebuilt["prefill_all"]))]
    if plan.anew:
        rows += [("prefix and every picture from anew", _cell(rebuilt["anew"]))]
    rows += [(f"save the cells ({kept['saved_bytes']} bytes)", _cell(kept["save_ms"]))]
    rows += [("restore pictures and cells from disk, checked", _cell(kept["restore_ms"]))]
    report.table("Until the prefix is whole again", ("what", "median"), rows)
    cost = decode_cost(reasoner, max(16, plan.think), plan.rounds)
    for key, value in cost.items():
        report.add(key, value)
    print(f"{cost['decode_ms_per_token']:.3g} ms a token, {cost['decode_python_share']:.0%} of it outside llama.cpp")


def _stream(
    report: Report, args: argparse.Namespace, settings: Callable[..., LlamaSettings], data: Any, cache: Any
) -> None:
    frames = args.frames or (40 if args.quick else LONG)
    found: dict[str, Any] = {}
    if data is None:
        report.not_measured("real_recording", NO_RECORDING)
    else:
        with open_source(data) as source:
            found[data.name] = streamed(source, settings(keyframes=STREAM_K), frames)
    with room_walk(args.seed, cache, min(frames, WALK_FRAMES)) as room:
        found[f"room {args.seed}"] = streamed(room, settings(keyframes=STREAM_K), frames)
    report.add("streams", found)
    report.add("encodes_per_1000_frames", {name: one["encodes_per_1000_frames"] for name, one in found.items()})
    per_1000 = ("encodes_per_1000_frames", "after_first_k_per_1000_frames", "inserted_per_1000_frames")
    keys = ("frames", "duration_s", "inserted", "encodes", *per_1000)
    rows = [(name, *(f"{one[key]:.3g}" for key in keys)) for name, one in found.items()]
    report.table(f"Pictures through the vision tower while watching, k = {STREAM_K}", ("recording", *keys), rows)


def _soak(report: Report, settings: Callable[..., LlamaSettings], plan: Plan, seed: int) -> None:
    held = settings(keyframes=HELD + 1, answer_tokens=64, encode_after_s=0.0, encode_every_s=0.0)
    flat = soaked(held, plan.soak_image, plan.soak_questions, seed)
    report.add("soak", flat)
    report.add("rss_growth_percent", flat["rss_growth_percent"])
    said = f"{flat['questions']} questions and {flat['cycles']} keyframes: growth {flat['rss_growth_percent']:.2f} %, "
    print(f"\nmemory over {said}max - min {flat['rss_spread_bytes'] / 1e6:.2f} MB (target: within 2 %)")


def _middle(summary: Summary) -> float:
    """The median where enough samples stand behind it, else the mean; `race` in the result has every sample."""
    return summary.mean_ms if summary.p50_ms is None else summary.p50_ms


def _cell(summary: Summary) -> str:
    return summary.cell(50) if summary.p50_ms is not None else f"mean {summary.mean_ms:.4g} ms (n={summary.n})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("reasoner", "Questions over keyframes that were encoded once, against the stock handler.")
    add_cache(parser)
    add_model(parser)
    parser.add_argument(
        "--real-size", choices=sorted(SHAPES), help="write random weights of that size and measure them"
    )
    parser.add_argument("--keyframes", "-k", type=int, nargs="+", metavar="K", help="numbers of keyframes (4 8 16)")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of the race (default {PLAN.rounds})")
    parser.add_argument("--image", type=int, metavar="PX", help=f"side of the pictures (default {PLAN.image})")
    parser.add_argument("--think", type=int, metavar="N", help=f"tokens a question thinks (default {PLAN.think})")
    parser.add_argument("--frames", type=int, metavar="N", help="of a recording, there and back (default 1000)")
    parser.add_argument("--threads", type=int, metavar="N", help="of llama.cpp (default: all cores but one)")
    parser.add_argument("--gpu-layers", type=int, default=-1, metavar="N", help="on the GPU, -1 = all (default)")
    parser.add_argument("--kv-type", choices=KV_TYPES[1:], default="f16", help="of the KV cache (default %(default)s)")
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
