"""Accuracy on a published data set that somebody put on this disk, by its own metric."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import groupby, islice
from typing import Any, TextIO

from tqdm import tqdm

from benchmarks.grounding.datasets import Case, Outcome, Scorer, open_dataset
from benchmarks.grounding.run import Bench, Watched, bench
from benchmarks.grounding.summary import latency
from benchmarks.grounding.told import Told
from benchmarks.memory import MemorySampler
from benchmarks.report import Report
from scene_r1.answer import Answer
from scene_r1.config import Config
from scene_r1.grounder import Grounder, reasoner_of
from scene_r1.sources import open_source
from scene_r1_engines.errors import BadConfig, BadInput, SceneR1Error


def measure(args: argparse.Namespace, config: Config, report: Report) -> int:
    """Every case whose recording is on this disk. Raises BadInput where there is none.

    A recording that cannot be read, and a question that raises, count as failed, which is wrong and no abstention.
    """
    if args.data is None:
        raise BadConfig(f"--dataset {args.dataset} needs --data DIR, where its files are")
    dataset = open_dataset(args.dataset, args.data, args.queries)
    scorer, told = dataset.scorer(), Told()
    seconds: list[float] = []
    off_disk: dict[str, int] = {}
    failed: dict[str, str] = {}
    streamed = 0
    opened = reasoner_of(config, args.model)
    path = report.folder / "questions.jsonl"
    with (
        MemorySampler(report.folder / "telemetry.csv") as memory,
        bench(config, told, opened) as judge,
        path.open("w", encoding="utf-8") as file,
        tqdm(total=dataset.total, disable=None, leave=False) as bar,
    ):
        for scene, cases in groupby(dataset.cases(), key=lambda case: case.scene):
            if args.scenes is not None and streamed >= args.scenes:
                break
            own = list(cases)
            if own[0].recording is None:
                off_disk[scene] = len(own)
            else:
                streamed += 1
                why = _scene(judge, own, args.every or 1, scorer, seconds, file, bar.update)
                if why:
                    failed[scene] = why
    if not seconds and not failed:
        raise BadInput(f"{args.data}: none of the recordings of {args.dataset} is on this disk: see docs/data.md")
    report.add("dataset", {"name": dataset.name, "cases": dataset.total, "asked": len(seconds)})
    report.add("not_on_disk", {"scenes": len(off_disk), "cases": sum(off_disk.values())})
    report.add("failed", failed)
    result = scorer.result()
    report.add("scores", result)
    for key, value in latency(seconds).items():
        report.add(key, value)
    report.add("peak_rss_bytes", memory.summary()["rss_peak_bytes"])
    _say(report, result)
    return 0


def _scene(
    judge: Bench,
    cases: list[Case],
    every: int,
    scorer: Scorer,
    seconds: list[float],
    file: TextIO,
    advance: Callable[[], Any],
) -> str:
    """One scene's recording, and its cases. Returns why it failed, if it did; its cases are failed then."""
    why = ""
    left = list(cases)
    try:
        assert cases[0].recording is not None
        with open_source(cases[0].recording) as source:
            frames = islice(source.frames(), 0, None, every)
            with judge.watching(frames, Watched()) as grounder:
                for case in cases:
                    outcome, row = _asked(grounder, case)
                    seconds.append(row["total_s"])
                    _hand_over(case, outcome, row, scorer, file)
                    left.pop(0)
                    advance()
    except SceneR1Error as error:
        why = f"{type(error).__name__}: {error}"
    for case in left:
        _hand_over(case, Outcome(failed=why), {"status": "failed", "reason": why}, scorer, file)
        advance()
    return why


def _asked(grounder: Grounder, case: Case) -> tuple[Outcome, dict[str, Any]]:
    begun = time.perf_counter()
    try:
        answer = grounder.ask(case.question, task=case.task)
    except SceneR1Error as error:
        total_s = time.perf_counter() - begun
        return Outcome(failed=str(error)), {"status": type(error).__name__, "reason": str(error), "total_s": total_s}
    return _outcome(answer), {**answer.to_json(), "total_s": time.perf_counter() - begun}


def _outcome(answer: Answer) -> Outcome:
    """not_found abstains; what did not finish failed."""
    if answer.status.value not in ("ok", "not_found"):
        return Outcome(failed=f"{answer.status.value}: {answer.reason}")
    boxes = () if answer.box_3d is None else (answer.box_3d,)
    points = answer.xyz if len(answer.xyz) else None
    return Outcome(boxes, points, answer.answer, confidence=min(max(answer.confidence or 0.0, 0.0), 1.0))


def _hand_over(case: Case, outcome: Outcome, row: dict[str, Any], scorer: Scorer, file: TextIO) -> None:
    scorer.add(case, outcome)
    head = {"id": case.id, "scene": case.scene, "tags": list(case.tags), "question": case.question}
    file.write(json.dumps({**head, **row}) + "\n")
    file.flush()


def _say(report: Report, result: dict[str, Any]) -> None:
    rows = result.get("rows", {})
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row if metric != "n"))
    body = [(name, row["n"], *(_cell(row.get(metric)) for metric in metrics)) for name, row in rows.items()]
    found = report.as_dict()["results"]
    report.table(f"{found['dataset']['name']}, {found['dataset']['asked']} questions", ("", "n", *metrics), body)
    left = found["not_on_disk"]
    if left["cases"]:
        print(f"not judged: {left['cases']} questions about {left['scenes']} scenes that are not on this disk")
    for scene, why in found["failed"].items():
        print(f"scene failed, its questions are wrong: {scene}: {why}")


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
