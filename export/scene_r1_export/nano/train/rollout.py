"""Questions put to the model as it is: what it says, and what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.data.sights import Picture, picture_of
from scene_r1_export.nano.data.when import about_walk
from scene_r1_export.nano.data.where import where
from scene_r1_export.nano.model.generate import Prefix, answers, read_prefix
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.words import Exchange, Language
from scene_r1_export.rewards import Rewards, reward


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Pictures, what the vision tower makes of them (n, cells, width), and what is asked about them. timed: a walk,
    and not one picture looked at alone."""

    pictures: tuple[Picture, ...]
    tokens: Tensor
    asked: tuple[Exchange, ...]
    timed: bool

    @property
    def seconds(self) -> list[float | None]:
        """Of each picture, as it is said before it."""
        return [picture.seconds if self.timed else None for picture in self.pictures]


@dataclass(frozen=True, slots=True)
class Tried:
    """One answer. ids: its tokens, the end of its turn included where it came to it."""

    ids: tuple[int, ...]
    text: str
    rewards: Rewards


@torch.no_grad()
def scene_of(
    model: Any, sizes: Sizes, room: RoomShard, walk: bool, questions: int, rng: np.random.Generator, whole: bool = False
) -> Scene:
    """Some questions about a room: about the walk through it or about one view. whole: all keyframes, nothing cut."""
    held = np.flatnonzero(room.keyframe)
    if walk:
        count = len(held) if whole else int(rng.integers(min(4, len(held)), len(held) + 1))
        chosen = np.sort(rng.permutation(held)[:count])
        pictures = [picture_of(room, int(index), sizes.picture) for index in chosen]
        asked = about_walk(room, pictures, questions, rng)
    else:
        index = int(held[int(rng.integers(len(held)))])
        pictures = [picture_of(room, index, sizes.picture, None if whole else rng)]
        asked = where(pictures[0], [one for one in room.questions if one.task == "find"], questions, rng)
    images = torch.from_numpy(np.stack([picture.image for picture in pictures]))
    tokens, _ = embed_pictures(model.model.visual, images)
    return Scene(tuple(pictures), tokens, tuple(asked), walk)


def prefix_of(model: Any, language: Language, sizes: Sizes, scene: Scene) -> Prefix:
    """The scene's pictures, read once."""
    return read_prefix(model, language, scene.seconds, sizes.cells, scene.tokens)


def try_answers(
    model: Any,
    language: Language,
    prefix: Prefix,
    exchange: Exchange,
    count: int,
    temperature: float,
    think: bool | None = None,
    most: int = 96,
) -> list[Tried]:
    """`count` answers to one question. think: False closes the thought before it begins, as the runtime does; None
    and True leave it to the model, with the runtime's opening."""
    opening = language.tokens("<think></think><answer>" if think is False else "<think>")
    prompt = [*language.asked(exchange.task, exchange.question), *opening]
    tried = []
    for ids in answers(model, language, prefix, prompt, count, temperature, most):
        text = language.text([*opening, *ids])
        tried.append(Tried(tuple(ids), text, reward(text, exchange.truth)))
    return tried


def thought_tokens(language: Language, tried: Sequence[Tried]) -> float:
    """How long the thoughts are, as a mean."""
    closing = language.tokens("</think>")[0]
    return float(np.mean([one.ids.index(closing) if closing in one.ids else len(one.ids) for one in tried]))
