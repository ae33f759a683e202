"""What the vision tower is asked about every patch while it learns to see: linear heads, thrown away afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scene_r1_export.nano.data.classes import COLOR_NAMES, KINDS

UNIT = 28.0
"""Pixels that one unit of a predicted box is."""


@dataclass(frozen=True, slots=True)
class Truths:
    """Of a batch of pictures, flattened: kind, color: (n,) int64; box: (n, 4) xyxy pixels; center: (n, 2) pixels."""

    kind: Tensor
    color: Tensor
    box: Tensor
    center: Tensor


class DenseHead(nn.Module):
    """Kind, colour and box of what a patch shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.out = nn.Linear(width, len(KINDS) + len(COLOR_NAMES) + 4)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """states: (n, width). Returns logits of kinds and of colours, and boxes (n, 4) relative to the middle."""
        out: Tensor = self.out(self.norm(states))
        kind, color, box = torch.split(out, [len(KINDS), len(COLOR_NAMES), 4], dim=-1)
        return kind, color, box

    def loss(self, states: Tensor, truth: Truths) -> tuple[Tensor, dict[str, float]]:
        """The sum of cross entropies and a box loss that counts errors relative to the thing's size."""
        kind, color, box = self(states)
        seen = truth.kind > 0
        weight = torch.ones(len(KINDS))
        weight[0] = 0.5
        of_kind = functional.cross_entropy(kind, truth.kind, weight, label_smoothing=0.02)
        named = truth.color >= 0
        if not named.any():  # a mean over nothing is NaN, and would be the end of all weights
            return of_kind, {}
        of_color = functional.cross_entropy(color[named], truth.color[named], label_smoothing=0.02)
        predicted = corners(box[seen], truth.center[seen])
        wanted = truth.box[seen]
        size = (wanted[:, 2:] - wanted[:, :2]).mean(dim=1, keepdim=True)
        apart = functional.smooth_l1_loss(predicted / UNIT, wanted / UNIT, reduction="none", beta=0.1)
        of_box = (apart * UNIT / (size + UNIT / 2)).mean()
        overlap = iou(predicted, wanted)
        objects = truth.color[seen] >= 0
        with torch.no_grad():
            things = truth.color >= 0
            told = {
                "kind": (kind.argmax(-1)[things] == truth.kind[things]).float().mean().item(),
                "thing": (kind.argmax(-1) > 0).eq(seen).float().mean().item(),
                "color": (color.argmax(-1)[named] == truth.color[named]).float().mean().item(),
                "iou": overlap[objects].mean().item(),
                "half": (overlap[objects] > 0.5).float().mean().item(),
            }
        return of_kind + of_color + 2.0 * of_box + (1.0 - overlap).mean(), told


def corners(box: Tensor, center: Tensor) -> Tensor:
    """Boxes (n, 4) xyxy pixels from what the head says about them."""
    return center.repeat(1, 2) + UNIT * box


def iou(a: Tensor, b: Tensor) -> Tensor:
    """(n,) of boxes (n, 4), pair by pair; a may be inside out."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(dim=1)
    area = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b)]
    return both / (area[0] + area[1] - both + 1e-6)
