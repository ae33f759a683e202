"""What the original model computes where one of our four graphs stands, by its own methods, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def image_encoder(model: Any, image: Tensor) -> tuple[Tensor, ...]:
    return tuple(model.forward_image(image)["backbone_fpn"])


def mask_decoder(
    model: Any,
    feat: Tensor,
    s0: Tensor,
    s1: Tensor,
    coords: Tensor,
    labels: Tensor,
    mask_in: Tensor,
    has_mask: Tensor,
    multimask: Tensor,
    alone: Tensor,
) -> tuple[Tensor, ...]:
    """The last point must be padding: the original adds one itself."""
    assert bool((labels[:, -1] == -1).all())
    found = []
    for i in range(feat.shape[0]):
        one = slice(i, i + 1)
        _, _, ious, low, _, pointer, score = model._forward_sam_heads(
            feat[one] + alone[i] * model.no_mem_embed.reshape(1, -1, 1, 1),
            point_inputs={"point_coords": coords[one, :-1], "point_labels": labels[one, :-1]},
            mask_inputs=mask_in[one] if has_mask[i] else None,
            high_res_features=[s0[one], s1[one]],
            multimask_output=bool(multimask[i]),
        )
        found.append((low, ious.amax(-1, keepdim=True), pointer, score))
    return tuple(torch.cat(each) for each in zip(*found, strict=True))


def memory_encoder(
    model: Any, feat: Tensor, mask: Tensor, binarize: Tensor, score: Tensor | None = None
) -> tuple[Tensor, ...]:
    """SAM 2.0 looks at no score."""
    large = F.interpolate(mask, size=(model.image_size, model.image_size), mode="bilinear", align_corners=False)
    found = []
    for i in range(feat.shape[0]):
        one = slice(i, i + 1)
        seen = torch.ones(1, 1) if score is None else score[one]
        memory, _ = model._encode_new_memory([_rows(feat[one])], [feat.shape[2:]], large[one], seen, bool(binarize[i]))
        found.append(memory)
    return (torch.cat(found),)


def memory_attention(
    model: Any, feat: Tensor, mem: Tensor, tpos: Tensor, ptr: Tensor, ptr_t: Tensor | None = None
) -> tuple[Tensor, ...]:
    """SAM 2.0's pointers have no age."""
    from sam2.modeling.sam2_utils import get_1d_sine_pe

    batch, width = feat.shape[:2]
    memories = [_rows(one) for one in mem.unbind(1)]
    place = _rows(model.memory_encoder.position_encoding(mem[:, 0]))
    places = [place + model.maskmem_tpos_enc[int(row)] for row in tpos]
    parts = width // model.mem_dim
    pointers = ptr.transpose(0, 1).reshape(-1, batch, parts, model.mem_dim).permute(0, 2, 1, 3).flatten(0, 1)
    if ptr_t is None:
        ages = torch.zeros(ptr.shape[1], batch, model.mem_dim)
    else:
        ages = model.obj_ptr_tpos_proj(get_1d_sine_pe(ptr_t, dim=width)).unsqueeze(1).expand(-1, batch, -1)
    mixed = model.memory_attention(
        curr=[_rows(feat)],
        curr_pos=[_rows(model.image_encoder.neck.position_encoding(feat))],
        memory=torch.cat([*memories, pointers]),
        memory_pos=torch.cat([*places, ages.repeat_interleave(parts, 0)]),
        num_obj_ptr_tokens=pointers.shape[0],
    )
    return (mixed.permute(1, 2, 0).reshape(feat.shape),)


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (h w, B, C), as the original passes features around."""
    return x.flatten(2).permute(2, 0, 1)


ORIGINAL: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "image_encoder": image_encoder,
    "mask_decoder": mask_decoder,
    "memory_encoder": memory_encoder,
    "memory_attention": memory_attention,
}
