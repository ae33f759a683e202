"""The model card: what the small model is, what it learned from, and what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CARD = """---
license: apache-2.0
---
# Scene-R1 nano

A Qwen2.5-VL of 5.6 million parameters that finds things in synthetic rooms and says why: when they are in view, where
in the picture, and a few words about them. It was trained from nothing, on CPUs, by `python -m scene_r1_export.nano`,
and is shipped so that the runtime can be tried, and judged from end to end, without a download.

## What it knows
Only the synthetic rooms of `scene_r1.rooms`: 35 kinds of objects in ten colours, on furniture, under the rooms' own
light. It has never seen a photograph, reads English of a few hundred words, and takes part in no conversation. For a
real room take a real model (docs/models.md).

## How it was trained
{trained}

## How good it is
On rooms of the split `val`, in torch, greedy, 95 % intervals by bootstrap over questions:

{table}

From end to end, through this package, see docs/nano.md: `python -m benchmarks.grounding --model nano`.
"""

TRAINED = """\
Supervised on {views} views of the split `train`: {rooms} rooms that were walked through, with keyframes by the
runtime's own selector and questions, and {looks} only to look at ({vision} steps of the vision tower, {language}
steps of language){grpo}."""
ADOPTED = "adopted.md"
"""What the card of the model says that a run began with, of how it was trained."""
WENT_ON = """\
{before}

From those weights, as they were shipped, it went on with {language} steps of language about {rooms} such rooms of the
same split{grpo}."""


def history(card: str) -> str:
    """How the model of a card was trained; empty where the card does not say."""
    _, _, after = card.partition("## How it was trained\n")
    return after.partition("\n## ")[0].strip()


def card(run: Path, stage: str) -> str:
    """The text of the card, with the figures of the run's logs as far as there are any."""
    vision, language = _last(run / "log-vision.jsonl"), _last(run / "log-language.jsonl")
    grpo = _last(run / "log-grpo.jsonl") if stage == "grpo" else {}
    found = [one for one in _lines(run / "log-evaluations.jsonl") if one.get("after") == stage]
    rows = ["| | mean | interval |", "|---|---|---|"]
    for name, value in (found[-1] if found else {}).items():
        if isinstance(value, list):
            rows.append(f"| {name} | {value[0]:.3f} | {value[1]:.3f} to {value[2]:.3f} |")
    adopted = run / ADOPTED
    trained = (WENT_ON if adopted.exists() else TRAINED).format(
        before=adopted.read_text(encoding="utf-8").strip() if adopted.exists() else "",
        views=vision.get("views", "?"),
        rooms=len(list((run / "data" / "train").glob("room-*.npz"))),
        looks=len(list((run / "data" / "looks").glob("room-*.npz"))),
        vision=vision.get("step", "?"),
        language=language.get("step", 0 if adopted.exists() else "?"),
        grpo=f", then {grpo['step']} steps of GRPO with Scene-R1's rewards" if grpo else "",
    )
    return CARD.format(trained=trained, table="\n".join(rows) if found else "Not measured.")


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _last(path: Path) -> dict[str, Any]:
    lines = _lines(path)
    return lines[-1] if lines else {}
