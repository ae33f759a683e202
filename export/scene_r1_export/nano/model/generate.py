"""Answers of the model in torch: several at once to one question, drawn or the most likely ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from scene_r1_export.nano.train.packing import pack
from scene_r1_export.nano.words import Language


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """What stands before a question: its keys and values, and the position after it."""

    cache: Any
    position: int
    length: int


@torch.no_grad()
def read_prefix(
    model: Any, language: Language, seconds: Sequence[float | None], grid: tuple[int, int], pictures: Tensor
) -> Prefix:
    """Read pictures once. seconds: of each, None for one that is looked at alone. pictures: (n, cells, width), the
    vision tower's tokens."""
    packed = pack(language, seconds, grid, ())
    ids = torch.from_numpy(packed.ids)[None]
    embedded = model.model.language_model.embed_tokens(ids)
    embedded[0, torch.from_numpy(packed.cells)] = pictures.flatten(0, 1)
    cache = DynamicCache()
    model.model.language_model(
        inputs_embeds=embedded,
        position_ids=torch.from_numpy(packed.positions)[:, None],
        past_key_values=cache,
        use_cache=True,
    )
    return Prefix(cache, int(packed.positions.max()) + 1, len(packed.ids))


@torch.no_grad()
def answers(
    model: Any,
    language: Language,
    prefix: Prefix,
    prompt: Sequence[int],
    count: int = 1,
    temperature: float = 0.0,
    most: int = 96,
) -> list[list[int]]:
    """`count` answers to a prompt after a prefix, each up to and with the end of its turn, or `most` tokens long.

    temperature: 0 for the most likely token each time. Drawn from torch's generator.
    """
    cache = copy.deepcopy(prefix.cache)
    cache.batch_repeat_interleave(count)
    tokens = torch.tensor([list(prompt)] * count)
    said: list[list[int]] = [[] for _ in range(count)]
    open_ = torch.ones(count, dtype=torch.bool)
    position = prefix.position
    for _ in range(most):
        places = torch.arange(position, position + tokens.shape[1]).expand(3, count, -1)
        out = model.model.language_model(
            inputs_embeds=model.model.language_model.embed_tokens(tokens),
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
        )
        position += tokens.shape[1]
        logits = functional.linear(out.last_hidden_state[:, -1], model.model.language_model.embed_tokens.weight)
        if temperature > 0:
            chosen = torch.multinomial((logits / temperature).softmax(dim=-1), 1)[:, 0]
        else:
            chosen = logits.argmax(dim=-1)
        for row in range(count):
            if open_[row]:
                said[row].append(int(chosen[row]))
        open_ &= chosen != language.end
        if not open_.any():
            break
        tokens = chosen[:, None]
    return said
