"""The four parts that an official model is taken apart into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from scene_r1_export.sam2.image_encoder import ImageEncoder
from scene_r1_export.sam2.mask_decoder import MaskDecoder
from scene_r1_export.sam2.memory_attention import MemoryAttention
from scene_r1_export.sam2.memory_encoder import MemoryEncoder

MODULES: dict[str, Callable[[Any], nn.Module]] = {
    "image_encoder": ImageEncoder,
    "mask_decoder": MaskDecoder,
    "memory_encoder": MemoryEncoder,
    "memory_attention": MemoryAttention,
}


def module_of(part: str, model: Any) -> nn.Module:
    """One part of an official model, in the form that is exported. part: of PARTS."""
    return MODULES[part](model).eval()
