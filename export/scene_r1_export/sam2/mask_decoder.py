"""Prompt encoder and mask decoder as one graph, with the choice among masks and what is said of hidden things."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from scene_r1_export.sam2.attention import with_plain_attention

HIDDEN_LOGIT = -1024.0
"""SAM2's logit for every pixel of a thing that is not in the picture."""


class MaskDecoder(nn.Module):
    """feat (B, 256, h, h); s0 (B, 32, 4h, 4h); s1 (B, 64, 2h, 2h); coords (B, N, 2), pixels of the S x S input; labels
    (B, N) int32, -1 for padding; mask_in (B, 1, 4h, 4h) logits; has_mask, multimask, alone (B,), 1 or 0 -> low
    (B, 1, 4h, 4h) logits, iou (B, 1), ptr (B, 256), score (B, 1).

    Nothing here selects by index: a choice is a product with a one-hot row, which every runtime has.
    """

    hidden: Tensor
    labels_as: Tensor
    tokens: Tensor
    no_mask: Tensor
    no_memory: Tensor
    no_pointer: Tensor
    grid: Tensor
    waves: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        prompts, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
        self.decoder = decoder
        self.transformer = with_plain_attention(decoder.transformer)
        self.shrink, self.to_pointer = prompts.mask_downscaling, model.obj_ptr_proj
        self.input_px = float(model.image_size)
        self.delta: float = decoder.dynamic_multimask_stability_delta
        self.stable_from: float = decoder.dynamic_multimask_stability_thresh
        embeddings = [prompts.not_a_point_embed.weight, *(one.weight for one in prompts.point_embeddings)]
        tokens = [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
        self.register_buffer("hidden", torch.tensor(HIDDEN_LOGIT))
        with torch.no_grad():
            self.register_buffer("labels_as", torch.cat(embeddings).clone())  # row: label + 1
            self.register_buffer("tokens", torch.cat(tokens).clone())
            self.register_buffer("no_mask", prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).clone())
            self.register_buffer("no_memory", model.no_mem_embed.reshape(1, -1, 1, 1).clone())
            self.register_buffer("no_pointer", model.no_obj_ptr.clone())
            self.register_buffer("grid", prompts.get_dense_pe().clone())
            gauss = prompts.pe_layer.positional_encoding_gaussian_matrix
            self.register_buffer("waves", gauss * (2.0 * math.pi))

    def forward(
        self,
        feat: Tensor,
        s0: Tensor,
        s1: Tensor,
        coords: Tensor,
        labels: Tensor,
        mask_in: Tensor,
        has_mask: Tensor,
        multimask: Tensor,
        alone: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        given = has_mask.reshape(-1, 1, 1, 1)
        dense = given * self.shrink(mask_in) + (1.0 - given) * self.no_mask
        source = feat + alone.reshape(-1, 1, 1, 1) * self.no_memory + dense
        points = self._points(coords, labels)
        fixed = self.tokens.unsqueeze(0).expand(feat.shape[0], -1, -1)
        hidden, source = self.transformer(source, self.grid, torch.cat([fixed, points], 1))
        mask_tokens = hidden[:, 2:6]
        masks = self._masks(source.transpose(1, 2).reshape(feat.shape), s0, s1, mask_tokens)
        ious, score = self.decoder.iou_prediction_head(hidden[:, 1]), self.decoder.pred_obj_score_head(hidden[:, 0])
        mask_row, token_row = self._chosen(masks, ious, multimask)
        low = (mask_row.unsqueeze(1) @ masks.flatten(2)).reshape(mask_in.shape)
        seen = (score > 0.0).to(low.dtype)
        low = torch.where((score > 0.0).reshape(-1, 1, 1, 1), low, self.hidden)
        token = (token_row.unsqueeze(1) @ mask_tokens).squeeze(1)
        pointer = seen * self.to_pointer(token) + (1.0 - seen) * self.no_pointer
        return low, (ious * mask_row).sum(1, keepdim=True), pointer, score

    def _points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """-> (B, N, 256)."""
        angles = (2.0 * ((coords + 0.5) / self.input_px) - 1.0) @ self.waves
        place = torch.cat([angles.sin(), angles.cos()], -1)
        kinds = torch.arange(-1, 4, dtype=torch.int32)
        kind = (labels.unsqueeze(-1) == kinds).to(place.dtype) @ self.labels_as
        return place * (labels >= 0).to(place.dtype).unsqueeze(-1) + kind

    def _masks(self, source: Tensor, s0: Tensor, s1: Tensor, mask_tokens: Tensor) -> Tensor:
        """-> (B, 4, 4h, 4h) logits."""
        up1, norm, act1, up2, act2 = self.decoder.output_upscaling
        fine = act2(up2(act1(norm(up1(source) + s1))) + s0)
        heads = self.decoder.output_hypernetworks_mlps
        rows = torch.stack([head(mask_tokens[:, index]) for index, head in enumerate(heads)], 1)
        masks: Tensor = (rows @ fine.flatten(2)).reshape(-1, 4, *s0.shape[2:])
        return masks

    def _chosen(self, masks: Tensor, ious: Tensor, multimask: Tensor) -> tuple[Tensor, Tensor]:
        """One-hot rows (B, 4) of the mask and of the token that becomes the pointer.

        Asked for one mask, SAM2 takes the first, and where that is unstable the best of the others; the pointer stays
        that of the first.
        """
        first = masks[:, :1].flatten(1)
        inner = (first > self.delta).to(masks.dtype).sum(1, keepdim=True)
        outer = (first > -self.delta).to(masks.dtype).sum(1, keepdim=True)
        # An empty outer area counts as stable. Both are whole numbers, so nothing is rounded before the division.
        empty = 1.0 - outer.clamp(max=1.0)
        unstable = ((inner + empty) / outer.clamp(min=1.0) < self.stable_from).to(masks.dtype)
        numbers = torch.arange(1, 5)
        best = torch.argmax(ious[:, 1:], 1, keepdim=True) + 2
        best_row = (best == numbers).to(masks.dtype)
        first_row = (numbers == 1).to(masks.dtype).unsqueeze(0)
        several = multimask.reshape(-1, 1)
        token_row = several * best_row + (1.0 - several) * first_row
        other = several + (1.0 - several) * unstable
        return other * best_row + (1.0 - other) * first_row, token_row
