"""A model folder of a real size with random weights: for time and memory, which do not depend on what weights say."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reasoner.random_shapes import (
    F16,
    F32,
    MERGE,
    PATCH,
    SCALES,
    WINDOWED,
    Shape,
    tensor_bytes,
    text_tensors,
    vision_tensors,
)
from scene_r1.files import whole_folder
from scene_r1_engines.errors import BadConfig, BudgetExceeded, MissingExtra
from scene_r1_engines.manifest import (
    FORMAT,
    MANIFEST,
    ImageRules,
    Manifest,
    ModelFile,
    PromptRules,
    TimeRules,
    manifest_to_toml,
)
from scene_r1_export.checkpoint import sha256_of

TEXT, MMPROJ = "text-q4_k_m.gguf", "mmproj-f16.gguf"
NORMAL_TOKEN, CONTROL_TOKEN, UNUSED_TOKEN = 1, 3, 5


def write_random_model(out: Path, shape: Shape, name: str, seed: int = 0) -> Manifest:
    """Write text model (the mix of Q4_K_M), vision tower (F16) and manifest to the folder `out`; whole or absent.

    The vocabulary is a small one trained on a word list, padded with unused tokens to the real number. Raises
    BudgetExceeded where the disk is too full, MissingExtra without gguf or tokenizers, OutputExists.
    """
    needed = round(1.02 * (shape.text_bytes + shape.mmproj_bytes)) + (32 << 20)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise BudgetExceeded(f"{out}: {needed} bytes are needed, {free} are free: make room or name another folder")
    with whole_folder(out) as folder:
        vocabulary = _vocabulary(shape.vocabulary, seed)
        rng = np.random.default_rng(seed)
        _write_text(folder / TEXT, shape, vocabulary, name, rng)
        _write_mmproj(folder / MMPROJ, shape, rng)
        manifest = _manifest(folder, name)
        (folder / MANIFEST).write_text(manifest_to_toml(manifest), encoding="utf-8")
    return manifest


def _write_text(path: Path, shape: Shape, vocabulary: _Words, name: str, rng: np.random.Generator) -> None:
    gguf = _gguf()
    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_name(name)
    writer.add_block_count(shape.layers)
    writer.add_context_length(128000)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    half = shape.head_width // 2  # rotary frequencies: a quarter for time, the rest for height and width
    writer.add_rope_dimension_sections([half // 4, (half - half // 4) // 2, (half - half // 4) // 2, 0])
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(15)
    writer.add_quantization_version(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(vocabulary.tokens.index("<|im_end|>"))
    writer.add_pad_token_id(vocabulary.tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    kinds = gguf.GGMLQuantizationType
    for tensor, kind, rows, columns in text_tensors(shape):
        size = tensor_bytes(kind, rows, columns)
        if columns == 0:
            writer.add_tensor_info(tensor, (rows,), np.dtype(np.float32), size)
        else:
            writer.add_tensor_info(tensor, (rows, size // rows), np.dtype(np.uint8), size, raw_dtype=kinds[kind])
    _write_header(writer)
    for tensor, kind, rows, columns in text_tensors(shape):
        writer.write_tensor_data(_blocks(kind, rows, columns, rng) if columns else _vector(tensor, rows))
    writer.close()


def _write_mmproj(path: Path, shape: Shape, rng: np.random.Generator) -> None:
    writer = _gguf().GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_file_type(1)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen2.5vl_merger")
    writer.add_vision_use_silu(True)
    writer.add_vision_projection_dim(shape.width)
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(shape.vision_width)
    writer.add_vision_feed_forward_length(shape.vision_feed_forward)
    writer.add_vision_block_count(shape.vision_layers)
    writer.add_vision_head_count(shape.vision_heads)
    writer.add_vision_n_wa_pattern(min(WINDOWED, shape.vision_layers))
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.48145466, 0.4578275, 0.40821073])
    writer.add_vision_image_std([0.26862954, 0.26130258, 0.27577711])
    for tensor, kind, extents in vision_tensors(shape):
        numbers: type[np.floating[Any]] = np.float16 if kind == F16 else np.float32
        size = int(np.prod(extents)) * np.dtype(numbers).itemsize
        writer.add_tensor_info(tensor, extents, np.dtype(numbers), size)
    _write_header(writer)
    for tensor, kind, extents in vision_tensors(shape):
        if kind == F32:
            writer.write_tensor_data(_vector(tensor, extents[0]))
        else:
            sigma = np.float32(0.02)
            writer.write_tensor_data((rng.standard_normal(extents, dtype=np.float32) * sigma).astype(np.float16))
    writer.close()


def _write_header(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def _blocks(kind: str, rows: int, columns: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(rows, bytes of a row) uint8: random blocks with sane scales."""
    size, scales = SCALES[kind]
    blocks = np.frombuffer(bytearray(rng.bytes(tensor_bytes(kind, rows, columns))), np.uint8).reshape(-1, size)
    for offset, scale in scales.items():
        blocks[:, offset : offset + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def _vector(name: str, count: int) -> NDArray[np.float32]:
    return (np.zeros if name.endswith("bias") else np.ones)(count, np.float32)


@dataclass(frozen=True, slots=True)
class _Words:
    tokens: list[str]
    types: list[int]
    merges: list[str]


def _vocabulary(count: int, seed: int) -> _Words:
    try:
        from scene_r1_export.fixtures.tokenizer import SPECIAL, write_tokenizer
    except ImportError as error:
        raise MissingExtra("export", "training a vocabulary", str(error)) from error
    with tempfile.TemporaryDirectory(prefix="scene-r1-") as folder:
        write_tokenizer(Path(folder), "", seed)
        said = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {**said["model"]["vocab"], **{one["content"]: one["id"] for one in said["added_tokens"]}}
    tokens = [word for word, _ in sorted(ids.items(), key=lambda item: item[1])]
    if len(tokens) > count:
        raise BadConfig(f"a vocabulary has at least {len(tokens)} tokens, got {count}")
    types = [CONTROL_TOKEN if word in SPECIAL else NORMAL_TOKEN for word in tokens]
    padding = count - len(tokens)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in said["model"]["merges"]]
    return _Words(tokens + [f"[PAD{i}]" for i in range(padding)], types + [UNUSED_TOKEN] * padding, merges)


def _manifest(folder: Path, name: str) -> Manifest:
    text, mmproj = (
        ModelFile(file, sha256_of(folder / file), (folder / file).stat().st_size, kind)
        for file, kind in ((TEXT, "Q4_K_M"), (MMPROJ, "F16"))
    )
    square = PATCH * MERGE
    return Manifest(
        format=FORMAT,
        name=name,
        family="qwen2_5_vl",
        license="none: random numbers",
        source_sha256="0" * 64,
        made_by="benchmarks.reasoner.random_model",
        mmproj_for_sha256=text.sha256,
        text=text,
        mmproj=mmproj,
        image=ImageRules(square, 4 * square**2, 4096 * square**2, "abs_resized"),
        prompt=PromptRules(chat_template_sha256="0" * 64, pre_tokenizer="qwen2"),
        time=TimeRules(),
    )


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra("export", "writing a random model", str(error)) from None
    return gguf
