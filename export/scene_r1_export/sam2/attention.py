"""Attention in the form that ONNX Runtime and TensorRT take: matrix product, softmax, matrix product."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 512
"""Queries at a time. All 4096 of them against seven memories make a matrix of 470 MB for each thing that is followed,
which goes out to memory and back three times. Memory attention on one thread of a CPU took 0.89 of torch's time with
all at once, 0.70 with 1024, 0.62 with 512, 0.67 with 256, 0.69 with 128 at a time. An engine needs an eighth of the
room too."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ) v. q: (..., Q, C), already scaled by 1 / sqrt(C). k: (..., K, C). v: (..., K, D). -> (..., Q, D).

    Spelled out, since TensorRT knows its fused attention by this pattern, and since the exporter's own form of
    scaled_dot_product_attention computes its scale in the graph.
    """
    return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


def attend_by_rows(q: Tensor, k: Tensor, v: Tensor, count: int) -> Tensor:
    """The same for as many queries as `count` says, known when a graph is made, ROWS at a time: a query's softmax knows
    nothing of the others, so the result is the same."""
    parts = torch.split(q, pieces(count, ROWS), -2) if count > ROWS else (q,)
    mixed = [attend(part, k, v) for part in parts]
    return torch.cat(mixed, -2) if len(mixed) > 1 else mixed[0]


def pieces(count: int, most: int) -> list[int]:
    """Sizes of the parts of so many things, `most` at a time. All of them are spelled out: told `most` alone, the
    exporter makes the last part as large as the others, which is wrong wherever it does not come out even (768 px)."""
    return [min(most, count - start) for start in range(0, count, most)]


def scaled(linear: nn.Linear, scale: float) -> nn.Linear:
    """The projection of queries with the attention's scale in its weights."""
    made = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        made.weight.copy_(linear.weight * scale)
        made.bias.copy_(linear.bias * scale)
    return made


class PlainAttention(nn.Module):
    """The attention of SAM2's mask decoder, several heads, with its scale in the weights."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.heads: int = original.num_heads
        self.width: int = original.internal_dim // original.num_heads
        self.q = scaled(original.q_proj, 1.0 / math.sqrt(self.width))
        self.k, self.v, self.out = original.k_proj, original.v_proj, original.out_proj

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (B, Q, C). k, v: (B, K, C). -> (B, Q, C)."""
        mixed = attend(self._split(self.q(q)), self._split(self.k(k)), self._split(self.v(v)))
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.heads, self.width).transpose(1, 2)


def with_plain_attention(module: nn.Module) -> nn.Module:
    """A copy of a transformer of the package `sam2` in which every attention is a PlainAttention."""
    made = copy.deepcopy(module)
    for inner in list(made.modules()):
        for name, child in list(inner.named_children()):
            if type(child).__name__ == "Attention":
                setattr(inner, name, PlainAttention(child))
    return made
