"""The tensors of a Qwen2.5-VL by its extents: names, types and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scene_r1_engines.errors import BadConfig

PATCH, MERGE, WINDOWED = 14, 2, 8
F32, F16, Q4_K, Q6_K = "F32", "F16", "Q4_K", "Q6_K"
BLOCK = 256
SCALES = {
    # type: (bytes of a block, {offset: float16}); with random bytes elsewhere the weights have mean 0 and sigma 0.02
    Q4_K: (144, {0: 1.2e-4, 2: 9.0e-4}),
    Q6_K: (210, {208: 1.5e-5}),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The extents of a Qwen2.5-VL. Rows of the text model must be multiples of 256, for K-quants."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    vision_layers: int = 32
    vision_width: int = 1280
    vision_feed_forward: int = 3420
    vision_heads: int = 16

    @property
    def text_bytes(self) -> int:
        """Of the weights, as `text_tensors` lays them out."""
        return sum(tensor_bytes(kind, rows, columns) for _, kind, rows, columns in text_tensors(self))

    @property
    def mmproj_bytes(self) -> int:
        return sum(int(np.prod(shape)) * (2 if kind == F16 else 4) for _, kind, shape in vision_tensors(self))


SHAPES = {
    "3b": Shape(36, 2048, 11008, 16, 2, 128, 151936, tied=True),
    "7b": Shape(28, 3584, 18944, 28, 4, 128, 152064, tied=False),
}


def text_tensors(shape: Shape) -> Iterator[tuple[str, str, int, int]]:
    """(name, type, rows, columns) of the text model; columns 0: a vector of `rows` numbers."""
    width, queries, keys = shape.width, shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    yield "token_embd.weight", Q6_K if shape.tied else Q4_K, shape.vocabulary, width
    if not shape.tied:
        yield "output.weight", Q6_K, shape.vocabulary, width
    yield "output_norm.weight", F32, width, 0
    for layer in range(shape.layers):
        eighth = shape.layers // 8
        # llama.cpp's own rule for Q4_K_M: the first, the last and every third layer between get more bits
        finer = layer < eighth or layer >= 7 * shape.layers // 8 or (layer - eighth) % 3 == 2
        more = Q6_K if finer else Q4_K
        for part, kind, rows, columns in (
            ("attn_q", Q4_K, queries, width),
            ("attn_k", Q4_K, keys, width),
            ("attn_v", more, keys, width),
            ("attn_output", Q4_K, width, queries),
            ("ffn_gate", Q4_K, shape.feed_forward, width),
            ("ffn_up", Q4_K, shape.feed_forward, width),
            ("ffn_down", more, width, shape.feed_forward),
        ):
            yield f"blk.{layer}.{part}.weight", kind, rows, columns
        for part, rows in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
            yield f"blk.{layer}.{part}.bias", F32, rows, 0
        for part in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{part}.weight", F32, width, 0


def vision_tensors(shape: Shape) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(name, type, extents) of the vision tower."""
    width, wide, merged = shape.vision_width, shape.vision_feed_forward, shape.vision_width * MERGE**2
    for layer in range(shape.vision_layers):
        at = f"v.blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield f"{at}.{part}.weight", F16, (width, width)
            yield f"{at}.{part}.bias", F32, (width,)
        for part, rows, columns in (("gate", wide, width), ("up", wide, width), ("down", width, wide)):
            yield f"{at}.ffn_{part}.weight", F16, (rows, columns)
            yield f"{at}.ffn_{part}.bias", F32, (rows,)
        yield f"{at}.ln1.weight", F32, (width,)
        yield f"{at}.ln2.weight", F32, (width,)
    yield "v.post_ln.weight", F32, (width,)
    for part, rows in (("mm.0", merged), ("mm.2", shape.width)):
        yield f"{part}.weight", F16, (rows, merged)
        yield f"{part}.bias", F32, (rows,)
    for ending in ("", ".1"):
        yield f"v.patch_embd.weight{ending}", F16, (width, 3, PATCH, PATCH)


def tensor_bytes(kind: str, rows: int, columns: int) -> int:
    """Of one tensor, as text_tensors gives it. Raises BadConfig for rows that K-quants cannot hold."""
    if columns == 0:
        return 4 * rows
    if columns % BLOCK:
        raise BadConfig(f"a row of {columns} weights cannot be {kind}: it must be a multiple of {BLOCK}")
    return rows * columns // BLOCK * SCALES[kind][0]
