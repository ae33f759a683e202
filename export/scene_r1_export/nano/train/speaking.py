"""The language model's forward pass over packed sequences, and what it is taught there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scene_r1_export.nano.model.text import states_after_layers
from scene_r1_export.nano.train.packing import Batch
from scene_r1_export.nano.words import GRID, Language

SPREAD_PX = 3.0
"""A coordinate's neighbours on the grid are nearly right: the target is a bell of this width."""


def states_of(model: Any, batch: Batch, pictures: Tensor) -> list[Tensor]:
    """The states (B, n, width) before the first layer, after each, and last after the norm. pictures: (m, width), the
    vision tower's tokens in the order of `batch.cells`."""
    language = model.model.language_model
    embedded = language.embed_tokens(batch.ids)
    embedded = embedded.index_put(batch.cells, pictures.to(embedded.dtype))
    return states_after_layers(language, embedded, batch.positions, batch.layouts)


def word_losses(model: Any, batch: Batch, last: Tensor, language: Language) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cross entropy (k,) of every token that is learned, its weight (k,), which are coordinates (k,) bool, and which
    of the others the model would have said (k,) bool."""
    learned = batch.weight[:, 1:] > 0
    states, ids = last[:, :-1][learned], batch.ids[:, 1:][learned]
    weight, place = batch.weight[:, 1:][learned], batch.place[:, 1:][learned]
    logits = functional.linear(states, model.model.language_model.embed_tokens.weight)
    logs = logits.log_softmax(dim=-1)
    loss = -logs.gather(1, ids[:, None])[:, 0]
    right = logits.argmax(dim=-1) == ids
    if place.any():
        numbers = torch.tensor(language.numbers[::GRID])
        values = torch.arange(0, len(language.numbers), GRID).float()
        value_of = torch.full((int(numbers.max()) + 1,), -1.0)
        value_of[numbers] = values
        apart = values[None] - value_of[ids[place]][:, None]
        wanted = torch.exp(-0.5 * (apart / SPREAD_PX) ** 2)
        wanted = wanted / wanted.sum(dim=1, keepdim=True)
        bell = -(wanted * logs[place][:, numbers]).sum(dim=1)
        loss = loss.masked_scatter(place, bell)
    return loss, weight, place, right
