"""How much of a room the online selection keeps, at what churn and cost: `python -m benchmarks.keyframes`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import NO_RECORDING, argument_parser, real_recording, run
from benchmarks.flat_memory import FLAT_FRAMES, flat_memory
from benchmarks.percentiles import summarise
from benchmarks.recordings import WALK_FRAMES, add_cache, cache_folder, room_walk, standing_still, with_progress
from benchmarks.report import Report
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import Evaluation, KeyframeSelector, Observation, Observer, QualityMeter, SelectionSettings
from scene_r1.keyframes.evaluate import compare
from scene_r1.sources import open_source
from scene_r1_engines.errors import BadInput

KS = (8, 16, 32)
ROOMS = 5
QUICK_FRAMES = 40
STILL_FRAMES, QUICK_STILL_FRAMES = 300, 60
ONE_SECOND = 30
FLAT_K = 16
NO_FLATNESS = "a run of minutes: add --flatness"


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """One sequence, decoded and observed once, and selected from for each k.

    evaluations: by k. quality_ms, voxels_ms: (frames,) thread CPU time, the same for every k; selection_ms: by k.
    inserted_at: by k, the place in the sequence of the frame at which each insertion was decided. size: of depth.
    """

    name: str
    size: tuple[int, int]
    evaluations: dict[int, Evaluation]
    quality_ms: NDArray[np.float64]
    voxels_ms: NDArray[np.float64]
    selection_ms: dict[int, NDArray[np.float64]]
    inserted_at: dict[int, list[int]]

    def figures(self, k: int) -> dict[str, float]:
        """swap, greedy, uniform: f of each policy's k frames over f of all frames; *_raw: share of voxels seen."""
        e = self.evaluations[k]
        return {
            "swap": e.coverage,
            "greedy": e.coverage_greedy,
            "uniform": e.coverage_uniform,
            "swap_vs_greedy": e.coverage / e.coverage_greedy,
            "swap_vs_uniform": e.coverage / e.coverage_uniform,
            "min_prefix_ratio": e.min_prefix_ratio,
            "mean_prefix_ratio": e.mean_prefix_ratio,
            "inserted_per_1000": 1000.0 * e.inserted / e.frames,
            "ms_per_frame": e.ms_per_frame,
            "swap_raw": e.coverage_raw,
            "greedy_raw": e.coverage_raw_greedy,
            "uniform_raw": e.coverage_raw_uniform,
        }

    def times(self) -> dict[str, Any]:
        """Thread CPU time of each part of a frame and of their sum, without the first frame, which may compile."""
        shared = self.quality_ms + self.voxels_ms
        return {
            "width_px": self.size[0],
            "height_px": self.size[1],
            "quality": asdict(summarise(self.quality_ms[1:])),
            "voxels": asdict(summarise(self.voxels_ms[1:])),
            "selection": {str(k): asdict(summarise(ms[1:])) for k, ms in self.selection_ms.items()},
            "all": {str(k): asdict(summarise((shared + ms)[1:])) for k, ms in self.selection_ms.items()},
        }


def select(name: str, frames: Iterable[RgbdFrame], ks: Sequence[int], settings: SelectionSettings) -> Selection:
    """Run the selection of every k over a sequence side by side. Frames without a pose are left out.

    Raises BadInput for a sequence with fewer than two posed frames, or without a surface in any of them.
    """
    observe, judge = Observer(), QualityMeter()
    selectors = {k: KeyframeSelector(k, settings) for k in ks}
    observations: list[Observation] = []
    indices: list[int] = []
    kept_after: dict[int, list[tuple[int, ...]]] = {k: [] for k in ks}
    inserted_at: dict[int, list[int]] = {k: [] for k in ks}
    spent_ns: dict[object, list[int]] = {part: [] for part in ("quality", "voxels", *ks)}
    size = (0, 0)
    for frame in frames:
        if frame.T_world_camera is None:
            continue
        size = (frame.depth_intrinsics.width, frame.depth_intrinsics.height)
        marks = [time.thread_time_ns()]
        quality = judge(frame)
        marks.append(time.thread_time_ns())
        seen = observe(frame, quality.score)
        marks.append(time.thread_time_ns())
        spent_ns["quality"].append(marks[1] - marks[0])
        spent_ns["voxels"].append(marks[2] - marks[1])
        first = len(indices) % len(ks)  # each k is the first, with the coldest caches, as often as the others
        for k in (*ks[first:], *ks[:first]):
            start = time.thread_time_ns()
            decision = selectors[k].consider(frame, seen, quality)
            spent_ns[k].append(time.thread_time_ns() - start)
            if decision.inserted is not None:
                inserted_at[k].append(len(indices))
            kept_after[k].append(selectors[k].if_settled)
        observations.append(seen)
        indices.append(frame.index)
    for k in ks:
        if selectors[k].settle().inserted is not None:
            inserted_at[k].append(len(indices) - 1)
    if len(indices) < 2:
        raise BadInput(f"{name}: {len(indices)} frames with a pose, and a selection needs two: give another recording")
    if not any(seen.weight for seen in observations):
        raise BadInput(f"{name}: no surface within reach in any frame: is its depth scale right?")
    ms = {part: np.array(spent) / 1e6 for part, spent in spent_ns.items()}
    evaluations = {}
    for k in ks:
        total_ns = round(1e6 * float((ms["quality"] + ms["voxels"] + ms[k])[1:].sum()))
        inserted = selectors[k].counters.inserted
        evaluations[k] = compare(observations, indices, kept_after[k], k, inserted, total_ns)
    return Selection(name, size, evaluations, ms["quality"], ms["voxels"], {k: ms[k] for k in ks}, inserted_at)


def stood_still(seed: int, frames: int, ks: Sequence[int], settings: SelectionSettings) -> dict[str, dict[str, int]]:
    """Insertions of a camera that does not move: in its first second and afterwards, when nothing new is to be seen."""
    chosen = select(f"standing in room {seed}", standing_still(seed, frames), ks, settings)
    out = {}
    for k in ks:
        early = sum(at < ONE_SECOND for at in chosen.inserted_at[k])
        out[str(k)] = {"first_second": early, "afterwards": len(chosen.inserted_at[k]) - early}
    return out


def over_rooms(rooms: Sequence[Selection], ks: Sequence[int]) -> dict[str, dict[str, float]]:
    """Mean and worst of the rooms, for each k."""
    out = {}
    for k in ks:
        rows = [room.figures(k) for room in rooms]
        ratios = [row["swap_vs_greedy"] for row in rows]
        out[str(k)] = {
            "rooms": float(len(rows)),
            "swap_vs_greedy_mean": float(np.mean(ratios)),
            "swap_vs_greedy_min": min(ratios),
            "swap_vs_uniform_mean": float(np.mean([row["swap_vs_uniform"] for row in rows])),
            "min_prefix_ratio_min": min(row["min_prefix_ratio"] for row in rows),
            "inserted_per_1000_mean": float(np.mean([row["inserted_per_1000"] for row in rows])),
            "inserted_per_1000_max": max(row["inserted_per_1000"] for row in rows),
        }
    return out


def measure(args: argparse.Namespace) -> int:
    data, cache, ks = real_recording(args), cache_folder(args), sorted(set(args.k))
    if args.rooms < 0 or (args.rooms == 0 and data is None):
        raise BadInput(f"--rooms is {args.rooms}: at least one room is needed where no --data is given")
    settings = SelectionSettings(**{field.name: getattr(args, field.name) for field in fields(SelectionSettings)})
    config = {"k": ks, "rooms": args.rooms, "seed": args.seed, "quick": args.quick, "selection": asdict(settings)}
    report = Report("keyframes", args.out, config)
    report.card()
    flat = None
    if args.flatness is not None:  # first, while the process is small: what later parts hold would hide a leak
        csv_path = report.folder / "telemetry.csv"
        flat = flat_memory(
            data, cache, args.flatness, k=FLAT_K, settings=settings, seed=args.seed, quick=args.quick, csv_path=csv_path
        )
    selections = []
    if data is not None:
        with open_source(data) as source:
            read = islice(source.frames(), QUICK_FRAMES if args.quick else None)
            name = Path(source.info.path).name
            selections.append(select(name, with_progress(read, source.info.frames, name), ks, settings))
    rooms, still = [], {}
    length = QUICK_FRAMES if args.quick else WALK_FRAMES
    for seed in range(args.seed, args.seed + args.rooms):
        name = f"room {seed}"
        with room_walk(seed, cache, length) as room:
            rooms.append(select(name, with_progress(room.frames(), length, name), ks, settings))
        still_frames = QUICK_STILL_FRAMES if args.quick else STILL_FRAMES
        still[name] = stood_still(seed, still_frames, ks, settings)
    _hand_over(report, selections + rooms, rooms, still, ks)
    for key in ("rss_drift_percent", "flatness"):
        if flat is None:
            report.not_measured(key, NO_FLATNESS)
        else:
            report.add(key, flat.rss_drift_percent if key == "rss_drift_percent" else flat.as_dict())
    if flat is not None:
        rows = [(key, f"{value:,.6g}") for key, value in flat.as_dict().items()]
        report.table("Memory while frames stream through", ("what", "measured"), rows)
    if data is None:
        report.not_measured("real_recording", NO_RECORDING)
    report.finish()
    return 0


def _hand_over(
    report: Report,
    selections: Sequence[Selection],
    rooms: Sequence[Selection],
    still: dict[str, dict[str, dict[str, int]]],
    ks: Sequence[int],
) -> None:
    report.add("sequences", {one.name: {str(k): one.figures(k) for k in ks} for one in selections})
    report.add("thread_cpu_times", {one.name: one.times() for one in selections})
    if rooms:
        report.add("standing_still_insertions", still)
        report.add("rooms", over_rooms(rooms, ks))
    else:
        for key in ("standing_still_insertions", "rooms"):
            report.not_measured(key, "--rooms is 0")
    names = ("swap", "greedy", "uniform", "swap_vs_greedy", "min_prefix_ratio", "inserted_per_1000", "ms_per_frame")
    rows = [(one.name, k, *(f"{one.figures(k)[name]:.3f}" for name in names)) for one in selections for k in ks]
    report.table("Coverage: f of k frames over f of all frames", ("sequence", "k", *names), rows)
    cells = []
    for one in selections:
        parts = [("quality", one.quality_ms), ("voxels", one.voxels_ms)]
        parts += [(f"selection, k={k}", ms) for k, ms in one.selection_ms.items()]
        parts += [(f"all, k={k}", one.quality_ms + one.voxels_ms + ms) for k, ms in one.selection_ms.items()]
        for part, ms in parts:
            s = summarise(ms[1:])
            cells.append((f"{one.name}, {one.size[0]}x{one.size[1]}", part, s.cell(50), s.cell(95)))
    report.table("Thread CPU time a frame", ("sequence", "part", "p50", "p95"), cells)
    if not rooms:
        return
    stood = [
        (name, k, counts["first_second"], counts["afterwards"])
        for name, by_k in still.items()
        for k, counts in by_k.items()
    ]
    report.table("Standing still: insertions", ("room", "k", "first second", "afterwards"), stood)


def _number_or_none(text: str) -> float | None:
    return None if text == "none" else float(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("keyframes", "Coverage, churn and cost of keyframe selection against offline policies.")
    add_cache(parser)
    parser.add_argument(
        "-k", type=int, nargs="+", default=list(KS), metavar="K", help="keyframes held (default 8 16 32)"
    )
    parser.add_argument("--rooms", type=int, default=ROOMS, metavar="N", help=f"synthetic rooms (default {ROOMS})")
    dials = parser.add_argument_group("settings of the selection (SelectionSettings)")
    for name, default in asdict(SelectionSettings()).items():
        flag = "--" + name.replace("_", "-")
        kind = int if isinstance(default, int) else _number_or_none
        dials.add_argument(flag, dest=name, type=kind, default=default, metavar="X", help=f"default {default}")
    parser.add_argument(
        "--flatness", type=int, nargs="?", const=FLAT_FRAMES, metavar="FRAMES",
        help=f"also watch memory over so many frames (default {FLAT_FRAMES}; takes minutes)",
    )  # fmt: skip
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
