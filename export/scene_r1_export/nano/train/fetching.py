"""What was looked at, asked for at once: the box, off the state of whoever is about to say one of its sides.

A side's own loss comes through every layer above and through a softmax over all numbers. A box read off by one linear
map, just above the layer that looks, tells that layer far more directly what it must bring; the map is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from scene_r1_export.nano.begin.look import LAYER
from scene_r1_export.nano.train.heads import iou
from scene_r1_export.nano.train.packing import Batch
from scene_r1_export.nano.words import Language

SIDES = 4


class BoxHead(nn.Module):
    """A box as shares of the picture, from the state after the layer that looks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.out = nn.Linear(width, SIDES)
        nn.init.constant_(self.out.bias, 0.5)

    def loss(
        self, batch: Batch, states: Sequence[Tensor], language: Language, picture: tuple[int, int]
    ) -> tuple[Tensor, float]:
        """The loss, 0 where no box is said, and the mean IoU. states: of `states_of`. picture: (height, width)."""
        rows, columns = batch.place.nonzero(as_tuple=True)
        if len(rows) == 0:
            return states[0].new_zeros(()), 0.0
        height, width = picture
        values = torch.zeros(int(max(language.numbers)) + 1)
        values[torch.tensor(language.numbers)] = torch.arange(len(language.numbers)).float()
        said = values[batch.ids[rows, columns]].reshape(-1, SIDES) / torch.tensor([width, height, width, height])
        wanted = said.repeat_interleave(SIDES, dim=0)
        box: Tensor = self.out(self.norm(states[LAYER + 1][rows, columns - 1]))
        overlap = iou(box, wanted)
        loss = 8.0 * functional.smooth_l1_loss(box, wanted, beta=0.02) + (1.0 - overlap).mean()
        return loss, float(overlap[::SIDES].detach().mean())
