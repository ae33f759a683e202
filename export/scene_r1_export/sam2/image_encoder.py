"""The image encoder as one graph: Hiera, the feature pyramid, and what the decoder does to its finer levels."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scene_r1_export.sam2.attention import attend_by_rows, pieces, scaled

TOKENS = 16384
"""In the hidden layer at a time: the first block has four times as many at 1024 px, 100 MB that no cache holds."""


class ImageEncoder(nn.Module):
    """image: (B, 3, S, S) float32, normalised RGB -> s0 (B, 32, S/4, S/4), s1 (B, 64, S/8, S/8), feat
    (B, 256, S/16, S/16), the last one without no_mem_embed.

    Hiera: arXiv 2306.00989; its window-wise position table: arXiv 2311.05613. The table is a constant, since it
    depends on nothing but the size.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        trunk, neck = model.image_encoder.trunk, model.image_encoder.neck
        side = model.image_size // 4
        self.patches = trunk.patch_embed
        with torch.no_grad():
            table = trunk._get_pos_embed((side, side)).clone()
        self.register_buffer("position", table)
        blocks = []
        for block in trunk.blocks:
            blocks.append(_Block(block, side))
            side = blocks[-1].side_out
        self.blocks = nn.ModuleList(blocks)
        self.ends: list[int] = list(trunk.stage_ends)
        self.lateral = nn.ModuleList(reversed(list(neck.convs)))  # of the finest level first
        self.top_down = set(neck.fpn_top_down_levels)
        self.to_s0, self.to_s1 = model.sam_mask_decoder.conv_s0, model.sam_mask_decoder.conv_s1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.patches(image) + self.position
        stages = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.ends:
                stages.append(x.permute(0, 3, 1, 2))
        levels = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        feat = levels[2]
        if 2 in self.top_down:
            feat = feat + F.interpolate(levels[3], scale_factor=2.0, mode="nearest")
        return self.to_s0(levels[0]), self.to_s1(levels[1]), feat


class _Block(nn.Module):
    """One block of Hiera with all sizes known but the batch. x: (B, H, H, C) -> (B, H', H', C').

    Every reshape has numbers for all extents but one, so that the graph computes no shapes.
    """

    def __init__(self, block: Any, side: int) -> None:
        super().__init__()
        attention = block.attn
        self.norm1, self.norm2, self.mlp, self.out = block.norm1, block.norm2, block.mlp, attention.proj
        self.widen = getattr(block, "proj", None)
        self.side, self.window = side, block.window_size or side
        self.pooling = 1 if block.pool is None else block.q_stride[0]
        self.side_out = side // self.pooling
        self.heads: int = attention.num_heads
        self.width = block.dim_out // self.heads
        self.padding = -side % self.window
        self.rows = min(self.side_out, TOKENS // self.side_out)
        q, k, v = _thirds(attention.qkv)
        self.q, self.k, self.v = scaled(q, 1.0 / math.sqrt(self.width)), k, v

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        x = self.norm1(x)
        if self.widen is not None:
            skip = self._pooled(self.widen(x))
        skip = skip + self._attention(x)
        x = self.norm2(skip)
        mixed = [self.mlp(part) for part in torch.split(x, pieces(self.side_out, self.rows), 1)]
        return skip + (torch.cat(mixed, 1) if len(mixed) > 1 else mixed[0])

    def _attention(self, x: Tensor) -> Tensor:
        x = x if self.padding else self._windows(x)
        q, k, v = self._projected(self.q, x), self._projected(self.k, x), self._projected(self.v, x)
        size = self.window // self.pooling
        mixed = attend_by_rows(self._heads(self._pooled(q)), self._heads(k), self._heads(v), size * size)
        if self.heads > 1:
            mixed = mixed.transpose(1, 2).reshape(-1, size * size, self.heads * self.width)
        return self.out(self._whole(mixed))  # type: ignore[no-any-return]

    def _projected(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """Windows (B n n, window, window, C') of what is cut into windows already, or is to be padded. Padding is zeros
        before the projection, so its bias alone after it: nothing is multiplied for it."""
        if not self.padding:
            return linear(x)  # type: ignore[no-any-return]
        return self._windows(F.linear(x, linear.weight)) + linear.bias

    def _windows(self, x: Tensor) -> Tensor:
        """(B, H, H, C) -> (B n n, window, window, C), padded with zeros to whole windows."""
        if self.window == self.side:
            return x
        if self.padding:
            x = F.pad(x, (0, 0, 0, self.padding, 0, self.padding))
        count = (self.side + self.padding) // self.window
        channels = int(x.shape[3])
        x = x.reshape(-1, count, self.window, count, self.window, channels)
        return x.transpose(2, 3).reshape(-1, self.window, self.window, channels)

    def _whole(self, x: Tensor) -> Tensor:
        """(B n n, window' window', C) -> (B, H', H', C), the padding cut off."""
        window, channels = self.window // self.pooling, self.heads * self.width
        count = (self.side + self.padding) // self.window
        x = x.reshape(-1, count, count, window, window, channels).transpose(2, 3)
        x = x.reshape(-1, count * window, count * window, channels)
        return x[:, : self.side_out, : self.side_out] if self.padding else x

    def _heads(self, x: Tensor) -> Tensor:
        """(B, h, h, C) -> (B, heads, h h, width), or (B, h h, C) for one head, which needs no transposing."""
        side = int(x.shape[1])
        if self.heads == 1:
            return x.reshape(-1, side * side, self.width)
        return x.reshape(-1, side * side, self.heads, self.width).transpose(1, 2)

    def _pooled(self, x: Tensor) -> Tensor:
        """(B, h, h, C) -> (B, h / 2, h / 2, C), the largest of four, where the block pools."""
        if self.pooling == 1:
            return x
        half, channels = int(x.shape[1]) // 2, int(x.shape[3])
        # Not MaxPool, which wants channels first: four transposes a block, two of them into its own layout.
        return x.reshape(-1, half, 2, half, 2, channels).amax((2, 4))


def _thirds(joint: nn.Linear) -> list[nn.Linear]:
    """Queries, keys and values apart: slices of one projection's result would be copied."""
    made = []
    for weight, bias in zip(joint.weight.chunk(3), joint.bias.chunk(3), strict=True):
        one = nn.Linear(joint.in_features, joint.out_features // 3)
        with torch.no_grad():
            one.weight.copy_(weight)
            one.bias.copy_(bias)
        made.append(one)
    return made
