"""`plot`: the logs of a run as pictures, and the evaluations as a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.run import Run

PANELS: dict[str, tuple[tuple[str, ...], ...]] = {
    # log: what each of its panels shows
    "vision": (("loss",), ("kind", "color", "thing"), ("iou", "half")),
    "language": (
        ("coordinates", "one_words", "walk_words"),
        ("one_right", "walk_right"),
        ("one_looks", "walk_looks", "fetched_iou"),
    ),
    "grpo": (("reward", "format"), ("when", "where", "answer"), ("thought",), ("divergence",)),
}
SMOOTH = 25
"""Steps of reinforcement that one point of its curves is the mean of: single steps are all noise."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for nano-STAGE.png")


def run(args: argparse.Namespace) -> int:
    begun = Run.begin(Path(args.run), args.smoke)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for stage, panels in PANELS.items():
        log = begun.folder / f"log-{stage}.jsonl"
        if log.exists():
            path = out / f"nano-{stage}.png"
            draw(path, stage, kept(read(log)), panels)
            print(path)
    evaluations = begun.folder / "log-evaluations.jsonl"
    if evaluations.exists():
        print(table(read(evaluations)))
    return 0


def read(log: Path) -> list[dict[str, Any]]:
    """The lines of a log. Raises BadInput for one that is damaged."""
    try:
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise BadInput(f"{log}: damaged ({error}): remove the line") from error


def kept(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the steps that a run which was stopped made after its last state, and made again."""
    found: list[dict[str, Any]] = []
    for line in lines:
        while found and found[-1]["step"] >= line["step"]:
            found.pop()
        found.append(line)
    return found


def draw(path: Path, stage: str, lines: Sequence[Mapping[str, Any]], panels: Sequence[Sequence[str]]) -> None:
    """Curves over steps, one panel beside the other."""
    from matplotlib.figure import Figure  # no display is needed so

    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if name in line]
            if stage == "grpo":
                points = _means(points)
            axes.plot([step for step, _ in points], [value for _, value in points], label=name.replace("_", " "))
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(stage)
    figure.savefig(path, dpi=90)


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The last evaluation of each stage, in Markdown."""
    last: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        last[f"{line['after']}{'' if line.get('think', True) else ', no thinking'}"] = line
    names = dict.fromkeys(name for one in last.values() for name, value in one.items() if isinstance(value, list))
    rows = ["| | " + " | ".join(last) + " |", "|---" * (len(last) + 1) + "|"]
    for name in names:
        cells = [f"{v[0]:.3f} ({v[1]:.3f}–{v[2]:.3f})" if (v := one.get(name)) else "" for one in last.values()]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _means(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    groups = [points[i : i + SMOOTH] for i in range(0, len(points), SMOOTH)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
