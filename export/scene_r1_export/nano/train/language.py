"""The language model learns to speak about what the vision tower sees: one picture first, then whole walks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.data.drill import of_picture, of_walk
from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.data.sights import Picture, picture_of
from scene_r1_export.nano.data.views import relit
from scene_r1_export.nano.data.when import about_walk
from scene_r1_export.nano.data.where import where
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.state import read_state, write_state
from scene_r1_export.nano.train.fetching import BoxHead
from scene_r1_export.nano.train.kept import KeptPictures
from scene_r1_export.nano.train.optimizer import Optimizer, share_of_rate
from scene_r1_export.nano.train.packing import pack, together
from scene_r1_export.nano.train.pointing import looking_loss
from scene_r1_export.nano.train.speaking import states_of, word_losses
from scene_r1_export.nano.words import Drill, Exchange, Language, Said

MOST_EMPTY = 10_000
"""Pictures of walks about which nothing could be asked, one after the other."""
OTHERS = 0.25
"""Share of the rate that embeddings, norms and biases move at."""
LOOKING, FETCHING = 0.5, 0.5
"""Weights of where it looks, and of the box that it brings from there."""
HEAD = 5.0
"""The rate of the map that reads this box, as a multiple of the model's: it begins from nothing and is thrown away."""


@dataclass(frozen=True, slots=True)
class LanguageTraining:
    """walks: how often a sequence is a walk of `fewest` to `most` pictures and not one picture. questions, drills: of
    one picture, and up to so many exercises. walk_questions, walk_drills: about a walk, whose pictures cost far more to
    read than a question about them. pictures: a step, of either. see_from: the step from which the vision tower learns
    along; before it, what comes back from a language that knows no word yet would spoil it. begun: the step from which
    the rate warms up, in `warm` steps."""

    steps: int
    pictures: int = 4
    questions: int = 4
    drills: int = 12
    walk_questions: int = 12
    walk_drills: int = 24
    walks: float = 0.0
    fewest: int = 4
    most: int = 16
    rate: float = 2e-3
    vision_share: float = 0.1
    see_from: int | None = None
    begun: int = 0
    warm: int = 100
    fall_from: int | None = None
    save_every: int = 250
    seed: int = 0

    @property
    def falls_after(self) -> int | None:
        """Steps after `begun` from which the rate falls."""
        return None if self.fall_from is None else self.fall_from - self.begun

    def sees(self, step: int) -> bool:
        """Whether the vision tower learns at that step."""
        return self.see_from is not None and step >= self.see_from


class Teacher:
    """Training of the language model, one step at a time, that goes on from where a file was left.

    rooms: to ask about. looks: more of them, for single pictures only.
    """

    def __init__(
        self,
        model: Any,
        sizes: Sizes,
        language: Language,
        rooms: Sequence[RoomShard],
        state: Path,
        looks: Sequence[RoomShard] = (),
    ) -> None:
        self.model, self.sizes, self.language, self.rooms, self.state = model, sizes, language, rooms, state
        self._kept = KeptPictures(rooms, sizes.picture)
        self._views = [(room, index) for room in (*rooms, *looks) for index in range(len(room.images))]
        self.box_head = BoxHead(sizes.width)
        text = [p for n, p in model.named_parameters() if "visual" not in n]
        inner = [p for n, p in model.named_parameters() if "visual" not in n and p.ndim == 2 and "embed" not in n]
        chosen = {id(p) for p in inner}
        self.optimizer = Optimizer(inner, [p for p in text if id(p) not in chosen], 1.0, OTHERS)
        self.head_optimizer = Optimizer([], self.box_head.parameters(), 1.0)
        visual = model.model.visual
        self.vision_optimizer = Optimizer(
            [p for p in visual.parameters() if p.ndim == 2], [p for p in visual.parameters() if p.ndim != 2], 1.0
        )
        self.step = 0
        if state.exists():
            kept = read_state(state)
            model.load_state_dict(kept["model"])
            self.box_head.load_state_dict(kept["head"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.head_optimizer.load_state_dict(kept["head_optimizer"])
            self.vision_optimizer.load_state_dict(kept["vision"])
            self.step = kept["step"]

    def train(self, made: LanguageTraining, say: Callable[[str], None]) -> None:
        """Until `made.steps`."""
        begun, first = time.time(), self.step
        told: dict[str, float] = {}
        while self.step < made.steps:
            # Of the step alone, so that a run that was stopped goes on as if it had not been.
            rng = np.random.default_rng([made.seed, self.step])
            loss, seen = self.learn(made, rng)
            torch.autograd.backward(loss)
            share = share_of_rate(self.step - made.begun, made.warm, made.falls_after, made.steps - made.begun)
            self.optimizer.step(made.rate * share)
            self.head_optimizer.step(made.rate * HEAD * share)
            if made.sees(self.step):
                self.vision_optimizer.step(made.rate * made.vision_share * share)
            self.step += 1
            for name, value in seen.items():
                keep = 0.98 if name in told else 0.0
                told[name] = keep * told.get(name, value) + (1 - keep) * value
            if self.step % 25 == 0 or self.step == made.steps:
                line = {"step": self.step, "per_s": (self.step - first) / (time.time() - begun), **told}
                say(json.dumps({name: round(value, 4) for name, value in line.items()}))
            if self.step % made.save_every == 0 or self.step == made.steps:
                self.save()

    def save(self) -> None:
        """Write the state, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "head": self.box_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "head_optimizer": self.head_optimizer.state_dict(),
            "vision": self.vision_optimizer.state_dict(),
            "step": self.step,
        }
        write_state(self.state, state)

    def learn(self, made: LanguageTraining, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and figures of it."""
        walk = rng.random() < made.walks
        groups, said = self._walks(made, rng) if walk else self._single(made, rng)
        batch = together(
            [
                pack(self.language, [p.seconds if walk else None for p in group], self.sizes.cells, exchanges)
                for group, exchanges in zip(groups, said, strict=True)
            ]
        )
        pictures = [picture for group in groups for picture in group]
        sees = made.sees(self.step)
        if walk and not sees:
            tokens = self._kept.tokens(self.model.model.visual, pictures, rng)
        else:
            images = torch.from_numpy(np.stack([relit(picture.image, rng) for picture in pictures]))
            with torch.set_grad_enabled(sees):
                tokens, _ = embed_pictures(self.model.model.visual, images)
        states = states_of(self.model, batch, tokens.flatten(0, 1))
        loss, weight, place, right = word_losses(self.model, batch, states[-1], self.language)
        of_looks, found = looking_loss(self.model, batch, states, groups, self.sizes.cells)
        of_boxes, overlap = self.box_head.loss(batch, states, self.language, self.sizes.picture)
        weight = torch.where(place, 2.0 * weight, weight)
        total = (loss * weight).sum() / weight.sum() + LOOKING * of_looks + FETCHING * of_boxes
        name = "walk" if walk else "one"
        told = {
            f"{name}_words": float(loss[~place].detach().mean()),
            f"{name}_right": float(right[~place].float().mean()),
            f"{name}_looks": found,
        }
        if place.any():
            told["fetched_iou"] = overlap
            told["coordinates"] = float(loss[place].detach().mean())
        return total, told

    def _single(self, made: LanguageTraining, rng: np.random.Generator) -> tuple[list[list[Picture]], list[list[Said]]]:
        groups, said = [], []
        for _ in range(made.pictures):
            room, index = self._views[int(rng.integers(len(self._views)))]
            picture = picture_of(room, index, self.sizes.picture, rng)
            asked = [one for one in room.questions if one.task == "find"]
            groups.append([picture])
            drills = of_picture(picture, made.drills, rng)
            said.append(self._said(where(picture, asked, made.questions, rng), drills))
        return groups, said

    def _walks(self, made: LanguageTraining, rng: np.random.Generator) -> tuple[list[list[Picture]], list[list[Said]]]:
        groups: list[list[Picture]] = []
        said: list[list[Said]] = []
        left = made.pictures
        while left > 0 or not groups:
            if left < -MOST_EMPTY:
                raise BadInput("nothing can be asked about the walks of these rooms: make the data again")
            number = int(rng.integers(len(self.rooms)))
            room = self.rooms[number]
            held = np.flatnonzero(room.keyframe)
            # As many questions need all of a walk as a part of it: about a third of the time it is whole.
            count = len(held) if rng.random() < 0.3 else int(rng.integers(made.fewest, made.most + 1))
            chosen = np.sort(rng.permutation(held)[:count])
            pictures = [self._kept.picture(number, int(index)) for index in chosen]
            exchanges = about_walk(room, pictures, made.walk_questions, rng)
            if exchanges:
                groups.append(pictures)
                said.append(self._said(exchanges, of_walk(pictures, made.walk_drills, rng)))
            left -= len(pictures)
        return groups, said

    def _said(self, exchanges: Sequence[Exchange], drills: Sequence[Drill]) -> list[Said]:
        said = [self.language.said(one) for one in exchanges]
        return said + [self.language.drilled(one) for one in drills]
