"""What a stage is worth: means with intervals, and what one stage has gained on another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.train.evaluate import Judged, figures, gains

RNG = np.random.default_rng(4)
BEFORE = [
    Judged(task, bool(there), 1.0, float(worth), 9.0)
    for task in ("when", "where", "answer")
    for there, worth in zip(RNG.random(60) < 0.75, RNG.random(60), strict=True)
]


def test_a_mean_lies_in_its_interval() -> None:
    found = figures(BEFORE)
    worth = [one.worth for one in BEFORE if one.task == "where" and one.there]
    assert found["box IoU"].mean == pytest.approx(np.mean(worth))
    assert found["box IoU"].count == len(worth)
    assert all(one.low <= one.mean <= one.high for one in found.values())


def test_a_small_gain_on_every_question_is_sure_where_two_means_are_not() -> None:
    after = [replace(one, worth=one.worth + 0.02) for one in BEFORE]
    apart, gained = figures(after)["reward"], gains(BEFORE, after)["reward"]
    assert apart.low < figures(BEFORE)["reward"].high
    assert gained.low == pytest.approx(0.02)
    assert gained.high == pytest.approx(0.02)


def test_answers_to_other_questions_are_not_compared() -> None:
    with pytest.raises(BadInput, match="same questions"):
        gains(BEFORE, BEFORE[1:])
