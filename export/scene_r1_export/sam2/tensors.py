"""What goes into each of the four graphs and what comes out, in the words of the manifest."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def tensors_of(part: str, input_px: int, unused: Collection[str] = ()) -> tuple[str, str]:
    """Inputs and outputs of a graph, in its order. unused: inputs that this model has no use for.

    Letters vary: B objects, N points, M memories, P pointers; H, W the sides of a mask that is to be remembered, S/4 as
    the decoder gives it, or S.
    """
    side = input_px // 16
    feat = f"feat float32 B 256 {side} {side}"
    s0 = f"s0 float32 B 32 {4 * side} {4 * side}"
    s1 = f"s1 float32 B 64 {2 * side} {2 * side}"
    low = f"float32 B 1 {4 * side} {4 * side}"
    mem = f"64 {side} {side}"
    flags = [f"{name} float32 B" for name in ("has_mask", "multimask", "alone")]
    takes, gives = {
        "image_encoder": ([f"image float32 B 3 {input_px} {input_px}"], [s0, s1, feat]),
        "mask_decoder": (
            [feat, s0, s1, "coords float32 B N 2", "labels int32 B N", f"mask_in {low}", *flags],
            [f"low {low}", "iou float32 B 1", "ptr float32 B 256", "score float32 B 1"],
        ),
        "memory_encoder": (
            [feat, "mask float32 B 1 H W", "score float32 B 1", "binarize float32 B"],
            [f"mem float32 B {mem}"],
        ),
        "memory_attention": (
            [feat, f"mem float32 B M {mem}", "tpos int32 M", "ptr float32 B P 256", "ptr_t float32 P"],
            [f"feat_mem float32 B 256 {side} {side}"],
        ),
    }[part]
    return "; ".join(one for one in takes if one.split()[0] not in unused), "; ".join(gives)


def unused_inputs(model: Any) -> tuple[str, ...]:
    """What SAM 2.0 does without: the ages of pointers, and a mark on memories of a hidden thing."""
    unused = [] if model.add_tpos_enc_to_obj_ptrs else ["ptr_t"]
    return tuple(unused if model.no_obj_embed_spatial is not None else [*unused, "score"])
