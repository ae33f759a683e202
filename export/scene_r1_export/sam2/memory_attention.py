"""Memory attention as one graph: what the picture has in common with what was remembered of the thing."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scene_r1_export.sam2.attention import attend_by_rows


class MemoryAttention(nn.Module):
    """feat (B, 256, h, h), raw; mem (B, M, 64, h, h); tpos (M,) int32, rows of maskmem_tpos_enc; ptr (B, P, 256); ptr_t
    (P,), ages over the most pointers less one, None in SAM 2.0 -> feat_mem (B, 256, h, h).

    Two exact changes of the original's arithmetic. Values are projected after the attention, softmax(q kᵀ)(m W + b) =
    (softmax(q kᵀ) m) W + b, so that 64 channels and not 256 are mixed, and W is one matrix with the projection behind
    it. Rotary positions turn pairs of channels; with the rows of both projections put in another order, evens before
    odds, the pairs are two halves, and q·k stays what it was: no complex numbers, no strided slices.
    """

    seen_at: Tensor
    kept_at: Tensor
    kept_when: Tensor
    periods: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        original = model.memory_attention
        side = model.image_size // model.backbone_stride
        self.side, self.width, self.memory_width = side, model.hidden_dim, model.mem_dim
        self.layers = nn.ModuleList(_Layer(layer, side) for layer in original.layers)
        self.norm = original.norm
        with torch.no_grad():
            seen = model.image_encoder.neck.position_encoding(torch.zeros(1, self.width, side, side))
            kept = model.memory_encoder.position_encoding(torch.zeros(1, self.memory_width, side, side))
            self.register_buffer("seen_at", 0.1 * seen.flatten(2).transpose(1, 2))
            self.register_buffer("kept_at", kept.flatten(2).transpose(1, 2).unsqueeze(1))
            self.register_buffer("kept_when", model.maskmem_tpos_enc.flatten(1).clone())
        if model.add_tpos_enc_to_obj_ptrs:
            self.age = model.obj_ptr_tpos_proj
            half = self.width // 2
            steps = torch.arange(half, dtype=torch.float32)
            self.register_buffer("periods", 10000.0 ** (2.0 * (steps // 2) / half))

    def forward(self, feat: Tensor, mem: Tensor, tpos: Tensor, ptr: Tensor, ptr_t: Tensor | None = None) -> Tensor:
        x = feat.flatten(2).transpose(1, 2) + self.seen_at
        kept = mem.flatten(3).transpose(2, 3)  # (B, M, h h, 64)
        where = kept + self.kept_at + self.kept_when.index_select(0, tpos).unsqueeze(1)
        # A pointer is as many tokens as its width holds memories' widths; they have an age, but no place.
        pointers = ptr.reshape(*ptr.shape[:2], -1, self.memory_width)  # (B, P, 4, 64)
        when = pointers
        if ptr_t is not None:
            angles = ptr_t.unsqueeze(-1) / self.periods
            when = pointers + self.age(torch.cat([angles.sin(), angles.cos()], -1)).unsqueeze(1)
        values = torch.cat([kept.flatten(1, 2), pointers.flatten(1, 2)], 1)
        for layer in self.layers:
            x = layer(x, where, when.flatten(1, 2), values)
        return self.norm(x).transpose(1, 2).reshape(feat.shape)  # type: ignore[no-any-return]


class _Layer(nn.Module):
    """x (B, h h, 256); where (B, M, h h, 64), memories with their place; when (B, 4 P, 64), pointers with their age;
    values (B, M h h + 4 P, 64), both without -> (B, h h, 256)."""

    def __init__(self, layer: Any, side: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = layer.norm1, layer.norm2, layer.norm3
        self.linear1, self.linear2 = layer.linear1, layer.linear2
        self.count = side * side
        self.look = _Rotary(layer.self_attn, side)
        self.recall = _Rotary(layer.cross_attn_image, side)

    def forward(self, x: Tensor, where: Tensor, when: Tensor, values: Tensor) -> Tensor:
        t = self.norm1(x)
        x = x + self.look.out(attend_by_rows(self.look.queries(t), self.look.keys(t), t, self.count))
        t = self.norm2(x)
        keys = torch.cat([self.recall.keys(where).flatten(1, 2), self.recall.k(when)], 1)
        x = x + self.recall.out(attend_by_rows(self.recall.queries(t), keys, values, self.count))
        return x + self.linear2(F.relu(self.linear1(self.norm3(x))))  # type: ignore[no-any-return]


class _Rotary(nn.Module):
    """The projections of one attention with rotary positions, one head. out: what was behind the values, in one."""

    cos: Tensor
    sin: Tensor

    def __init__(self, original: Any, side: int) -> None:
        super().__init__()
        width = original.internal_dim
        order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
        scale = 1.0 / math.sqrt(width)
        self.middle = width // 2
        self.q = nn.Linear(original.embedding_dim, width)
        self.k = nn.Linear(original.kv_in_dim, width)
        self.out = nn.Linear(original.kv_in_dim, original.embedding_dim)
        with torch.no_grad():
            self.q.weight.copy_(original.q_proj.weight[order] * scale)
            self.q.bias.copy_(original.q_proj.bias[order] * scale)
            self.k.weight.copy_(original.k_proj.weight[order])
            self.k.bias.copy_(original.k_proj.bias[order])
            before, after = original.v_proj, original.out_proj
            joint = after.weight.double() @ before.weight.double()
            self.out.weight.copy_(joint)
            self.out.bias.copy_(after.weight.double() @ before.bias.double() + after.bias.double())
            turns = original.compute_cis(end_x=side, end_y=side)  # (h h, C / 2), complex
            self.register_buffer("cos", torch.cat([turns.real, turns.real], -1).float())
            self.register_buffer("sin", torch.cat([-turns.imag, turns.imag], -1).float())

    def queries(self, x: Tensor) -> Tensor:
        return self._turned(self.q(x))

    def keys(self, x: Tensor) -> Tensor:
        return self._turned(self.k(x))

    def _turned(self, x: Tensor) -> Tensor:
        return x * self.cos + torch.cat([x[..., self.middle :], x[..., : self.middle]], -1) * self.sin
