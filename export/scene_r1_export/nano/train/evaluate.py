"""How good the model is in torch, on rooms that it has not seen: rewards of each task with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.train.rollout import prefix_of, scene_of, thought_tokens, try_answers
from scene_r1_export.nano.words import Language
from scene_r1_export.rewards import WhenTruth, WhereTruth

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """One question. task: when, where or answer; there: whether what it asks for is there (always, for answer)."""

    task: str
    there: bool
    form: float
    worth: float
    thought: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean of `count` values and the interval that holds it with 95 %, by bootstrap over questions."""

    mean: float
    low: float
    high: float
    count: int


def evaluate(
    model: Any,
    sizes: Sizes,
    language: Language,
    rooms: Sequence[RoomShard],
    walks: int,
    views: int,
    seed: int = 0,
    think: bool | None = None,
) -> list[Judged]:
    """Greedy answers to the questions of `walks` walks and `views` single views, the same for the same arguments."""
    rng = np.random.default_rng([seed, 0xE7A1])
    judged = []
    for number in range(walks + views):
        room = rooms[number % len(rooms)]
        scene = scene_of(model, sizes, room, number < walks, 8, rng, whole=True)
        if not scene.asked:
            continue
        prefix = prefix_of(model, language, sizes, scene)
        for exchange in scene.asked:
            tried = try_answers(model, language, prefix, exchange, 1, 0.0, think)
            truth = exchange.truth
            there = bool(truth.windows_s) if isinstance(truth, WhenTruth) else True
            there = truth.box is not None if isinstance(truth, WhereTruth) else there
            rewards = tried[0].rewards
            length = thought_tokens(language, tried) if think is not False else 0.0
            judged.append(Judged(exchange.task, there, rewards.format, rewards.task, length))
    return judged


def figures(judged: Sequence[Judged], seed: int = 0) -> dict[str, Figure]:
    """Means by name: what answers are worth for what is there and what is not, and how they are written."""
    rng = np.random.default_rng(seed)
    return {name: _figure(np.array(values), rng) for name, values in _rows(judged).items() if values}


def gains(before: Sequence[Judged], after: Sequence[Judged], seed: int = 0) -> dict[str, Figure]:
    """What each figure has gained, question by question: far surer than two means of the same questions.

    Both by `evaluate` with the same arguments. Raises BadInput where they are about other questions.
    """
    if [(one.task, one.there) for one in before] != [(one.task, one.there) for one in after]:
        raise BadInput("the two were not asked the same questions: evaluate both with the same arguments")
    rng = np.random.default_rng(seed)
    old, new = _rows(before), _rows(after)
    return {name: _figure(np.array(new[name]) - np.array(values), rng) for name, values in old.items() if values}


def _rows(judged: Sequence[Judged]) -> dict[str, list[float]]:
    return {
        "reward": [one.form + one.worth for one in judged],
        "format": [one.form for one in judged],
        "temporal IoU": [one.worth for one in judged if one.task == "when" and one.there],
        "when: absent": [one.worth for one in judged if one.task == "when" and not one.there],
        "box IoU": [one.worth for one in judged if one.task == "where" and one.there],
        "box IoU >= 0.5": [float(one.worth >= 0.5) for one in judged if one.task == "where" and one.there],
        "where: absent": [one.worth for one in judged if one.task == "where" and not one.there],
        "answer": [one.worth for one in judged if one.task == "answer"],
        "tokens of thought": [one.thought for one in judged],
    }


def _figure(values: Any, rng: np.random.Generator) -> Figure:
    means = rng.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Figure(float(values.mean()), float(low), float(high), len(values))
