"""The architectures that are exported, and whether a checkpoint's tensors are those that its config promises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile
from scene_r1_export.weights import Weights


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family of models. config_class: the one word of config.json's `architectures`. box_space, time_text: what
    the published models were trained with. video_time: whether time can go into the rotary positions."""

    family: str
    config_class: str
    patch_size: int
    box_space: str
    time_text: str
    video_time: bool


ARCHITECTURES = {
    one.family: one
    for one in (
        Architecture(
            family="qwen2_5_vl",
            config_class="Qwen2_5_VLForConditionalGeneration",
            patch_size=14,
            box_space="abs_resized",
            time_text="t = {seconds:.1f} s: ",
            video_time=True,
        ),
        Architecture(
            family="qwen3_vl",
            config_class="Qwen3VLForConditionalGeneration",
            patch_size=16,
            box_space="rel_1000",
            time_text="<{seconds:.1f} seconds>",  # as its own processor writes before each pair of a video's frames
            video_time=False,
        ),
    )
}

VISION_BLOCK = re.compile(r"(?:^|\.)visual\.blocks\.(\d{1,6})\.(.+)")
TEXT_LAYER = re.compile(r"(?:^|\.)(?:model|language_model)\.layers\.(\d{1,6})\.(.+)")


def architecture_of(path: Path, config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json names. Raises BadModelFile for one that is not exported."""
    family, classes = config.get("model_type"), config.get("architectures")
    known = ARCHITECTURES.get(family) if isinstance(family, str) else None
    if known is None or classes != [known.config_class]:
        raise BadModelFile(
            path,
            f"model_type {str(family)[:60]!r} with architectures {str(classes)[:80]} is not exported; known: "
            + ", ".join(f"{one.family} with [{one.config_class}]" for one in ARCHITECTURES.values()),
        )
    return known


def check_tensors(path: Path, architecture: Architecture, config: Mapping[str, Any], weights: Weights) -> None:
    """Compare the tensors with what config.json promises: layers, widths, vocabulary, vision depth.

    Raises BadModelFile for the first thing that does not fit; converting it would take minutes, and then fail or,
    worse, not fail.
    """
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    vision = config.get("vision_config")
    if not isinstance(text, Mapping) or not isinstance(vision, Mapping):
        raise BadModelFile(path, "has no vision_config: this is not a vision-language model")
    hidden = _count(path, text, "hidden_size")
    heads = _count(path, text, "num_attention_heads")
    head_dim = _count(path, text, "head_dim") if text.get("head_dim") is not None else hidden // heads
    expected: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (heads * head_dim, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head_dim),
        "mlp.down_proj.weight": (hidden, _count(path, text, "intermediate_size")),
    }
    _check_blocks(path, "num_hidden_layers", _count(path, text, "num_hidden_layers"), TEXT_LAYER, expected, weights)
    vocabulary = (_count(path, text, "vocab_size"), hidden)
    _check_ends(path, "embed_tokens.weight", vocabulary, weights)
    if not (config.get("tie_word_embeddings") or text.get("tie_word_embeddings")):
        _check_ends(path, "lm_head.weight", vocabulary, weights)

    width = _count(path, vision, "hidden_size")
    depth = _count(path, vision, "depth")
    expected = {"attn.qkv.weight": (3 * width, width), "attn.proj.weight": (width, width)}
    _check_blocks(path, "vision_config.depth", depth, VISION_BLOCK, expected, weights)
    patch, merge = _count(path, vision, "patch_size"), _count(path, vision, "spatial_merge_size")
    if (patch, merge) != (architecture.patch_size, 2):
        raise BadModelFile(path, f"patch_size {patch} and spatial_merge_size {merge} are not {architecture.family}'s")
    if _count(path, vision, "out_hidden_size") != hidden:
        raise BadModelFile(
            path, f"vision_config.out_hidden_size {vision['out_hidden_size']} is not the text model's width {hidden}"
        )
    _check_windows(path, architecture, vision, depth)


def _check_blocks(
    path: Path, name: str, count: int, pattern: re.Pattern[str], expected: dict[str, tuple[int, ...]], weights: Weights
) -> None:
    """Every one of `count` layers is there and holds what the first holds, in the same shapes."""
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    for tensor, shape in weights.shapes.items():
        if found := pattern.search(tensor):
            blocks.setdefault(int(found[1]), {})[found[2]] = shape
    if sorted(blocks) != list(range(count)):
        raise BadModelFile(path, f"{name} is {count}, but the weights hold {len(blocks)} such layers")
    for number, block in blocks.items():
        for tensor, shape in {**blocks[0], **expected}.items():
            if block.get(tensor) != shape:
                raise BadModelFile(
                    path,
                    f"{name}: layer {number} should hold {tensor[:80]} of shape {shape}, holds "
                    f"{block.get(tensor, 'nothing')}: config.json belongs to other weights, or they are not whole",
                )
        if more := block.keys() - blocks[0].keys():
            raise BadModelFile(path, f"{name}: layer {number} holds {min(more)[:80]}, which the first does not")


def _check_ends(path: Path, ending: str, shape: tuple[int, ...], weights: Weights) -> None:
    found = [one for tensor, one in weights.shapes.items() if tensor.endswith(ending)]
    if found != [shape]:
        raise BadModelFile(path, f"promises one {ending} of shape {shape}, the weights hold {found or 'none'}")


def _check_windows(path: Path, architecture: Architecture, vision: Mapping[str, Any], depth: int) -> None:
    """llama.cpp stores the layers with full attention as one number, so they must be evenly spaced from the first."""
    if architecture.family != "qwen2_5_vl":
        return
    full = vision.get("fullatt_block_indexes")
    if (
        not isinstance(full, list)
        or not full
        or not all(isinstance(one, int) and 0 <= one < depth for one in full)
        or full != list(range(full[0], depth, full[0] + 1))
    ):
        raise BadModelFile(
            path,
            f"vision_config.fullatt_block_indexes {str(full)[:80]} does not fit depth {depth}: llama.cpp needs "
            "full attention in every n-th layer up to the last",
        )
    if vision.get("window_size", 112) != 112:
        raise BadModelFile(path, f"vision_config.window_size {vision['window_size']} is not llama.cpp's 112")


def _count(path: Path, table: Mapping[str, Any], name: str) -> int:
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 24:
        raise BadModelFile(path, f"{name} must be a positive whole number, is {str(value)[:40]}")
    return value
