"""The memory encoder as one graph: a mask of any of two sizes and the picture's features become a memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryEncoder(nn.Module):
    """feat (B, 256, h, h), raw; mask (B, 1, H, W) logits, resized to S x S here; score (B, 1), object score logits,
    None in SAM 2.0; binarize (B,), 1 or 0 -> mem (B, 64, h, h)."""

    hidden: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.memory_encoder
        self.input_px: int = model.image_size
        self.factor: float = model.sigmoid_scale_for_mem_enc
        self.offset: float = model.sigmoid_bias_for_mem_enc
        if model.no_obj_embed_spatial is not None:
            with torch.no_grad():
                self.register_buffer("hidden", model.no_obj_embed_spatial.reshape(1, -1, 1, 1).clone())

    def forward(self, feat: Tensor, mask: Tensor, score: Tensor | None, binarize: Tensor) -> Tensor:
        mask = F.interpolate(mask, size=(self.input_px, self.input_px), mode="bilinear", align_corners=False)
        hard = binarize.reshape(-1, 1, 1, 1)
        mask = hard * (mask > 0.0).to(mask.dtype) + (1.0 - hard) * mask.sigmoid()
        encoder = self.encoder
        looked = encoder.pix_feat_proj(feat) + encoder.mask_downsampler(mask * self.factor + self.offset)
        memory: Tensor = encoder.out_proj(encoder.fuser(looked))
        if score is not None:
            memory = memory + (score <= 0.0).to(memory.dtype).reshape(-1, 1, 1, 1) * self.hidden
        return memory
