"""The language model's forward pass over packed sequences, and what it is taught there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scene_r1_export.nano.data.classes import COLOR_NAMES, KINDS
from scene_r1_export.nano.model.text import states_after_layers
from scene_r1_export.nano.train.heads import iou
from scene_r1_export.nano.train.packing import Batch
from scene_r1_export.nano.words import GRID, Language

SPREAD_PX = 3.0
"""A coordinate's neighbours on the grid are nearly right: the target is a bell of this width."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Of every picture token of a batch, in its order: kind, color (n,) int64, box (n, 4) as shares of the picture."""

    kind: Tensor
    color: Tensor
    box: Tensor


class PlaceHead(nn.Module):
    """What a picture's token is and where, asked half-way up: there it must know its own place in the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.out = nn.Linear(width, len(KINDS) + len(COLOR_NAMES) + 4)

    def loss(self, states: Tensor, seen: Seen) -> tuple[Tensor, float]:
        """states: (n, width). Returns the loss, and the mean IoU of the boxes of objects."""
        out: Tensor = self.out(self.norm(states))
        kind, color, box = torch.split(out, [len(KINDS), len(COLOR_NAMES), 4], dim=-1)
        named, shown = seen.color >= 0, seen.kind > 0
        loss = 0.5 * functional.cross_entropy(kind, seen.kind)
        if named.any():
            loss = loss + 0.5 * functional.cross_entropy(color[named], seen.color[named])
        if not shown.any():
            return loss, 0.0
        overlap = iou(box[shown], seen.box[shown])
        loss = loss + 8.0 * functional.smooth_l1_loss(box[shown], seen.box[shown], beta=0.02)
        loss = loss + (1.0 - overlap).mean()
        objects = named[shown]
        return loss, float(overlap[objects].detach().mean()) if objects.any() else 0.0


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
