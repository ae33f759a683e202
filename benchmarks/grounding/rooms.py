"""Accuracy on synthetic rooms: made where they are missing, streamed, asked about, and compared with the truth."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from benchmarks.grounding.chance import GuessingReasoner, find_chance, vqa_levels
from benchmarks.grounding.pictures import Page
from benchmarks.grounding.run import RoomResult, Shown, bench
from benchmarks.grounding.scored import Scored
from benchmarks.grounding.summary import abstention, grounding, summary
from benchmarks.grounding.told import Told, ladder, oracles, said
from benchmarks.memory import MemorySampler
from benchmarks.recordings import cache_folder
from benchmarks.report import Report
from scene_r1.box import Box3D
from scene_r1.config import Config
from scene_r1.grounder import reasoner_of
from scene_r1.rooms.dataset import RoomScene, make_rooms, open_rooms
from scene_r1.rooms.model.splits import room_seeds
from scene_r1.watching import Replay
from scene_r1_engines.errors import BadInput
from scene_r1_engines.reasoner import Reasoner

GUESS = "guess"
FRAMES, QUICK_FRAMES = 120, 40
SIZE = (640, 480)
QUICK_SIZE = (320, 240)
RATE_HZ = 4.0


def scenes_of(args: argparse.Namespace, report: Report) -> list[RoomScene]:
    """The rooms of --data, or those of --rooms, --seed and --split, made in the cache where they are not there.

    Raises BadInput where no room can be had.
    """
    if args.data is not None:
        return list(open_rooms(args.data).scenes)[: args.rooms]
    seeds = room_seeds(args.split, args.seed, args.rooms)
    frames = args.frames or (QUICK_FRAMES if args.quick else FRAMES)
    size = args.size or (QUICK_SIZE if args.quick else SIZE)
    name = f"rooms-{args.split}-{args.seed}-{size[0]}x{size[1]}-{frames}-{args.questions}"
    folder = cache_folder(args) / name
    bar = tqdm(total=len(seeds), desc="rooms", disable=None, leave=False)
    with bar:
        made = make_rooms(
            folder,
            seeds,
            size=size,
            frames=frames,
            rate_hz=RATE_HZ * frames / FRAMES,
            questions=args.questions,
            on_room=lambda *_: bar.update(),
        )
    report.add("rooms_not_made", dict(made.failed))
    wanted = set(seeds)
    return [scene for scene in open_rooms(folder).scenes if scene.seed in wanted]


def opened(
    args: argparse.Namespace, config: Config, told: Told, scenes: Sequence[RoomScene]
) -> Callable[[Replay], Reasoner]:
    """What opens the reasoner: the model that was named, or guesses where none was."""
    if args.reasoner != GUESS:
        return reasoner_of(config, args.model)
    answers: dict[str, list[str]] = {}
    for scene in scenes:
        for question in scene.questions:
            if question.task == "vqa":
                answers.setdefault(question.family, []).append(question.answer)
    return lambda replay: GuessingReasoner(told, answers, args.seed)


def measure(args: argparse.Namespace, config: Config, report: Report) -> int:
    use = oracles(args.oracle)
    rows = [use] if args.no_ladder else list(ladder(use))
    told = Told()
    page = Page(report.folder / "pictures", args.pictures)
    results: list[RoomResult] = []
    scenes = scenes_of(args, report)
    if not scenes:
        raise BadInput("there is no room to judge by: see what was said of those that could not be made")

    def on_answer(number: int, shown: Shown) -> None:
        with (report.folder / "questions.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"oracle": said(rows[number]), **shown.scored.to_json()}) + "\n")
        if number == 0:
            page.add(shown)

    with MemorySampler(report.folder / "telemetry.csv") as memory, ExitStack() as stack:
        judge = stack.enter_context(bench(config, told, opened(args, config, told, scenes)))
        for scene in tqdm(scenes, desc="asking", unit="room", disable=None, leave=False):
            results.append(judge.judge(scene, rows, on_answer))
    failed = {result.scene: result.failed for result in results if result.failed}
    report.add("oracle", said(use))
    report.add("reasoner", args.reasoner)
    report.add("rooms", {"judged": len(results) - len(failed), "failed": failed})
    report.add("watched", _watched(results))
    main = [row for result in results for row in result.rows[0]]
    for key, value in summary(main).items():
        report.add(key, value)
    _add_levels(report, scenes, args.seed)
    ladder_rows = {said(one): [row for result in results for row in result.rows[i]] for i, one in enumerate(rows)}
    report.add("oracle_rows", {name: _rung(one) for name, one in ladder_rows.items()})
    report.add("peak_rss_bytes", memory.summary()["rss_peak_bytes"])
    report.add("memory", memory.summary())
    page.finish(f"{len(main)} questions about {len(results)} rooms, reasoner {args.reasoner}, oracle {said(use)}")
    _tables(report, ladder_rows)
    for scene, why in failed.items():
        print(f"room failed: {scene}: {why}")
    return 0


def _add_levels(report: Report, scenes: Sequence[RoomScene], seed: int) -> None:
    asked = [question for scene in scenes for question in scene.questions]
    chance, majority = vqa_levels([one for one in asked if one.task == "vqa"])
    for name, levels in (("vqa_chance", chance), ("vqa_majority", majority)):
        report.add(f"{name}_by_family", levels)
        report.add(name, sum(levels.values()) / len(levels) if levels else None)
    duration = {scene.name: scene.made.duration_s for scene in scenes}
    sizes = {scene.name: scene.made.size for scene in scenes}
    boxes = {
        scene.name: [Box3D.from_corners(one.box.low, one.box.high) for one in scene.graph.objects] for scene in scenes
    }
    report.add("find_chance", find_chance(asked, duration, sizes, boxes, seed))


def _watched(results: Sequence[RoomResult]) -> dict[str, float]:
    seen = [result.watched for result in results if not result.failed]
    frames, seconds = sum(one.frames for one in seen), sum(one.seconds for one in seen)
    return {
        "frames": frames,
        "seconds": seconds,
        "frames_per_s": frames / seconds if seconds else 0.0,
        "keyframes_mean": sum(one.keyframes for one in seen) / len(seen) if seen else 0.0,
    }


def _rung(rows: Sequence[Scored]) -> dict[str, Any]:
    there = [row for row in rows if row.there]
    find = [row for row in rows if row.vqa is None]
    return {
        "found": grounding(there),
        "large": grounding([row for row in there if row.large]),
        "small": grounding([row for row in there if not row.large]),
        **abstention(find),
    }


def _tables(report: Report, ladder_rows: dict[str, list[Scored]]) -> None:
    results = report.as_dict()["results"]
    header = ("", "n", "temporal IoU", "2D IoU@0.5", "Acc@0.25", "Acc@0.5", "mean IoU")
    keys = ("temporal_iou", "box_iou50", "acc25", "acc50", "mean_iou")

    def line(name: str, row: dict[str, Any]) -> tuple[str, ...]:
        return (name, str(row["n"]), *("-" if row.get(key) is None else f"{row[key]:.3f}" for key in keys))

    families = results["families"]
    body = [line(name, families[name]) for name in ("attribute", "relation")]
    body += [line(name, results[name]) for name in ("found", "large", "small", "held_out")]
    body.append(line("chance", {"n": "", **results["find_chance"]}))
    report.table(f"Find, reasoner {results['reasoner']}, oracle {results['oracle']}", header, body)
    rungs = [line(name, row["found"]) for name, row in results["oracle_rows"].items()]
    rungs += [line(f"{name}, >= 20 cm", row["large"]) for name, row in results["oracle_rows"].items()]
    report.table("Where the loss is: with the truth of more and more stages", header, rungs)
    score = {name: row["score"] for name, row in families.items() if "score" in row}
    chance, majority = results["vqa_chance_by_family"], results["vqa_majority_by_family"]
    vqa = [
        (name, families[name]["n"], f"{score[name]:.3f}", f"{chance[name]:.3f}", f"{majority[name]:.3f}")
        for name in score
    ]
    if vqa:
        macro = (f"{results[key]:.3f}" for key in ("vqa_acc", "vqa_chance", "vqa_majority"))
        vqa.append(("macro", results["vqa_n"], *macro))
        report.table("Answers in words", ("family", "n", "score", "chance", "majority"), vqa)
    f1 = results["abstention_f1"]
    print(f"\nabsent: {families['absent']['n']}, said so: F1 {'-' if f1 is None else format(f1, '.3f')}")
    if results["p50_s"] is not None:
        enough = "" if 90 in results["supported_percentiles"] else " (too few questions for a claim on p90)"
        find = results["find_latency"]
        print(f"to find something: p50 {find['p50_s']:.2f} s, p90 {find['p90_s']:.2f} s")
        print(f"a question: p50 {results['p50_s']:.2f} s, p90 {results['p90_s']:.2f} s{enough}")
    print(f"peak resident memory {results['peak_rss_bytes'] / 1e6:.0f} MB")
