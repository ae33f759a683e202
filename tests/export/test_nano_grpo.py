"""Reinforcement: advantages, the clipped objective, and a model that says more of what it is rewarded for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.nano_parts import language, lively_model, small_room

from scene_r1_engines.errors import BadConfig
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.state import read_state
from scene_r1_export.nano.train import rollout
from scene_r1_export.nano.train.grpo import GrpoTraining, Reinforcer, advantages, figures, policy_loss
from scene_r1_export.rewards import Rewards, Truth

SMALL = GrpoTraining(1, scenes=1, questions=2, group=6, most=6, walks=0.0)


def letters(text: str, truth: Truth) -> Rewards:
    """The share of letters in what is said: a reward that any answer earns some of."""
    said = text.removeprefix("<think>")
    return Rewards(0.0, sum(c.isalpha() for c in said) / max(1, len(said)))


@given(st.lists(st.floats(0, 2, allow_nan=False), min_size=2, max_size=12))
@settings(deadline=None)
def test_advantages_compare_answers_with_each_other(rewards: list[float]) -> None:
    worth = advantages(rewards)
    if np.std(rewards) < 1e-6:
        assert worth == (0.0,) * len(rewards)
        return
    assert np.mean(worth) == pytest.approx(0.0, abs=1e-6)
    assert np.std(worth) == pytest.approx(1.0, abs=1e-6)
    assert np.all(np.diff(np.asarray(worth)[np.argsort(rewards)]) >= 0)


def slow_loss(now: float, then: float, was: float, advantage: float, epsilon: float, beta: float) -> float:
    ratio = np.exp(now - then)
    gain = min(ratio * advantage, min(max(ratio, 1 - epsilon), 1 + epsilon) * advantage)
    return beta * (np.exp(was - now) - (was - now) - 1) - gain


def drawn(count: int) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(4)
    return tuple(torch.from_numpy(rng.normal(0, 0.4, count)) for _ in range(4))


def test_the_loss_is_the_clipped_objective_token_by_token() -> None:
    now, then, was, advantage = drawn(60)
    loss, divergence = policy_loss(now, then, was, advantage, 0.2, 0.3)
    for k in range(60):
        parts = [float(part[k]) for part in (now, then, was, advantage)]
        assert float(loss[k]) == pytest.approx(slow_loss(*parts, 0.2, 0.3))
    assert float(divergence.min()) >= 0.0
    assert float(policy_loss(was, then, was, advantage, 0.2, 0.3)[1].abs().max()) == 0.0


def test_its_gradient_is_that_of_the_slow_formula_and_none_beyond_the_clip() -> None:
    now, then, was, advantage = drawn(60)
    now.requires_grad_()
    policy_loss(now, then, was, advantage, 0.2, 0.3)[0].sum().backward()
    assert now.grad is not None
    step = 1e-6
    for k in range(60):
        at, *rest = (float(part.detach()[k]) for part in (now, then, was, advantage))
        slope = (slow_loss(at + step, *rest, 0.2, 0.3) - slow_loss(at - step, *rest, 0.2, 0.3)) / (2 * step)
        assert float(now.grad[k]) == pytest.approx(slope, abs=1e-4)
    ahead = torch.tensor([0.5], requires_grad=True)  # already 1.65 times as likely as when it was drawn
    nothing = torch.zeros(1)
    policy_loss(ahead, nothing, nothing, torch.ones(1), 0.2, 0.0)[0].sum().backward()
    assert ahead.grad is not None
    assert float(ahead.grad) == 0.0


def test_what_is_rewarded_is_said_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "reward", letters)
    model = lively_model()
    seen = {name: value.clone() for name, value in model.model.visual.state_dict().items()}
    said: list[str] = []
    made = GrpoTraining(20, scenes=1, questions=3, group=8, most=6, walks=0.5, rate=5e-3, beta=0.0)
    Reinforcer(model, TINY, language(), [small_room()], tmp_path / "grpo.pt").train(made, said.append)
    lines = [json.loads(line) for line in said]
    assert [line["step"] for line in lines] == list(range(1, 21))
    first, last = lines[0]["reward"], np.mean([line["reward"] for line in lines[-4:]])
    assert first < 0.8
    assert last > first + 0.1
    assert lines[-1]["divergence"] > 0.01
    for name, value in model.model.visual.state_dict().items():  # the tower stays as it is
        assert torch.equal(value, seen[name]), name


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "reward", letters)
    states = []
    for name, stops in (("once", (2,)), ("twice", (1, 2))):
        for steps in stops:
            model = lively_model(seed=0 if steps == stops[0] else 9)  # what it begins as is forgotten when it goes on
            made = GrpoTraining(steps, scenes=1, questions=2, group=6, most=6, walks=0.0)
            Reinforcer(model, TINY, language(), [small_room()], tmp_path / f"{name}.pt").train(made, lambda line: None)
        states.append(read_state(tmp_path / f"{name}.pt"))
    begun = lively_model(seed=0).state_dict()
    moved = 0.0
    for part in ("model", "reference"):
        for name, value in states[0][part].items():
            assert torch.allclose(states[1][part][name], value, atol=1e-6), name
            if part == "reference":
                assert torch.equal(value, begun[name]), name
            else:
                moved = max(moved, float((value - begun[name]).abs().max()))
    assert moved > 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["once.pt", "twice.pt"]


def test_answers_that_are_all_worth_the_same_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "reward", lambda text, truth: Rewards(1.0, 0.5))
    model = lively_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said: list[str] = []
    Reinforcer(model, TINY, language(), [small_room()], tmp_path / "grpo.pt").train(SMALL, said.append)
    assert json.loads(said[0])["reward"] == 1.5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_step_in_which_nothing_could_be_asked_has_no_figures() -> None:
    assert figures([], language()) == {}


@pytest.mark.parametrize(
    "change", [{"group": 1}, {"steps": 0}, {"rounds": 0}, {"epsilon": 1.0}, {"temperature": 0.0}, {"beta": -0.1}]
)
def test_settings_that_cannot_teach_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        GrpoTraining(**{"steps": 1, **change})
