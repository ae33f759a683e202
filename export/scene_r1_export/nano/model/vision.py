"""The vision tower for a batch of pictures of one size: the same arithmetic as transformers', without its loops.

transformers runs the attention of every window of every picture as a call of its own. On a CPU that is most of the
time; here all windows of a size are one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scene_r1_export.nano.model.sizes import PATCH, WINDOW

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of Qwen2.5-VL's own preprocessing."""


def embed_pictures(visual: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """What the tower makes of pictures.

    visual: transformers' Qwen2_5_VisionTransformerPretrainedModel. pictures: (B, H, W, 3) uint8 RGB, sides multiples
    of 28. Returns tokens: (B, h * w, out) float32, row after row of cells of 28 px; and patches: (B, h * w, 4, width)
    float32, the four patches of each cell before they are merged.
    """
    height, width = pictures.shape[1] // PATCH, pictures.shape[2] // PATCH
    layout = _layout(height, width, visual.blocks[0].attn.head_dim, pictures.device)
    states = _patches(visual.patch_embed.proj.weight, pictures)[:, layout.order]
    for number, block in enumerate(visual.blocks):
        windows = ((1, height * width),) if number in visual.fullatt_block_indexes else layout.windows
        states = states + _attention(block.attn, block.norm1(states), layout, windows)
        states = states + block.mlp(block.norm2(states))
    cells = states[:, layout.back].reshape(len(pictures), -1, 4, states.shape[-1])
    merger = visual.merger
    return merger.mlp(merger.ln_q(cells).flatten(2)), cells


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Patches in the order of windows. order, back: (n,) int64, from the order of cells and to it. cos, sin: (n, head)
    of the rotary turn. windows: (how many, patches of each), one after the other."""

    order: Tensor
    back: Tensor
    cos: Tensor
    sin: Tensor
    windows: tuple[tuple[int, int], ...]


def _patches(weight: Tensor, pictures: Tensor) -> Tensor:
    """(B, n, width), the patches of each cell one after the other. A picture is two equal frames."""
    mean, std = (torch.tensor(values, device=pictures.device) * 255.0 for values in (MEAN, STD))
    pixels = (pictures.float() - mean) / std
    count, height, width, _ = pixels.shape
    shape = (count, height // PATCH // 2, 2, PATCH, width // PATCH // 2, 2, PATCH, 3)
    # (B, cell row, cell column, patch row, patch column, channel, y, x)
    patches = pixels.reshape(shape).permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(count, -1, 3 * PATCH * PATCH)
    return patches @ weight.sum(dim=2).flatten(1).T


def _attention(attention: Any, states: Tensor, layout: _Layout, windows: tuple[tuple[int, int], ...]) -> Tensor:
    count, length, width = states.shape
    qkv = attention.qkv(states).reshape(count, length, 3, attention.num_heads, attention.head_dim)
    cos, sin = layout.cos[:, None], layout.sin[:, None]
    parts = (_turned(qkv[:, :, 0], cos, sin), _turned(qkv[:, :, 1], cos, sin), qkv[:, :, 2])
    done, first = [], 0
    for number, size in windows:
        last = first + number * size
        shape = (count * number, size, attention.num_heads, attention.head_dim)
        q, k, v = (part[:, first:last].reshape(shape).transpose(1, 2) for part in parts)
        out = functional.scaled_dot_product_attention(q, k, v)
        done.append(out.transpose(1, 2).reshape(count, number * size, width))
        first = last
    result: Tensor = attention.proj(torch.cat(done, dim=1))
    return result


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


@lru_cache(maxsize=8)
def _layout(height: int, width: int, head: int, device: torch.device) -> _Layout:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack((rows, columns), dim=-1)
    place = place.reshape(height // 2, 2, width // 2, 2, 2).permute(0, 2, 1, 3, 4).reshape(-1, 2)
    side = WINDOW // PATCH
    window = place[:, 0] // side * (width // side + 1) + place[:, 1] // side
    _, number, sizes = torch.unique(window, return_inverse=True, return_counts=True)
    # Windows of one size come together: each size is one call, and there are four of them at the most.
    by_size = sizes.argsort(stable=True)
    rank = by_size.argsort()
    order = rank[number].argsort(stable=True)
    windows = tuple((int((sizes == size).sum()), int(size)) for size in sizes.unique())
    frequencies = 10000.0 ** -(torch.arange(0, head // 2, 2).float() / (head // 2))
    angles = (place[order][:, :, None] * frequencies).flatten(1).repeat(1, 2)
    back, cos, sin = order.argsort(), angles.cos(), angles.sin()
    return _Layout(order.to(device), back.to(device), cos.to(device), sin.to(device), windows)
