"""The language model over packed sequences: the same arithmetic as transformers', but what no question sees costs
nothing. A mask over the whole sequence would have most of the work of a long walk done for zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Places = tuple[Tensor, Tensor]
"""Rows and columns of tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One sequence: `shared` tokens that all questions see, then questions one after the other. rows: (q, longest)
    int64, the tokens of each question, filled up with its first one. real: (q, longest) bool."""

    shared: int
    rows: Tensor
    real: Tensor

    @classmethod
    def of(cls, part: Tensor) -> Layout:
        """part: (n,) int64, 0 for what is shared, then 1, 2, ..., and below 0 for padding."""
        shared = int((part == 0).sum())
        counts = torch.bincount(part[part > 0])[1:] if bool((part > 0).any()) else torch.zeros(0, dtype=torch.int64)
        longest = int(counts.max()) if len(counts) else 0
        first = shared + counts.cumsum(0) - counts
        steps = torch.arange(longest)
        real = steps[None] < counts[:, None]
        return cls(shared, torch.where(real, first[:, None] + steps[None], first[:, None]), real)


def states_after_layers(language: Any, embedded: Tensor, positions: Tensor, layouts: Sequence[Layout]) -> list[Tensor]:
    """The states (B, n, width) before the first layer, after each, and last after the norm.

    language: transformers' Qwen2_5_VLTextModel. embedded: (B, n, width). positions: (3, B, n). What stands at padding
    means nothing.
    """
    cos, sin = turns_of(language, positions)
    states, all_ = embedded, [embedded]
    for layer in language.layers:
        states = states + _attention(layer.self_attn, _norm(layer.input_layernorm, states), cos, sin, layouts)
        states = states + layer.mlp(_norm(layer.post_attention_layernorm, states))
        all_.append(states)
    return [*all_[:-1], _norm(language.norm, states)]


def _norm(norm: Any, states: Tensor) -> Tensor:
    return functional.rms_norm(states, (states.shape[-1],), norm.weight, norm.variance_epsilon)


def scores(layer: Any, head: int, states: Tensor, turns: tuple[Tensor, Tensor], asks: Places, keys: Places) -> Tensor:
    """(k, m): how strongly one head of a layer looks from k tokens at m others, before the softmax.

    states: (B, n, width) before the layer. turns: cos and sin, of `turns_of`. asks, keys: rows and columns of tokens;
    what is of another row is no less scored.
    """
    attention, size = layer.self_attn, layer.self_attn.head_dim
    states = _norm(layer.input_layernorm, states)
    query, key = attention.q_proj, attention.k_proj
    group = head * key.out_features // query.out_features
    cos, sin = (part[:, 0] for part in turns)
    q = functional.linear(states[asks], query.weight[head * size :][:size], query.bias[head * size :][:size])
    k = functional.linear(states[keys], key.weight[group * size :][:size], key.bias[group * size :][:size])
    q, k = _turned(q, cos[asks], sin[asks]), _turned(k, cos[keys], sin[keys])
    return q @ k.T / math.sqrt(size)


def turns_of(language: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin (B, 1, n, head): each frequency counts along one of time, rows and columns."""
    sections = language.config.rope_parameters["mrope_section"]
    axis = torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    angles = positions[axis].permute(1, 2, 0).float() * language.rotary_emb.inv_freq
    angles = torch.cat((angles, angles), dim=-1)[:, None]
    return angles.cos(), angles.sin()


def _attention(attention: Any, states: Tensor, cos: Tensor, sin: Tensor, layouts: Sequence[Layout]) -> Tensor:
    count, length, _ = states.shape
    head = attention.head_dim
    q, k, v = (
        project(states).view(count, length, -1, head).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    q, k = _turned(q, cos, sin), _turned(k, cos, sin)
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, dim=1), v.repeat_interleave(times, dim=1)
    out = torch.stack([_one(q[i], k[i], v[i], layout) for i, layout in enumerate(layouts)])
    result: Tensor = attention.o_proj(out.transpose(1, 2).reshape(count, length, -1))
    return result


def _one(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attention of one sequence; q, k, v: (heads, n, head)."""
    n = layout.shared
    out = torch.zeros_like(q)
    out[:, :n] = functional.scaled_dot_product_attention(q[None, :, :n], k[None, :, :n], v[None, :, :n], is_causal=True)
    questions, longest = layout.rows.shape
    if questions == 0:
        return out
    flat = layout.rows.flatten()

    def own(x: Tensor) -> Tensor:
        return x[:, flat].view(len(x), questions, longest, -1).transpose(0, 1)

    def seen(x: Tensor) -> Tensor:
        return torch.cat((x[None, :, :n].expand(questions, -1, -1, -1), own(x)), dim=2)

    earlier = torch.ones(longest, n + longest, dtype=torch.bool).tril(n)
    said = functional.scaled_dot_product_attention(own(q), seen(k), seen(v), attn_mask=earlier)
    real = layout.real
    return out.index_copy(1, layout.rows[real], said.transpose(1, 2)[real].transpose(0, 1))


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin
