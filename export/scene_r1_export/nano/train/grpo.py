"""Group relative policy optimisation (Shao et al. 2024) with Scene-R1's rewards, for a model small enough to read."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scene_r1_engines.errors import BadConfig
from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.state import read_state, write_state
from scene_r1_export.nano.train.optimizer import Optimizer
from scene_r1_export.nano.train.packing import Batch, pack, together
from scene_r1_export.nano.train.rollout import Scene, Tried, prefix_of, scene_of, thought_tokens, try_answers
from scene_r1_export.nano.train.speaking import states_of
from scene_r1_export.nano.words import Exchange, Language, Said


@dataclass(frozen=True, slots=True)
class GrpoTraining:
    """scenes: a step, each with `questions` questions that are answered `group` times at `temperature`. walks: how
    often a scene is a whole walk. rounds: of learning from the same answers; from the second on the ratio is clipped
    to 1 ± epsilon. beta: weight of the divergence from the model that it began as."""

    steps: int
    scenes: int = 2
    questions: int = 4
    group: int = 8
    temperature: float = 1.0
    walks: float = 0.6
    rounds: int = 2
    epsilon: float = 0.2
    beta: float = 0.02
    rate: float = 1e-4
    most: int = 96
    save_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.group < 2:
            raise BadConfig(f"group must be 2 or more answers to compare, got {self.group}")
        if min(self.steps, self.scenes, self.questions, self.rounds, self.most) < 1:
            raise BadConfig("steps, scenes, questions, rounds and most must be 1 or more")
        if not (0.0 < self.epsilon < 1.0 and self.beta >= 0.0 and self.temperature > 0.0 and self.rate > 0.0):
            raise BadConfig("0 < epsilon < 1, beta >= 0, temperature > 0 and rate > 0 must hold")


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Answers to one question, and how much better than the others each is."""

    exchange: Exchange
    tried: tuple[Tried, ...]
    advantages: tuple[float, ...]


def advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    """(r - mean) / deviation of a group; 0 for all where all are worth the same."""
    values = np.asarray(rewards, np.float64)
    spread = float(values.std())
    if spread < 1e-6:
        return (0.0,) * len(values)
    return tuple(float(value) for value in (values - values.mean()) / spread)


def policy_loss(
    now: Tensor, then: Tensor, reference: Tensor, advantage: Tensor, epsilon: float, beta: float
) -> tuple[Tensor, Tensor]:
    """The clipped objective with its penalty, negated, token by token; and the divergence. All (k,): log
    probabilities of the tokens now, when they were drawn, and by the reference; and the advantage of their answer."""
    ratio = (now - then).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1.0 - epsilon, 1.0 + epsilon) * advantage)
    apart = reference - now
    divergence = apart.exp() - apart - 1.0  # never negative (Schulman's k3)
    return beta * divergence - gain, divergence


class Reinforcer:
    """GRPO over the language model; the vision tower stays as it is. Goes on from where a file was left."""

    def __init__(self, model: Any, sizes: Sizes, language: Language, rooms: Sequence[RoomShard], state: Path) -> None:
        self.model, self.sizes, self.language, self.rooms, self.state = model, sizes, language, rooms, state
        self.reference = copy.deepcopy(model).requires_grad_(False)
        model.model.visual.requires_grad_(False)
        text = [p for n, p in model.named_parameters() if "visual" not in n]
        self.optimizer = Optimizer((), text, 1.0)
        self.step = 0
        if state.exists():
            kept = read_state(state)
            model.load_state_dict(kept["model"])
            self.reference.load_state_dict(kept["reference"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step = kept["step"]

    def train(self, made: GrpoTraining, say: Callable[[str], None]) -> None:
        """Until `made.steps`."""
        while self.step < made.steps:
            begun = time.time()
            rng = np.random.default_rng([made.seed, self.step, 0x6270])
            torch.manual_seed(int(rng.integers(1 << 31)))
            told = self.learn(made, rng)
            self.step += 1
            line = {"step": self.step, "s": time.time() - begun, **told}
            say(json.dumps({name: round(value, 4) for name, value in line.items()}))
            if self.step % made.save_every == 0 or self.step == made.steps:
                self.save()

    def save(self) -> None:
        """Write the state, whole or not at all."""
        states = {"model": self.model.state_dict(), "reference": self.reference.state_dict()}
        write_state(self.state, {**states, "optimizer": self.optimizer.state_dict(), "step": self.step})

    def learn(self, made: GrpoTraining, rng: np.random.Generator) -> dict[str, float]:
        """Ask, judge, learn. Returns figures of what was said."""
        gathered: list[tuple[Scene, list[Group]]] = []
        for number in range(made.scenes):
            room = self.rooms[int(rng.integers(len(self.rooms)))]
            walk = (number + rng.random()) / made.scenes < made.walks
            scene = scene_of(self.model, self.sizes, room, walk, made.questions, rng)
            prefix = prefix_of(self.model, self.language, self.sizes, scene)
            groups = []
            for exchange in scene.asked:
                tried = try_answers(
                    self.model, self.language, prefix, exchange, made.group, made.temperature, most=made.most
                )
                worth = advantages([one.rewards.total for one in tried])
                groups.append(Group(exchange, tuple(tried), worth))
            gathered.append((scene, groups))
        told = figures([group for _, groups in gathered for group in groups], self.language)
        useful = [(scene, [g for g in groups if any(g.advantages)]) for scene, groups in gathered]
        useful = [(scene, groups) for scene, groups in useful if groups]
        if useful:
            told.update(self._rounds(useful, made))
        return told

    def _rounds(self, useful: Sequence[tuple[Scene, list[Group]]], made: GrpoTraining) -> dict[str, float]:
        batches = [self._batch(scene, groups) for scene, groups in useful]
        with torch.no_grad():
            reference = [log_probabilities(self.reference, batch, tokens) for batch, tokens, _ in batches]
        before: list[Tensor] = []
        divergence, norm = 0.0, 0.0
        for _ in range(made.rounds):
            for number, ((batch, tokens, advantage), was) in enumerate(zip(batches, reference, strict=True)):
                now = log_probabilities(self.model, batch, tokens)
                if number == len(before):  # the first round: the model is still the one that answered
                    before.append(now.detach())
                then = before[number]
                loss, apart = policy_loss(now, then, was, advantage, made.epsilon, made.beta)
                torch.autograd.backward(loss.mean() / len(batches))
                divergence = float(apart.detach().mean())
            norm = self.optimizer.step(made.rate)
        return {"divergence": divergence, "gradient": norm}

    def _batch(self, scene: Scene, groups: Sequence[Group]) -> tuple[Batch, Tensor, Tensor]:
        """All answers about a scene in one sequence, the vision tower's tokens, and each token's advantage."""
        said, advantage = [], []
        for group in groups:
            opening = self.language.tokens("<think>")
            prompt = [*self.language.asked(group.exchange.task, group.exchange.question), *opening]
            for one, worth in zip(group.tried, group.advantages, strict=True):
                weights = [0.0] * len(prompt) + [1.0] * len(one.ids)
                said.append(Said([*prompt, *one.ids], len(prompt), weights))
                advantage += [worth] * len(one.ids)
        packed = pack(self.language, scene.seconds, self.sizes.cells, said)
        return together([packed]), scene.tokens.flatten(0, 1), torch.tensor(advantage)


def log_probabilities(model: Any, batch: Batch, tokens: Tensor) -> Tensor:
    """(k,) of every token whose weight is above 0, in order."""
    last = states_of(model, batch, tokens)[-1]
    learned = batch.weight[:, 1:] > 0
    states, ids = last[:, :-1][learned], batch.ids[:, 1:][learned]
    logits = functional.linear(states, model.model.language_model.embed_tokens.weight)
    return logits.log_softmax(dim=-1).gather(1, ids[:, None])[:, 0]


def figures(groups: Sequence[Group], language: Language) -> dict[str, float]:
    """Means over all answers: the reward, its parts, and the length of thoughts."""
    tried = [one for group in groups for one in group.tried]
    if not tried:  # pictures of which nothing could be asked
        return {}
    told = {
        "reward": float(np.mean([one.rewards.total for one in tried])),
        "format": float(np.mean([one.rewards.format for one in tried])),
        "thought": thought_tokens(language, tried),
    }
    for task in ("when", "where", "answer"):
        worth = [one.rewards.task for group in groups if group.exchange.task == task for one in group.tried]
        if worth:
            told[task] = float(np.mean(worth))
    return told
