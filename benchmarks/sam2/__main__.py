"""SAM2 part by part and through whole videos, against the original in torch in one run: `python -m benchmarks.sam2`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from benchmarks.arguments import argument_parser, real_recording, run
from benchmarks.recordings import add_cache, cache_folder
from benchmarks.report import Report
from benchmarks.sam2.apart import apart
from benchmarks.sam2.film import Film
from benchmarks.sam2.filming import EVERY, recorded_room, write_film
from benchmarks.sam2.models import RANDOM, Models, add_models, tried_models
from benchmarks.sam2.original import Original
from benchmarks.sam2.parts import compared
from benchmarks.sam2.plan import PLAN, Plan, plan_of
from benchmarks.sam2.trackers import REFERENCE, Raced, raced
from benchmarks.sam2.video import Tracked
from scene_r1_engines.sam2.folder import open_folder
from scene_r1_engines.sam2.manifest import PRECISIONS, read_sam2_manifest

TARGETS = {
    "encoder_cpu_vs_torch": "<= 0.7",
    "memory_attention_7_vs_torch": "<= 0.85",
    "video_min_iou_fp32": ">= 0.9999",
    "video_min_iou_fp16": ">= 0.998",
    "video_min_iou_int8": ">= 0.97",
    "rss_growth_percent": "flat over 2,000 frames",
}
"""At 1024 px; there are none for other sizes."""
CALIBRATED = 15
"""Pictures of a synthetic room that int8 is calibrated on: as many as the export takes of any recording."""


def measure(args: argparse.Namespace) -> int:
    plan, data, cache = plan_of(args), real_recording(args), cache_folder(args)
    cv2.setNumThreads(args.threads)
    report = Report("sam2", args.out, asdict(plan) | {"threads": args.threads, "seed": args.seed, "quick": args.quick})
    report.card()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="scene-r1-")))
        pictures = max(plan.frames, CALIBRATED if "int8" in plan.precisions else 0)
        recording = data or recorded_room(args.seed, cache, pictures, folder / "room")
        film = write_film(recording, plan.frames, folder / "film", EVERY if data else 1)
        models = stack.enter_context(tried_models(args, recording))
        name = f"synthetic room {args.seed}" if data is None else data.name
        _say_what(report, models, film, {"recording": name, "every": EVERY if data else 1}, args.threads)
        # All exports before anything is timed.
        folders = {(one, plan.input_px): models.exported(one, plan.input_px) for one in plan.precisions}
        folders |= {("fp32", size): models.exported("fp32", size) for size in (*plan.sizes, plan.soak_px)}
        original = Original(models.checkpoint, models.config, plan.input_px, args.threads)
        _parts(report, original, folders["fp32", plan.input_px], plan, args)
        found = raced(models, original, folders, film, plan, args.threads, args.seed)
        _video(report, found, read_sam2_manifest(folders["fp32", plan.input_px]).memory.slots, plan)
        _memory(report, folders, film, plan, args.threads)
    report.finish()
    return 0


def _say_what(report: Report, models: Models, film: Film, of: dict[str, Any], threads: int) -> None:
    height, width = film.views[0].image.shape[:2]
    report.add("model", models.as_dict())
    report.add("film", of | {"size": [width, height], "box_xyxy": film.box})
    report.add("threads", {"torch": threads, "onnxruntime": threads, "opencv": threads})
    report.add("targets", TARGETS)
    print(f"threads  {threads} of torch, {threads} of ONNX Runtime; CPU seconds are of all threads")
    if models.random:
        print(f"note     {RANDOM}")
    report.not_measured("accuracy", "no recording with true masks was given: IoU here is with the original's masks")


def _parts(report: Report, original: Original, folder: Path, plan: Plan, args: argparse.Namespace) -> None:
    with open_folder(folder, threads=args.threads) as ours:
        rows, found = [], {}
        parts = compared(
            original, ours.manifest, ours.modules, plan.memories, plan.rounds, plan.warmup_rounds, args.seed
        )
        for one in parts:
            found[one.name] = one.as_dict()
            torch, graph = one.times.timings["torch"], one.times.timings["ours"]
            cells = [
                f"{time.mean() / 1e3:.3g} s" for time in (torch.wall_ms, graph.wall_ms, torch.cpu_ms, graph.cpu_ms)
            ]
            rows.append((one.name, *cells, str(one.ratio("wall")), str(one.ratio()), f"{one.error:.1e}"))
            print(f"{one.name}: {one.ratio()}", file=sys.stderr)
    report.add("parts", found)
    report.add("encoder_cpu_vs_torch", found["image_encoder"]["cpu_vs_torch"])
    report.add("encoder_wall_vs_torch", found["image_encoder"]["wall_vs_torch"])
    for count in plan.memories:
        attention = found[f"memory_attention {count}"]
        report.add(f"memory_attention_{count}_vs_torch", attention["cpu_vs_torch"])
    header = ("part", "torch wall", "ours wall", "torch CPU", "ours CPU", "wall ratio", "CPU ratio", "relative error")
    report.table(f"ONNX Runtime against torch at {plan.input_px} px, fp32, means of {plan.rounds}", header, rows)


def _video(report: Report, found: Raced, slots: int, plan: Plan) -> None:
    report.add("video", {name: one.as_dict(reference) for name, (one, reference) in found.items()})
    for precision in PRECISIONS:
        if precision in found:
            one, reference = found[precision]
            report.add(f"video_min_iou_{precision}", min(one.ious(reference)))
        else:
            report.not_measured(f"video_min_iou_{precision}", "left out: say --precisions")
    for size in plan.sizes:
        ours, theirs = found[f"fp32, {size} px"][0], found[f"{REFERENCE}, {size} px"][0]
        report.add(f"video_min_iou_{size}px_with_original_{size}px", min(ours.ious(theirs)))
    rows = [_row(name, *pair) for name, pair in found.items()]
    title = f"{plan.frames} frames, {slots} memory slots and {plan.input_px} px where nothing else is said"
    header = ("tracker", "wall a frame", "CPU a frame", "CPU / original", "least IoU", "mean IoU")
    report.table(title, header, rows)
    print("IoU is with the original at full setting: fewer slots and smaller pictures give other masks in both")


def _row(name: str, one: Tracked, reference: Tracked) -> tuple[str, ...]:
    said, ious = one.as_dict(reference), one.ious(reference)
    spent = [f"{said[key]:.3g} s" for key in ("mean_wall_s_per_frame", "mean_cpu_s_per_frame")]
    return name, *spent, f"{said['cpu_vs_original']:.2f}x", f"{min(ious):.5f}", f"{sum(ious) / len(ious):.5f}"


def _memory(report: Report, folders: dict[tuple[str, int], Path], film: Film, plan: Plan, threads: int) -> None:
    video = apart(
        "video",
        folder=folders["fp32", plan.input_px].resolve(),
        film=film.folder,
        threads=threads,
        questions=plan.questions,
    )
    report.add("without_torch", video)
    for key in ("peak_rss_bytes", "bytes_per_memory_slot", "feature_hits", "feature_misses"):
        report.add(key, video[key])
    mb = {key: video[key] / 1e6 for key in ("peak_rss_bytes", "bytes_per_memory_slot", "feature_bytes_per_view")}
    print(f"\nwithout torch at {plan.input_px} px: peak RSS {mb['peak_rss_bytes']:.0f} MB, a memory slot ", end="")
    print(f"{mb['bytes_per_memory_slot']:.3g} MB, features of a view {mb['feature_bytes_per_view']:.3g} MB")
    asked = ", ".join(f"{seconds:.3g} s" for seconds in video["question_s"])
    print(f"{video['questions']} questions about {video['views']} views: {video['feature_misses']} encoded, ", end="")
    print(f"{video['feature_hits']} found in the cache; {asked}")
    folder = folders["fp32", plan.soak_px].resolve()
    flat = apart("soak", folder=folder, film=film.folder, threads=threads, frames=plan.soak_frames)
    report.add("soak", flat | {"input_px": plan.soak_px})
    report.add("rss_growth_percent", flat["rss_growth_percent"])
    said = f"growth {flat['rss_growth_percent']:.3f} %, max - min {flat['rss_spread_bytes'] / 1e6:.2f} MB"
    print(f"{flat['frames']} frames of an endless stream at {plan.soak_px} px: {said}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("sam2", "SAM2 without torch against the original, part by part and through whole videos.")
    add_cache(parser)
    add_models(parser)
    whole: dict[str, Any] = {"type": int, "metavar": "N"}
    parser.add_argument("--input-px", **whole, help=f"side of the model's input (default {PLAN.input_px})")
    parser.add_argument("--frames", **whole, help=f"tracked through (default {PLAN.frames})")
    parser.add_argument("--rounds", **whole, help=f"of the parts (default {PLAN.rounds})")
    parser.add_argument("--soak-frames", **whole, help=f"of the endless stream (default {PLAN.soak_frames})")
    parser.add_argument("--threads", **whole, default=1, help="of torch, and of ONNX Runtime (default %(default)s)")
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, help="beside fp32 (default: all; with --quick none)"
    )
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
