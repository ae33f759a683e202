"""How good the boxes of the lift are, against their truth and simpler ways, and what they cost: `python -m
benchmarks.lift`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import NO_RECORDING, argument_parser, real_recording, run
from benchmarks.lift_again import Query, ask_again, read_queries
from benchmarks.lift_cases import QUICK_WALK, WALK, Case, cases_of, kept_frames, lift_room, often_seen
from benchmarks.lift_rivals import Rival, rivals
from benchmarks.measure import Interleaved, interleaved
from benchmarks.percentiles import samples_needed
from benchmarks.recordings import add_cache, cache_folder
from benchmarks.report import Report
from scene_r1.box import Box3D, iou
from scene_r1.lift import Lifter, MaskedView
from scene_r1_engines.errors import BadInput

ROOMS, QUICK_ROOMS = 5, 1
FIRST_ROOM = 20
ROUNDS, QUICK_ROUNDS = 100, 12
K = 16
VIEWS = 16
LIFT = "lift"
TARGETS = {
    "large": {"acc50_clean": ">= 0.85", "acc50_noisy": ">= 0.70"},
    "small": {"acc25_clean": ">= 0.80"},
    "ms_16_views": "<= 25",
}

KEYS = ("mean_iou", "acc25", "acc50")
Masks = Literal["clean", "noisy"]
MASKS: tuple[Masks, ...] = ("clean", "noisy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One box of one object. iou: with the truth, 0 where there is no box.

    errors_in_spreads: (6 faces) how far off each is, in spreads of that box; empty where the method gives none.
    """

    method: str
    masks: Masks
    is_large: bool
    iou: float
    errors_in_spreads: tuple[float, ...] = ()


class Trial:
    """Lifts cases by every method, and adds up what the lift itself takes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.objects: list[dict[str, Any]] = []
        self.views: list[int] = []
        self._lift = Lifter()
        self._rivals: Mapping[str, Rival] = rivals()
        self._spent_ns: list[int] = []

    @property
    def ms_per_view(self) -> float:
        """Thread CPU time of all lifts over all their views; the first lift, which may compile, is done twice."""
        return sum(self._spent_ns) / 1e6 / sum(self.views)

    def __call__(self, case: Case) -> None:
        row: dict[str, Any] = {"room": case.room, "id": case.id, "name": case.name, "size_m": case.truth.size}
        self.objects.append(row | {"views": len(case.views)})
        for masks in MASKS:
            views = case.clean() if masks == "clean" else case.noisy()
            if not self._spent_ns:
                self._lift(views)
            start = time.thread_time_ns()
            box = self._lift(views).box
            self._spent_ns.append(time.thread_time_ns() - start)
            self.views.append(len(views))
            off = () if box is None else in_spreads(box, case.truth)
            self._judge(LIFT, masks, case, box, off)
            for name, rival in self._rivals.items():
                self._judge(name, masks, case, rival(views))

    def _judge(self, method: str, masks: Masks, case: Case, box: Box3D | None, off: tuple[float, ...] = ()) -> None:
        overlap = 0.0 if box is None else iou(box, case.truth)
        if method == LIFT:
            self.objects[-1][f"iou_{masks}"] = overlap
        self.outcomes.append(Outcome(method, masks, case.is_large, overlap, off))

    def figures(self, method: str, is_large: bool) -> dict[str, float] | None:
        """acc25, acc50 (share of objects with at least that IoU) and mean_iou by kind of masks; None: no object."""
        out: dict[str, float] = {}
        for masks in MASKS:
            ious = np.array([o.iou for o in self._of(method, masks) if o.is_large == is_large])
            if len(ious) == 0:
                return None
            out |= {
                f"acc25_{masks}": float(np.mean(ious >= 0.25)),
                f"acc50_{masks}": float(np.mean(ious >= 0.5)),
                f"mean_iou_{masks}": float(np.mean(ious)),
                "objects": len(ious),
            }
        return out

    def calibration(self, masks: Masks) -> dict[str, float] | None:
        """Whether a face is as far off as the box says. A perfect spread has a median of about 1, a normal error 95 %
        within two. None: no box."""
        off = np.array([o.errors_in_spreads for o in self._of(LIFT, masks) if o.errors_in_spreads])
        if len(off) == 0:
            return None
        return {
            "rms_error_in_spreads_median": float(np.median(np.sqrt(np.mean(off**2, axis=1)))),
            "faces_within_2_spreads": float(np.mean(off <= 2.0)),
            "boxes": len(off),
        }

    def _of(self, method: str, masks: Masks) -> list[Outcome]:
        return [o for o in self.outcomes if o.method == method and o.masks == masks]


def in_spreads(box: Box3D, truth: Box3D) -> tuple[float, ...]:
    """Distance of each of the six faces from the truth's, over the box's spread; empty for a box that gives none."""
    off: NDArray[np.float64] = np.abs(np.concatenate([box.low - truth.low, box.high - truth.high]))
    return tuple(float(x) for x in off / box.spread_m) if box.spread_m > 0.0 else ()


def timed_16_views(views: Sequence[MaskedView], rounds: int, seed: int) -> Interleaved:
    """The lift and its rivals on the same views, side by side."""
    lift = Lifter()
    candidates: dict[str, Any] = {LIFT: lambda: lift(views)}
    candidates |= {name: (lambda rival=rival: rival(views)) for name, rival in rivals().items()}
    return interleaved(candidates, rounds, seed=seed)


def measure(args: argparse.Namespace) -> int:
    data, cache = real_recording(args), cache_folder(args)
    rooms = args.rooms if args.rooms is not None else (QUICK_ROOMS if args.quick else ROOMS)
    if rooms < 1:
        raise BadInput(f"--rooms is {rooms}: at least one room is needed")
    queries = None if data is None else read_queries(data)
    walk, rounds = (QUICK_WALK, QUICK_ROUNDS) if args.quick else (WALK, ROUNDS)
    config = {"rooms": rooms, "seed": args.seed, "walk": asdict(walk), "k": K, "quick": args.quick}
    report = Report("lift", args.out, config)
    report.card()
    trial, to_time = Trial(), None
    for seed in range(args.seed, args.seed + rooms):
        with lift_room(seed, cache, walk) as room:
            cases = cases_of(room, kept_frames(room, K))
            for case in cases:
                trial(case)
            to_time = to_time or often_seen(room, cases, VIEWS)
        print(f"room {seed}: {len(cases)} objects", file=sys.stderr)
    if not trial.outcomes:
        raise BadInput(f"no object of {rooms} rooms was seen well enough: give more --rooms or another --seed")
    _say_accuracy(report, trial)
    _say_cost(report, trial, to_time, rounds, args.seed)
    _say_again(report, data, queries)
    report.finish()
    return 0


def _say_accuracy(report: Report, trial: Trial) -> None:
    rows = []
    for size in ("large", "small"):
        figures = trial.figures(LIFT, size == "large")
        if figures is None:
            report.not_measured(size, f"no {size} object was seen well enough")
            continue
        report.add(size, figures)
        for method in (LIFT, *rivals()):
            cells = trial.figures(method, size == "large") or {}
            rows.append((f"{size}, {method}", *(f"{cells[f'{key}_{m}']:.3f}" for m in MASKS for key in KEYS)))
        wanted: Any = TARGETS[size]
        rows.append((f"{size}, target", *(wanted.get(f"{key}_{m}", "-") for m in MASKS for key in KEYS)))
    header = ("objects and method", *(f"{key} {m}" for m in MASKS for key in KEYS))
    report.table(f"Boxes of {len(trial.views) // 2} objects against their truth", header, rows)
    sizes = {"large": True, "small": False}
    report.add("rivals", {name: {s: trial.figures(name, big) for s, big in sizes.items()} for name in rivals()})
    report.add("objects", trial.objects)
    report.add("views_per_object_mean", float(np.mean(trial.views)))
    calibration = {masks: trial.calibration(masks) for masks in MASKS}
    report.add("spread", calibration)
    spreads = [(masks, *(f"{v:.3g}" for v in c.values())) for masks, c in calibration.items() if c is not None]
    report.table(
        "Is a face as far off as its spread says?", ("masks", "rms error / spread", "within 2", "boxes"), spreads
    )


def _say_cost(
    report: Report, trial: Trial, to_time: tuple[Case, list[MaskedView]] | None, rounds: int, seed: int
) -> None:
    report.add("ms_per_view", trial.ms_per_view)
    if to_time is None:
        for key in ("ms_16_views", "ms_16_views_p90", "timing_16_views"):
            report.not_measured(key, f"no object is in {VIEWS} frames of its walk: give more --rooms")
        return
    case, views = to_time
    timed = timed_16_views(views, rounds, seed)
    summary = timed.timings[LIFT].summary("cpu")
    for key, value, needed in (
        ("ms_16_views", summary.p50_ms, 50),
        ("ms_16_views_p90", summary.p90_ms, 90),
    ):
        if value is None:
            report.not_measured(key, f"p{needed} takes {samples_needed(needed)} rounds, there were {timed.rounds}")
        else:
            report.add(key, value)
    pixels = float(np.mean([np.count_nonzero(view.mask) for view in views]))
    what = {"room": case.room, "object": case.name, "views": len(views), "mask_px_mean": pixels}
    report.add("timing_16_views", what | timed.as_dict())
    rows = []
    for name, timing in timed.timings.items():
        by_cpu = timing.summary("cpu")
        target = TARGETS["ms_16_views"] if name == LIFT else "-"
        rows.append((name, by_cpu.cell(50), by_cpu.cell(90), f"{by_cpu.min_ms:.3g} ms", target))
    title = f"Thread CPU time, {VIEWS} views of the {case.name} of room {case.room}, {pixels:.0f} px a mask"
    report.table(title, ("method", "p50", "p90", "least", "target p50, ms"), rows)


def _say_again(report: Report, data: Path | None, queries: Sequence[Query] | None) -> None:
    if data is None:
        report.not_measured("real_recording", NO_RECORDING)
    elif queries is None:
        report.not_measured("real_recording", f"{data.name} has no queries.json")
    else:
        answers = ask_again(data, queries, K)
        report.add("real_recording", {"name": data.name, "queries": answers})
        keys = ("frame", "views", "other_frame", "other_views", "centers_apart_cm", "iou")
        rows = [(a["query"], *(a[key] for key in keys)) for a in answers]
        report.table(f"The same thing from two frames of {data.name}", ("query", *keys), rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("lift", "Boxes lifted from masks, against their truth and against simpler ways.")
    parser.set_defaults(seed=FIRST_ROOM)
    add_cache(parser)
    parser.add_argument(
        "--rooms",
        type=int,
        metavar="N",
        help=f"synthetic rooms, from --seed on (default {ROOMS}; --quick: {QUICK_ROOMS})",
    )
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
